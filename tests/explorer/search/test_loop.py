"""The loop against workers that answer several trials at once, in any order."""

from collections import deque
from collections.abc import Mapping
from typing import ClassVar

import pytest
from optuna.trial import TrialState

from explorer.search import driver
from explorer.search.observer import Observer
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from explorer.workers.protocol import Answer, Task
from objectives.measurement import ErrorCounts
from objectives.operating_point import OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator, judged, measurement, run_study, small_study


class Pile:
    """Workers that answer the trial submitted last first. `held`: the most that were ever with them."""

    versions: ClassVar[dict[str, str]] = {}

    def __init__(self, slots: int, fails: frozenset[int] = frozenset()):
        self.slots, self.held, self.submitted = slots, 0, 0
        self.identity = {"corpus": "analytic"}
        self.tasks: deque[Task] = deque()
        self.fails = fails

    def submit(self, task: Task) -> None:
        assert len(self.tasks) < self.slots
        self.tasks.append(task)
        self.submitted += 1
        self.held = max(self.held, len(self.tasks))

    def wait(self) -> Answer:
        task = self.tasks.pop()
        if task.number in self.fails:
            return Answer(task.number, None, KeyError("a bug"), 1.0, "here")
        whole = measurement(task.point)
        told = whole if task.judge is None else judged(whole, task.judge)
        return Answer(task.number, told, None, 1.0, "here")

    def cancel(self) -> None:
        self.tasks.clear()

    def calibration_errors(self, point: OperatingPoint, on_progress: object) -> Mapping[str, ErrorCounts]:
        assert not self.tasks, "the choice comes when nothing else runs"
        return {"c": ErrorCounts(confusion=10.0 * point.pruning.ratio, total=100.0)}


def test_as_many_trials_run_as_there_are_slots(url: str) -> None:
    pile = Pile(slots=3)
    outcome = driver.run_study("study", small_study(trials=7), pile, url)
    trials = outcome.study.trials
    assert (pile.held, outcome.trials, outcome.stopped) == (3, 10, "done")
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    assert [record.origin_of(trial) for trial in trials].count("search") == 7


def test_a_point_that_runs_already_is_waited_for(url: str) -> None:
    """`paper:figure2:C=1` is the baseline, which is still running when it is asked."""
    pile = Pile(slots=3)
    definition = small_study(trials=0, fixed={"chunk_length": [1.0, 0.5]})
    trials = driver.run_study("study", definition, pile, url).study.trials
    by_origin = {record.origin_of(trial): trial for trial in trials}
    assert by_origin["paper:figure2:C=1"].user_attrs["reused_from"] == by_origin["baseline"].number
    assert by_origin["paper:figure2:C=1"].values == by_origin["baseline"].values
    assert pile.submitted == 2


def test_table_2_is_chosen_when_nothing_runs(url: str) -> None:
    fixed = {"variants": ["Linear-40", "Hidden-20"], "precisions": ["fp16"]}
    study = driver.run_study("study", small_study(trials=2, fixed=fixed), Pile(slots=4), url).study
    assert {record.origin_of(trial) for trial in study.trials} >= {"paper:table2:FP16", "search"}
    assert [trial.user_attrs["pruning"] for trial in study.trials if "table2" in record.origin_of(trial)] == [
        "Hidden-20"
    ]


def test_a_bug_ends_the_run_and_leaves_nothing_running(url: str) -> None:
    pile = Pile(slots=3, fails=frozenset({1}))
    with pytest.raises(KeyError, match="a bug"):
        driver.run_study("study", small_study(trials=0), pile, url)
    assert not pile.tasks, "what was submitted is dropped"
    states = {trial.number: trial.state for trial in load_study("study", url).trials}
    assert states == {0: TrialState.FAIL, 1: TrialState.FAIL, 2: TrialState.COMPLETE}
    # and the next run mends it
    assert driver.run_study("study", small_study(trials=0), Pile(slots=3), url).trials == 2


def test_the_observer_hears_every_trial(url: str) -> None:
    heard: list[str] = []

    class Ear(Observer):
        def begin(self, trials, total):
            heard.append(f"begin {len(trials)} {total}")

        def trial_started(self, number, origin, point):
            heard.append(f"start {number}")

        def trial_progress(self, number, stage, fraction):
            heard.append(f"{stage} {fraction}")

        def trial_finished(self, trial):
            heard.append(f"end {trial.number} {trial.state.name}")

    run_study("study", small_study(trials=0, fixed={}), AnalyticEvaluator(), url, Ear())
    assert heard == ["begin 1 1", "start 0", "accuracy 0.5", "end 0 COMPLETE"]
    heard.clear()
    run_study("study", small_study(trials=2, fixed={}), AnalyticEvaluator(), url, Ear())
    assert heard[0] == "begin 1 3"  # the one that is done, and two that are to be searched


def test_a_run_whose_workers_have_all_left_waits_for_others(url: str) -> None:
    class Deserted(Pile):
        def wait(self) -> Answer | None:
            if self.slots == 0:
                self.slots = 1
                return None
            answer = super().wait()
            self.slots = 0  # each leaves with its answer
            return answer

    outcome = driver.run_study("study", small_study(trials=1), Deserted(slots=0), url)
    assert (outcome.trials, outcome.stopped) == (4, "done")
