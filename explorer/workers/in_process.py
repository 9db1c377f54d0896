"""Evaluate trials one after the other in this process."""

import functools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Self

from explorer.workers.protocol import Answer, Evaluator, OnProgress, OnStage, Task, answer_of
from objectives.machine import versions
from objectives.measurement import UNHURRIED, ErrorCounts
from objectives.operating_point import OperatingPoint


class InProcess:
    """Evaluates in this process, one trial at a time, while the driver waits. See Workers."""

    slots = 1

    def __init__(self, evaluator: Evaluator, on_progress: OnProgress):
        self.identity, self.remarks = evaluator.identity, evaluator.remarks
        self.versions: Mapping[str, str] = versions()
        self._evaluator = evaluator
        self._on_progress = on_progress
        self._tasks: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """See Workers.submit."""
        self._tasks.append(task)

    def wait(self) -> Answer:
        """See Workers.wait."""
        task = self._tasks.popleft()
        on_stage = functools.partial(self._on_progress, task.number)
        return answer_of(lambda: self._evaluator(task.point, on_stage, task.judge or UNHURRIED), task.number)

    def cancel(self) -> None:
        """See Workers.cancel."""
        self._tasks.clear()

    def calibration_errors(self, point: OperatingPoint, on_progress: OnStage) -> Mapping[str, ErrorCounts]:
        """See Workers.calibration_errors."""
        return self._evaluator.calibration_errors(point, on_progress)

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """See Workers.prepare."""
        self._evaluator.prepare(on_progress)

    def __enter__(self) -> Self:
        self._evaluator.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._evaluator.__exit__(None, None, None)
