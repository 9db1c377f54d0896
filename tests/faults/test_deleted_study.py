"""A study that another program deletes while it runs, as stock optuna-dashboard does at a click."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from explorer.search import fixed_trials
from explorer.storage.connection import load_study
from objectives.errors import StudyError
from objectives.operating_point import OperatingPoint
from tests.faults.readings import read
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study


def deletes(url: str) -> None:
    optuna.delete_study(study_name="study", storage=url)


def replaces(url: str) -> None:
    """By another one of the same name, with trials of somebody else's that run."""
    deletes(url)
    study = optuna.create_study(study_name="study", storage=url, directions=["minimize"] * 3)
    for _ in range(6):
        study.ask()


def begins_anew(url: str) -> None:
    """By another one of the same name and definition, as `explorer run` makes it; on another host, say."""
    elsewhere = url.replace("studies.db", "elsewhere.db")
    run_study("study", small_study(trials=0), AnalyticEvaluator(), elsewhere)
    deletes(url)
    optuna.copy_study(from_study_name="study", from_storage=elsewhere, to_storage=url)


def does(change: Callable[[str], None], url: str, at: int) -> AnalyticEvaluator:
    """Has the study changed while measurement `at` is made."""
    evaluator = AnalyticEvaluator()

    def before(point: OperatingPoint) -> None:
        if len(evaluator.calls) == at:
            change(url)

    evaluator.before = before
    return evaluator


@pytest.mark.parametrize(
    ("change", "at"), [(deletes, 0), (deletes, 3), (replaces, 0), (replaces, 2), (replaces, 3), (begins_anew, 2)]
)
def test_its_driver_stops_and_writes_into_no_other(
    url: str, tmp_path: Path, change: Callable[[str], None], at: int
) -> None:
    file = tmp_path / "studies.db"
    kept = []

    def changed(url: str) -> None:
        change(url)
        kept.append(read(file, "study"))

    with pytest.raises(StudyError, match=r"the study 'study' in sqlite:.* was deleted while it was run") as caught:
        run_study("study", small_study(trials=4), does(changed, url, at), url)
    assert "--name" in str(caught.value)
    assert read(file, "study") == kept[0]


def test_one_that_goes_while_its_variant_is_chosen(url: str) -> None:
    evaluator = AnalyticEvaluator()

    def before(point: OperatingPoint) -> None:
        if len(evaluator.calls) == 2:
            deletes(url)

    evaluator.before = before
    fixed = {"variants": ["Hidden-40"], "precisions": ["fp16"], "table2_variant": "calib"}
    with pytest.raises(StudyError, match="deleted while it was run"):
        run_study("study", small_study(trials=0, fixed=fixed), evaluator, url)


def test_a_bug_stays_a_bug(url: str) -> None:
    def trip(point: OperatingPoint) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        run_study("study", small_study(), AnalyticEvaluator(before=trip), url)
    assert load_study("study", url).get_trials(states=(TrialState.RUNNING,)) == []


def test_a_study_of_before_is_marked_when_it_goes_on(url: str) -> None:
    run_study("study", small_study(), AnalyticEvaluator(), url)
    study = load_study("study", url)
    mark = study.user_attrs["made_as"]
    study._storage._backend.engine.dispose()
    run_study("study", small_study(trials=2), AnalyticEvaluator(), url)
    assert load_study("study", url).user_attrs["made_as"] == mark
    assert len({mark, *(made(url, name) for name in "ab")}) == 3


def made(url: str, name: str) -> str:
    run_study(name, small_study(trials=0, fixed={}), AnalyticEvaluator(), url)
    mark: str = load_study(name, url).user_attrs["made_as"]
    assert fixed_trials.enqueue_missing(load_study(name, url), small_study(trials=0, fixed={})) == 0
    return mark
