"""Trials one after the other in this process: their order, their seconds, and what is dropped."""

import time

from explorer.workers.in_process import InProcess
from explorer.workers.protocol import Task
from objectives.operating_point import BASELINE, OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator


def test_trials_are_answered_in_their_order_with_what_each_took() -> None:
    workers = InProcess(AnalyticEvaluator(seconds=0.05), lambda number, stage, fraction: None)
    began = time.monotonic()
    workers.submit(Task(4, BASELINE))
    workers.submit(Task(2, OperatingPoint(0.5)))
    answers = [workers.wait(), workers.wait()]
    assert [answer.number for answer in answers] == [4, 2]
    assert all(answer.seconds >= 0.05 for answer in answers)
    assert sum(answer.seconds for answer in answers) <= time.monotonic() - began


def test_what_is_cancelled_is_never_measured() -> None:
    evaluator = AnalyticEvaluator()
    workers = InProcess(evaluator, lambda number, stage, fraction: None)
    workers.submit(Task(0, BASELINE))
    workers.cancel()
    workers.submit(Task(1, OperatingPoint(0.5)))
    assert workers.wait().number == 1
    assert evaluator.calls == [OperatingPoint(0.5)]
