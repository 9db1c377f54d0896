"""Several drivers of one study, in an SQLite file: the other ones, and their locks, are made up.

With real locks, in PostgreSQL: tests/explorer/search/test_two_drivers.py.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar

import optuna
import pytest
from optuna.trial import TrialState

from explorer.search import driver, loop
from explorer.search.shared_study import (
    ABANDONED,
    DRIVER,
    EVALUATING,
    Claim,
    Others,
    abandoned,
    fail,
    fail_abandoned,
    is_mine,
)
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study, open_storage
from objectives.operating_point import BASELINE, OperatingPoint
from studies.search_space import SearchSpace, params_of, suggest
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, measurement, run_study, small_study

MINE, LIVES, DEAD = 7, 8, 9
POINT = OperatingPoint(0.3, 0.0)


@dataclass
class Shared(Claim):
    """A claim beside another driver that lives."""

    alive: set[int] = field(default_factory=lambda: {MINE, LIVES})
    shared: ClassVar[bool] = True
    key: ClassVar[int] = MINE

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def choice(self) -> AbstractContextManager[bool]:
        return nullcontext(True)

    def living(self) -> frozenset[int]:
        return frozenset(self.alive)

    def sign(self, study: optuna.Study, trial_id: int) -> None:
        study._storage.set_trial_system_attr(trial_id, DRIVER, MINE)

    def evaluates(self, study: optuna.Study, trial_id: int) -> None:
        study._storage.set_trial_system_attr(trial_id, EVALUATING, True)


@pytest.fixture
def study(url: str) -> optuna.Study:
    return optuna.create_study(study_name="study", storage=open_storage(url), directions=["minimize"] * 3)


def running(
    study: optuna.Study, key: int | None, point: OperatingPoint | None = POINT, evaluating: bool = True, **told: object
) -> int:
    """A running trial of a driver: its number. point: None where its driver died while asking."""
    study.enqueue_trial({} if point is None else params_of(point), user_attrs=told)
    trial = study.ask()
    if point is not None:
        suggest(trial, SearchSpace())
    if key is not None:
        study._storage.set_trial_system_attr(trial._trial_id, DRIVER, key)
    if evaluating:
        study._storage.set_trial_system_attr(trial._trial_id, EVALUATING, True)
    return trial.number


def complete(study: optuna.Study, number: int) -> None:
    trial = study.trials[number]
    told = measurement(BASELINE)
    for key, value in record.attributes_of(told).items():
        study._storage.set_trial_user_attr(trial._trial_id, key, value)
    study.tell(number, record.values_of(told))


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def test_a_running_trial_is_abandoned_where_no_living_driver_has_it(study: optuna.Study) -> None:
    mine, theirs, dead, nameless = (running(study, key) for key in (MINE, LIVES, DEAD, None))
    complete(study, running(study, DEAD))
    study.enqueue_trial({})
    trials = study.get_trials()
    assert [trial.number for trial in abandoned(Shared(), trials)] == [dead, nameless]
    assert [trial.number for trial in trials if is_mine(Shared(), trial)] == [mine]
    # a driver that is the only one has left none of these
    assert [trial.number for trial in abandoned(Claim(), trials)] == [mine, theirs, dead, nameless]
    assert all(is_mine(Claim(), trial) for trial in trials)


def test_what_the_dead_left_is_failed_and_nothing_else(study: optuna.Study) -> None:
    for key in (MINE, LIVES, DEAD):
        running(study, key)
    fail_abandoned(study, Shared())
    assert states(study) == ["RUNNING", "RUNNING", "FAIL"]
    assert study.trials[2].user_attrs[record.ERROR] == ABANDONED
    fail_abandoned(study, Claim())
    assert states(study) == ["FAIL"] * 3


def test_a_look_around_counts_what_others_do(study: optuna.Study) -> None:
    points = [OperatingPoint(0.1 * place, 0.0) for place in range(1, 8)]
    running(study, MINE, points[0])
    running(study, LIVES, points[1])
    running(study, LIVES, points[2], evaluating=False)  # it waits for somebody
    running(study, LIVES, points[3], origin="baseline")
    running(study, LIVES, None)  # half asked
    dead = running(study, DEAD, points[4])
    ended = running(study, LIVES, points[5])
    complete(study, ended)
    for _ in range(2):
        study.enqueue_trial(params_of(points[6]))
    others = Others(study, Shared(), SearchSpace())
    assert [trial.number for trial in others.look()] == [dead, ended]
    assert (others.waiting, others.searching, others.fixed) == (2, 3, 1)
    assert others.points == {points[1], points[3]}
    assert study.trials[dead].state is TrialState.FAIL
    complete(study, 1)
    assert [trial.number for trial in others.look()] == [1, dead, ended]
    assert (others.searching, others.points) == (2, {points[3]})


def test_what_was_told_is_not_failed_and_folders_stay_private(study: optuna.Study) -> None:
    told, failed = running(study, MINE), running(study, MINE)
    complete(study, told)
    assert fail(study, study.trials[told]._trial_id, "late").state is TrialState.COMPLETE
    ended = fail(study, study.trials[failed]._trial_id, "cannot read /home/me/calls/one.wav")
    assert (ended.state, ended.user_attrs[record.ERROR]) == (TrialState.FAIL, "cannot read one.wav")


# --- a run beside another driver


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Shared:
    held = Shared()

    @contextmanager
    def claim(*study: object) -> Iterator[Shared]:
        yield held

    monkeypatch.setattr(driver, "claim", claim)
    return held


def test_a_point_that_another_driver_measures_is_waited_for_and_taken_over(
    url: str, held: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = small_study(trials=2, fixed={})
    run_study("study", small_study(trials=0, fixed={}), AnalyticEvaluator(), url)
    study = load_study("study", url)
    theirs = running(study, LIVES)
    study.enqueue_trial(params_of(POINT))
    paused = []

    def ends_meanwhile() -> None:
        paused.append(states(study)[-1])
        complete(study, theirs)

    monkeypatch.setattr(loop, "pause", ends_meanwhile)
    evaluator = AnalyticEvaluator()
    run_study("study", definition, evaluator, url)
    assert (paused, evaluator.calls) == (["RUNNING"], [])
    assert study.trials[-1].user_attrs[record.REUSED_FROM] == theirs
    assert study.trials[-1].values == study.trials[theirs].values


def test_what_others_search_counts_towards_the_budget(url: str, held: Shared) -> None:
    run_study("study", small_study(trials=0), AnalyticEvaluator(), url)
    study = load_study("study", url)
    running(study, LIVES)
    complete(study, running(study, LIVES, OperatingPoint(0.4, 0.0)))
    run_study("study", small_study(trials=3), AnalyticEvaluator(), url)
    assert len(study.get_trials()) == len(ORIGINS) + 3
    held.alive.discard(LIVES)  # what it ran is failed, and counts all the same
    run_study("study", small_study(trials=3), AnalyticEvaluator(), url)
    assert len(study.get_trials()) == len(ORIGINS) + 3
    assert "RUNNING" not in states(study)


def test_a_run_that_ends_in_an_error_leaves_what_others_run(url: str, held: Shared) -> None:
    run_study("study", small_study(trials=0, fixed={}), AnalyticEvaluator(), url)
    study = load_study("study", url)
    theirs = running(study, LIVES)

    def dies(point: OperatingPoint) -> None:
        held.alive.add(DEAD)
        running(study, DEAD, OperatingPoint(0.4, 0.0))
        held.alive.discard(DEAD)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study("study", small_study(trials=2, fixed={}), AnalyticEvaluator(before=dies), url)
    told = {trial.number: trial.user_attrs.get(record.ERROR) for trial in study.get_trials()}
    assert study.trials[theirs].state is TrialState.RUNNING
    assert [told[number] for number in told if number > theirs] == ["interrupted", ABANDONED]


def test_every_trial_names_its_driver_and_those_that_are_measured_say_so(url: str, held: Shared) -> None:
    run_study("study", small_study(trials=2), AnalyticEvaluator(), url)
    trials = load_study("study", url).trials
    assert all(trial.system_attrs[DRIVER] == MINE for trial in trials)
    assert all((EVALUATING in trial.system_attrs) == record.is_measured(trial) for trial in trials)


def test_drivers_that_live_at_once_draw_different_numbers(url: str, held: Shared) -> None:
    """One after the other, they draw on where the last one stopped."""
    for name in ("together", "alone"):
        run_study(name, small_study(trials=3, fixed={}), AnalyticEvaluator(), url)
        held.alive.discard(LIVES)
    together, alone = (load_study(name, url).trials[1:] for name in ("together", "alone"))
    assert [trial.params for trial in together] != [trial.params for trial in alone]
