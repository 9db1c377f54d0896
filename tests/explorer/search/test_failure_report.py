"""A run that stops itself after too many failures in a row, and what it says then."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from explorer.search import driver
from explorer.search.failure_report import Failure, diagnosis, in_common
from explorer.storage.connection import load_study
from explorer.workers.protocol import Answer
from objectives.errors import EvaluationError, StudyError
from objectives.measurement import ErrorCounts
from objectives.operating_point import BASELINE, OperatingPoint, Pruning
from studies.definition import parse
from tests.explorer.search.test_loop import Pile
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study


def failure(number: int, point: OperatingPoint = BASELINE, reason: str = "no", worker: str | None = None) -> Failure:
    return Failure(number, "search", point, reason, worker)


HIDDEN = OperatingPoint(1.0, 0.0, Pruning("hidden", 0.2))
LINEAR = OperatingPoint(1.0, 0.0, Pruning("linear", 0.4), "int8_qat")
INT4 = OperatingPoint(0.5, 0.0, Pruning("linear", 0.2), "int4_ptq")


@pytest.mark.parametrize(
    ("failures", "shared"),
    [
        ([failure(0, HIDDEN), failure(1, LINEAR)], ["a pruned model"]),
        ([failure(0, HIDDEN), failure(1, HIDDEN)], ["a pruned model (structure hidden)", "precision fp32"]),
        ([failure(0, LINEAR), failure(1, INT4)], ["a pruned model (structure linear)", "a low-bit precision"]),
        ([failure(0, BASELINE), failure(1, LINEAR)], []),
        ([failure(0, reason="a b: short"), failure(1, LINEAR, "at a b, 3 s")], ["recording a b"]),
        ([failure(0, reason="a b-2: short"), failure(1, LINEAR, "at a b, 3 s")], []),
        ([failure(0, worker="h:1"), failure(1, LINEAR, worker="h:1")], ["worker h:1"]),
        ([failure(0, worker="h:1"), failure(1, LINEAR, worker="h:2")], []),
    ],
)
def test_what_failures_have_in_common(failures: list[Failure], shared: list[str]) -> None:
    assert in_common(failures, ("a b", "other")) == shared


def test_one_reason_is_told_once() -> None:
    told = diagnosis([failure(3, HIDDEN, f"{HIDDEN}: out of it"), failure(4, LINEAR, f"{LINEAR}: out of it")], ())
    assert told.startswith("2 trials failed one after the other (3, 4), so the run stops.\n")
    assert "The reason is the same each time: out of it\n" in told
    assert told.count("out of it") == 1


def test_several_reasons_are_told_trial_by_trial() -> None:
    told = diagnosis([failure(3, BASELINE, "one"), failure(4, LINEAR, "two")], ())
    assert "\n  trial 3 (search): one\n  trial 4 (search): two\n" in told
    assert "nothing in common" in told
    assert "run the same command again: everything finished is kept" in told


def refuse(point: OperatingPoint) -> None:
    raise EvaluationError("nothing works")


def test_five_failures_in_a_row_stop_the_run_and_the_same_command_goes_on(url: str) -> None:
    definition = small_study(trials=6)
    with pytest.raises(StudyError) as caught:
        run_study("study", definition, AnalyticEvaluator(before=refuse), url)
    assert "5 trials failed one after the other (0, 1, 2, 3, 4)" in str(caught.value)
    assert "The reason is the same each time: nothing works" in str(caught.value)
    trials = load_study("study", url).trials
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 5
    assert {trial.user_attrs["error"] for trial in trials} == {"nothing works"}
    # three fixed points again, and the four search trials that are left of six
    outcome = run_study("study", definition, AnalyticEvaluator(), url)
    assert (outcome.trials, outcome.failed, outcome.stopped) == (7, 0, "done")


def test_anything_but_a_failure_starts_the_count_again(url: str) -> None:
    """Of ten points each third can be measured."""
    definition = small_study(trials=0, stop_after_failures=3, fixed={"right_context": [0.1 * k for k in range(1, 10)]})
    points = [fixed.point for fixed in definition.fixed_points_for(None)]
    fails = frozenset(point for number, point in enumerate(points) if number % 3)
    assert run_study("study", definition, AnalyticEvaluator(fails=fails), url).failed == len(fails) == 6


def test_one_that_was_stopped_is_no_failure_and_starts_the_count_again(url: str) -> None:
    plain = {"look_ahead": "none", "pruning_structure": "none", "precision": "fp32"}
    limits = {"latency": 2.0}
    study = run_study("study", small_study(trials=0, fixed={}, limits=limits), AnalyticEvaluator(), url).study
    for chunk_length in (0.5, 3.0, 0.6):  # fails, over the budget, fails
        study.enqueue_trial({"chunk_length": chunk_length} | plain)
    fails = frozenset({OperatingPoint(0.5), OperatingPoint(0.6)})
    definition = small_study(trials=3, fixed={}, limits=limits, stop_after_failures=2)
    outcome = run_study("study", definition, AnalyticEvaluator(fails=fails), url)
    assert (outcome.trials, outcome.failed) == (3, 2)


def test_a_value_that_is_not_finite_counts_as_a_failure(url: str) -> None:
    class Silent(AnalyticEvaluator):
        def __call__(self, point, *others):
            return replace(super().__call__(point, *others), counts={"a": ErrorCounts()})

    with pytest.raises(StudyError, match="no reference speech was scored"):
        run_study("study", small_study(trials=0, stop_after_failures=2), Silent(), url)


def test_an_interrupt_does_not_count(url: str) -> None:
    def interrupt(point: OperatingPoint) -> None:
        raise KeyboardInterrupt

    definition = small_study(trials=0, stop_after_failures=1)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_study("study", definition, AnalyticEvaluator(before=interrupt), url)


class Failing(Pile):
    """Every answer but those of `good` is an error."""

    good = frozenset({0})

    def wait(self) -> Answer:
        answer = super().wait()
        if answer.number in self.good:
            return answer
        return Answer(answer.number, None, EvaluationError(f"{answer.number} failed"), 1.0, "host:7")


def test_what_runs_when_the_run_gives_up_is_told_and_nothing_more_is_asked(url: str) -> None:
    """Three at once, the last one asked answers first: the baseline runs until the end, and is kept."""
    pile = Failing(slots=3)
    definition = small_study(trials=9, stop_after_failures=4)
    with pytest.raises(StudyError) as caught:
        driver.run_study("study", definition, pile, url)
    trials = load_study("study", url).trials
    assert trials[0].state is TrialState.COMPLETE
    assert all(trial.state.is_finished() for trial in trials)
    assert len(trials) == pile.submitted == 6  # those that ran beside the fourth that failed, and no other
    assert "worker host:7" in str(caught.value)


def test_zero_goes_on_whatever_fails(url: str) -> None:
    definition = small_study(trials=6, stop_after_failures=0)
    assert run_study("study", definition, AnalyticEvaluator(before=refuse), url).failed == 9


def test_the_count_may_change_from_run_to_run() -> None:
    assert parse({"stop_after_failures": 3}, "a test").identity() == parse({}, "a test").identity()
    assert parse({}, "a test").stop_after_failures == 5
    with pytest.raises(StudyError, match="stop_after_failures = -1"):
        parse({"stop_after_failures": -1}, "a test")
