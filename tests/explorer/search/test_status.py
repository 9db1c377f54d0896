"""How far a study is, by hand: no two counts alike."""

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from explorer.search.status import Best, Failure, best_values, remaining, status
from explorer.storage import trial_record as record
from objectives.operating_point import BASELINE, OperatingPoint
from studies.definition import StudyDefinition
from studies.search_space import params_of
from tests.support.analytic_evaluator import small_study
from tests.support.recommendation_study import add, add_baseline, empty_study


def ended(study: optuna.Study, state: TrialState, **told: Any) -> None:
    study.add_trial(create_trial(state=state, user_attrs=told))


@pytest.fixture
def study() -> optuna.Study:
    """Of each kind of trial another number."""
    study = empty_study(small_study(trials=20))
    add_baseline(study, [20.0, 22.0])
    add(study, [30.0, 20.0], 2.0, 0.3, point=OperatingPoint(1.0, 0.5), origin="paper:figure1:R=0.5")
    add(study, [26.0, 20.0], 3.0, 0.2)
    add(study, [20.0, 22.0], origin="search", point=BASELINE, reuses=0)
    for kind in ("raced", "limit", "raced", "raced"):
        ended(study, TrialState.PRUNED, stop={"kind": kind, "reason": "so"})
    ended(study, TrialState.PRUNED)
    for origin in ("paper:figure2:C=0.5", "search"):
        ended(study, TrialState.FAIL, origin=origin, error=f"{origin} broke")
    ended(study, TrialState.FAIL)
    study.enqueue_trial(params_of(OperatingPoint(0.3)), user_attrs={record.ORIGIN: "fixed:C=0.3"})
    return study


def test_every_trial_is_counted_for_what_it_is(study: optuna.Study) -> None:
    told = status(study)
    assert told.states == {"complete": 4, "pruned": 5, "fail": 3, "waiting": 1}
    assert told.origins == {"baseline": 1, "paper": 2, "search": 9, "fixed": 1}
    assert told.stopped == {"raced": 3, "limit": 1, "unknown": 1}
    assert told.reused == 1
    assert told.failures == (
        Failure(9, "paper:figure2:C=0.5", "paper:figure2:C=0.5 broke"),
        Failure(10, "search", "search broke"),
        Failure(11, "search", "unknown"),
    )
    # one waits, the point of Figure 2 failed, and 12 of 20 are to be searched: another program failed the last one,
    # which takes nothing of the budget
    assert told.remaining == 1 + (20 - 8) + 1
    assert (told.name, told.table2_variant) == ("study", None)


def test_nothing_is_left_of_a_budget_that_is_spent_and_what_runs_is_not_spent_yet(study: optuna.Study) -> None:
    def left(trials: int) -> int:
        return remaining(study, small_study(trials=trials), study.get_trials())

    assert [left(trials) for trials in (8, 3, 9)] == [1, 1, 2]
    study.ask()  # the one that waits
    study.ask()  # a search trial
    assert [left(trials) for trials in (8, 9)] == [0, 1]


def test_points_of_table_2_are_to_come_while_its_variant_is_not_chosen() -> None:
    fixed = {"variants": ["Hidden-40", "Linear-40"], "precisions": ["fp32", "fp16", "int8_ptq"]}
    definition: StudyDefinition = small_study(trials=0, fixed=fixed)
    study = empty_study(definition)
    assert remaining(study, definition, []) == 3
    assert status(study).remaining == 3 + 3  # and the baseline and the two variants, which are not queued yet


@pytest.mark.parametrize(("seconds", "median"), [([], None), ([4.0], 4.0), ([9.0, 1.0, 2.0], 2.0), ([1.0, 2.0], 1.5)])
def test_a_trial_takes_the_median_of_those_that_were_measured(seconds: list[float], median: float | None) -> None:
    study = empty_study()
    for each in seconds:
        add(study, [20.0])
        _told(study, record.SECONDS, each)
    add(study, [20.0], reuses=0)  # at once
    _told(study, record.SECONDS, 0.0)
    ended(study, TrialState.PRUNED, seconds=0.5)
    assert status(study).seconds == median


def _told(study: optuna.Study, key: str, value: object) -> None:
    """Say something of the last trial, which has ended."""
    storage: Any = study._storage
    number = len(study.get_trials()) - 1
    storage._studies[study._study_id].trials[number].user_attrs[key] = value


def test_the_best_of_each_objective_is_feasible_and_of_rtf_native() -> None:
    study = empty_study()
    add(study, [20.0], 3.0, 0.3)
    add(study, [21.0], 1.0, 0.1, execution="emulated")  # the smallest
    add(study, [19.0], 4.0, 0.4)  # the lowest DER
    add(study, [25.0], 5.0, 0.2)  # the fastest that is native
    add(study, [19.0], 1.0, 0.2)  # as good as each, and later
    add(study, [1.0], 0.1, 0.01, excesses={"latency": 0.1})
    add(study, [30.0], 9.0, 0.9, excesses={"latency": 0.0})
    assert status(study).best == (Best("DER (%)", 19.0, 2), Best("size (MiB)", 1.0, 1), Best("RTF", 0.2, 3))
    assert best_values([]) == ()
    assert [one.metric for one in best_values([study.trials[1]])] == ["DER (%)", "size (MiB)"]


def test_machine_and_versions_are_those_of_the_last_that_was_measured(study: optuna.Study) -> None:
    told = status(study)
    assert (told.machine, told.versions) == ({"cpu": "a formula", "threads": "1"}, {"numpy": "a formula"})
    assert told.data == {"corpus": "analytic"}
    nothing = status(empty_study())
    assert (nothing.machine, nothing.versions, nothing.best, nothing.seconds) == ({}, {}, (), None)
