"""The interface between the driver and its workers.

Trials are evaluated in the driver's own process (in_process.py) or in those of a Dask cluster (dask_workers.py). Only
the driver asks, tells and writes to the storage. Workers only evaluate: they receive definitions and content keys,
never a database handle. Everything else (corpus, assets, finished models) they read from their host's own cache or from
a shared file system.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from objectives.measurement import ErrorCounts, Judge, Measurement, Stopped
from objectives.operating_point import OperatingPoint

OnStage = Callable[[str, float], None]  # (stage, fraction of the stage that is done)
OnProgress = Callable[[int, str, float], None]  # (number of the trial, stage, fraction of the stage that is done)


class Evaluator(AbstractContextManager["Evaluator"], Protocol):
    """Measures operating points: objectives.evaluation.evaluator.Evaluator, or a test's stand-in for it.

    identity: everything except the operating point that changes an answer: corpus, weights, settings, machine. remarks:
    what its corpus leaves out, in words.
    """

    @property
    def identity(self) -> Mapping[str, str]: ...

    @property
    def remarks(self) -> tuple[str, ...]: ...

    def __call__(self, point: OperatingPoint, on_progress: OnStage, judge: Judge, /) -> Measurement | Stopped: ...

    def errors(self, point: OperatingPoint, on_progress: OnStage) -> Mapping[str, ErrorCounts]: ...

    def calibration_errors(self, point: OperatingPoint, on_progress: OnStage) -> Mapping[str, ErrorCounts]: ...

    def prepare(self, on_progress: Callable[[float], None]) -> None: ...


# Builds an evaluator whose accuracy plane runs on this many threads. It must pickle
Build = Callable[[int], Evaluator]


@dataclass(frozen=True)
class Task:
    """One trial to evaluate. judge: may stop it early; plain data that pickles, passed to the evaluator."""

    number: int
    point: OperatingPoint
    judge: Judge | None = None


@dataclass(frozen=True)
class Answer:
    """How a trial, or other work, ended.

    number: of the trial; -1 for other work. measurement: the trial's, or the result of other work. error: the exception
    that was raised; if raised in another process, its notes hold the traceback. seconds: duration of the last attempt.
    worker: the `host:process` that made it. attempts: 2 if a worker died in the first.
    """

    number: int
    measurement: Any
    error: BaseException | None
    seconds: float
    worker: str
    attempts: int = 1


class Workers(AbstractContextManager["Workers"], Protocol):
    """Evaluates trials, up to `slots` at once. A context manager that releases everything at its end.

    identity, remarks: those of the evaluators, which are the same for all of them. versions: of the packages that
    affect an answer.
    """

    identity: Mapping[str, str]
    remarks: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def slots(self) -> int:
        """How many trials may be submitted and unanswered at a time. It changes as workers join and leave."""
        ...

    def submit(self, task: Task) -> None:
        """Start the evaluation of a trial."""
        ...

    def wait(self) -> Answer | None:
        """Block until a trial is answered. Returns None if there are more slots than before instead.

        Raises StudyError if no worker is left to answer.
        """
        ...

    def cancel(self) -> None:
        """Drop every trial that was submitted and not answered."""
        ...

    def calibration_errors(self, point: OperatingPoint, on_progress: OnStage) -> Mapping[str, ErrorCounts]:
        """Measure a point on the calib split. Returns its errors by recording.

        Raises EvaluationError if it cannot be measured.
        """
        ...

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """Read every recording once on each host. Raises CorpusError if one is invalid."""
        ...


def answer_of(work: Callable[[], Any], number: int = -1) -> Answer:
    """Do some work in this process. Errors are returned; the driver distinguishes a bug from a failed trial."""
    started = time.monotonic()
    result, error = None, None
    try:
        result = work()
    except Exception as raised:  # noqa: BLE001 — see above
        error = raised
    return Answer(number, result, error, time.monotonic() - started, name_of_this_process())


def name_of_this_process() -> str:
    """Return `host:process`, to name this process in messages."""
    return f"{socket.gethostname()}:{os.getpid()}"


def prefixed(on_progress: OnStage, step: str) -> OnStage:
    """Return a callback that reports stages within one step of a longer task."""
    return lambda stage, fraction: on_progress(f"{step}: {stage}", fraction)
