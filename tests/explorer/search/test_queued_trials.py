"""Trials that somebody queued with stock Optuna: measured, or failed with the reason, and the run goes on."""

import math
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from explorer.search import driver
from explorer.search.driver import _create_or_resume
from explorer.search.status import status
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study, open_storage
from studies.definition import StudyDefinition
from tests.explorer.search.test_loop import Pile
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, run_study, small_study
from tests.support.forked_processes import PATIENCE, start

POINT: dict[str, Any] = {
    "chunk_length": 1.3,
    "look_ahead": "none",
    "pruning_structure": "none",
    "precision": "fp32",
}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a precision that is not offered": (POINT | {"precision": "bf16"}, "precision = 'bf16' is not among"),
    "C of 7 s": (POINT | {"chunk_length": 7.0}, "chunk_length = 7.0 is outside space.chunk_length = [0.02, 5]"),
    "C of 0": (POINT | {"chunk_length": 0}, "chunk_length = 0 is outside"),
    "R beyond the window": (POINT | {"look_ahead": "some", "right_context": 9.0}, "right_context = 9.0 is outside"),
    "an unknown parameter": (POINT | {"beam": 4}, "'beam' is not a parameter of this study: use chunk_length, "),
    "text": (POINT | {"chunk_length": "1.3"}, "chunk_length = '1.3' is not a number"),
    "nothing": (POINT | {"chunk_length": None}, "chunk_length = None is not a number"),
    "a truth": (POINT | {"chunk_length": True}, "chunk_length = True is not a number"),
    "a list": (POINT | {"precision": ["fp32"]}, "precision = ['fp32'] is not among"),
    "no number": (POINT | {"chunk_length": math.nan}, "chunk_length = nan is outside"),
    "infinite": (POINT | {"chunk_length": math.inf}, "chunk_length = inf is outside"),
    "a number of a thousand digits": (POINT | {"chunk_length": 10**1000}, "is outside space.chunk_length"),
    "between two steps": (
        POINT | {"pruning_structure": "hidden", "pruning_ratio": 0.43},
        "pruning_ratio = 0.43 is not a multiple of 0.05",
    ),
    "R alone": (POINT | {"right_context": 0.5}, "right_context = 0.5 means nothing where look_ahead = 'none'"),
    "a ratio of nothing": (POINT | {"pruning_ratio": 0.4}, "pruning_ratio = 0.4 means nothing where pruning_structure"),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def begun(url: str, definition: StudyDefinition, identity: Mapping[str, str] | None = None) -> optuna.Study:
    """A study before its first trial, as stock Optuna opens it."""
    _create_or_resume("study", definition, identity or AnalyticEvaluator().identity, open_storage(url))
    return load_study("study", url)


def finished(url: str, *numbers: int) -> list[FrozenTrial]:
    trials = load_study("study", url).trials
    assert all(trial.state.is_finished() for trial in trials)
    return [trials[number] for number in numbers] or trials


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_fails_by_itself_with_its_reason_and_the_run_goes_on(url: str, jobs: int) -> None:
    """More in a row than would stop a run; the budget goes to what can be measured."""
    definition = small_study(trials=2, stop_after_failures=3)
    pile = Pile(slots=jobs)
    study = begun(url, definition, pile.identity if jobs > 1 else None)
    for params, _ in WRONG.values():
        study.enqueue_trial(params)
    left = status(study).remaining
    if jobs == 1:
        outcome = run_study("study", definition, AnalyticEvaluator(), url)
    else:
        outcome = driver.run_study("study", definition, pile, url)
    assert (outcome.trials, outcome.failed) == (len(WRONG) + len(ORIGINS) + 2, len(WRONG))
    assert left == outcome.trials
    for trial, (name, (_, needle)) in zip(finished(url), WRONG.items(), strict=False):
        assert trial.state is TrialState.FAIL, name
        assert needle in trial.user_attrs[record.ERROR], name
        assert trial.user_attrs[record.ERROR].startswith("it was queued by another program: ")
    told = status(load_study("study", url))
    assert told.remaining == 0
    assert [failure.trial for failure in told.failures] == list(range(len(WRONG)))
    again = AnalyticEvaluator(identity=pile.identity if jobs > 1 else AnalyticEvaluator().identity)
    assert run_study("study", definition, again, url).trials == 0, "none is tried again"


def test_what_can_be_measured_is_one_of_the_search_trials(url: str) -> None:
    definition = small_study(trials=2)
    study = begun(url, definition)
    study.enqueue_trial(POINT)
    study.enqueue_trial({"chunk_length": 2})  # a whole number, and the rest is drawn
    study.enqueue_trial({})
    assert status(study).remaining == len(ORIGINS) + 3  # more than the budget, since they were asked for
    outcome = run_study("study", definition, AnalyticEvaluator(), url)
    assert (outcome.trials, outcome.failed) == (len(ORIGINS) + 3, 0)
    trials = finished(url)
    assert trials[0].params == POINT
    assert trials[1].params["chunk_length"] == 2
    assert [record.origin_of(trial) for trial in trials] == ["search"] * 3 + ORIGINS


def test_what_was_queued_after_the_end_is_run_by_the_next_run(url: str) -> None:
    definition = small_study(trials=1)
    run_study("study", definition, AnalyticEvaluator(), url)
    study = load_study("study", url)
    study.enqueue_trial(WRONG["C of 7 s"][0])
    study.enqueue_trial(POINT)
    assert status(study).remaining == 2
    outcome = run_study("study", definition, AnalyticEvaluator(), url)
    assert (outcome.trials, outcome.failed) == (2, 1)
    assert [trial.state.name for trial in finished(url)[-2:]] == ["FAIL", "COMPLETE"]


def test_what_waits_without_parameters_hides_no_fixed_point(url: str) -> None:
    """It looks like a trial that did not wait."""
    definition = small_study(trials=0)
    study = begun(url, definition)
    study.add_trial(create_trial(state=TrialState.WAITING))
    run_study("study", definition, AnalyticEvaluator(), url)
    assert [record.origin_of(trial) for trial in finished(url)] == ["search", *ORIGINS]


@pytest.mark.parametrize(
    ("waiting", "needle"),
    [
        ({"user_attrs": {"origin": "baseline"}, "system_attrs": {"fixed_params": POINT}}, "'origin' = 'baseline'"),
        ({"user_attrs": {"origin": [1]}, "system_attrs": {"fixed_params": POINT}}, "'origin' = [1]"),
        ({"system_attrs": {"fixed_params": [1, 2]}}, "it was queued with [1, 2]"),
        (
            {"params": {"chunk_length": 0.5}, "distributions": {"chunk_length": FloatDistribution(0.1, 1, log=True)}},
            "chunk_length came with FloatDistribution",
        ),
    ],
)
def test_what_is_odd_about_it_is_told(url: str, waiting: dict[str, Any], needle: str) -> None:
    definition = small_study(trials=0)
    study = begun(url, definition)
    study.add_trial(create_trial(state=TrialState.WAITING, **waiting))
    outcome = run_study("study", definition, AnalyticEvaluator(), url)
    assert (outcome.trials, outcome.failed) == (len(ORIGINS) + 1, 1)
    assert needle in finished(url, 0)[0].user_attrs[record.ERROR]
    assert [record.origin_of(trial) for trial in finished(url)[1:]] == ORIGINS


def drive(url: str, definition: StudyDefinition) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    run_study("study", definition, AnalyticEvaluator(seconds=0.05), url)


def test_two_drivers_fail_each_once(postgres_url: str) -> None:
    definition = small_study(trials=4, racing={"enabled": False})
    study = begun(postgres_url, definition)
    for params, _ in WRONG.values():
        study.enqueue_trial(params)
    study.add_trial(create_trial(values=[1.0, 0.1, 0.001]))
    drivers = [start(drive, postgres_url, definition) for _ in range(2)]
    for process in drivers:
        process.join(PATIENCE)
        assert process.exitcode == 0
    trials = finished(postgres_url)
    assert sum(trial.state is TrialState.FAIL for trial in trials) == len(WRONG)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(complete) == len(ORIGINS) + 4 + 1
    told = status(study)
    assert (told.remaining, list(told.left_out)) == (0, [len(WRONG)])
