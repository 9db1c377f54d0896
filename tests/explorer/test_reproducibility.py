"""Which trials a study proposes: the same again, whatever the jobs, where what was told is the same."""

from collections import deque
from typing import ClassVar

import pytest

from explorer.search import driver
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from explorer.workers.protocol import Answer, Task
from studies.definition import Sampler
from tests.explorer.search.test_loop import Pile
from tests.support.analytic_evaluator import AnalyticEvaluator, judged, measurement, run_study, small_study

TRIALS = 12  # two beyond the first ten, which TPE draws at random


class InOrder(Pile):
    """Workers that answer in the order in which trials were submitted."""

    versions: ClassVar[dict[str, str]] = {}

    def wait(self) -> Answer:
        self.tasks: deque[Task]
        task = self.tasks.popleft()
        whole = measurement(task.point)
        return Answer(task.number, whole if task.judge is None else judged(whole, task.judge), None, 1.0, "here")


def proposed(url: str, name: str) -> list[tuple[object, ...]]:
    """Parameters, origin, values and recordings of every trial."""
    return [
        (trial.params, record.origin_of(trial), trial.values, trial.user_attrs.get(record.RECORDINGS))
        for trial in load_study(name, url).get_trials(deepcopy=False)
    ]


def run(url: str, name: str, sampler: Sampler, jobs: int = 1, trials: int = TRIALS) -> list[tuple[object, ...]]:
    definition = small_study(sampler=sampler, trials=trials)
    if jobs == 1:
        run_study(name, definition, AnalyticEvaluator(), url)
    else:
        driver.run_study(name, definition, InOrder(slots=jobs), url)
    return proposed(url, name)


@pytest.mark.parametrize(("sampler", "jobs"), [("tpe", 1), ("tpe", 2), ("nsga2", 1)])
def test_the_same_definition_proposes_the_same_trials_again(url: str, sampler: Sampler, jobs: int) -> None:
    once = run(url, "once", sampler, jobs)
    assert len(once) == TRIALS + 3
    assert run(url, "again", sampler, jobs) == once


def test_random_search_proposes_the_same_on_one_job_and_on_two(url: str) -> None:
    one, two = run(url, "one", "random"), run(url, "two", "random", jobs=2)
    assert [trial[:2] for trial in one] == [trial[:2] for trial in two]
    # racing stops what it can compare, and on two jobs it knows less when a trial begins; what is measured is the same
    pairs = [(a[2], b[2]) for a, b in zip(one, two, strict=True) if a[2] and b[2]]
    assert len(pairs) > 3
    assert all(a == b for a, b in pairs)


def test_resumed_at_the_same_trial_a_study_goes_on_in_the_same_way(url: str) -> None:
    def resumed(name: str, at: int) -> list[tuple[object, ...]]:
        run(url, name, "tpe", trials=at)
        return run(url, name, "tpe")

    once = resumed("once", 5)
    assert resumed("again", 5) == once
    # the sampler's seed is the study's and the number of trials that it had: another cut, another way on
    assert resumed("otherwise", 6) != once
