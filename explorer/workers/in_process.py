"""Evaluate trials one after the other in this process."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Self

from explorer.workers.protocol import Answer, Evaluator, OnProgress, OnStage, Task, name_of_this_process
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
        started = time.monotonic()
        measurement, error = None, None
        try:
            measurement = self._evaluator(
                task.point,
                lambda stage, fraction: self._on_progress(task.number, stage, fraction),
                task.judge or UNHURRIED,
            )
        except Exception as raised:  # noqa: BLE001 — for the driver, which distinguishes a bug from a failed trial
            error = raised
        return Answer(task.number, measurement, error, time.monotonic() - started, name_of_this_process())

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
