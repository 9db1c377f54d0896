"""Run in a worker process of a Dask cluster: build one evaluator and carry out a driver's orders with it."""

import multiprocessing
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import threadpoolctl
from distributed import Worker, get_worker

from explorer.workers.protocol import Answer, Build, Evaluator, OnStage, Task, answer_of, name_of_this_process
from objectives.evaluation.settings import EvaluatorSettings
from objectives.machine import usable_cores, versions
from objectives.measurement import UNHURRIED, ErrorCounts, Measurement, Stopped
from objectives.operating_point import OperatingPoint

REPORT_EVERY = 0.5  # seconds between two reports of progress, unless another stage begins
LOOK_EVERY = 0.1  # seconds between two checks that the answer is still wanted


@dataclass(frozen=True)
class Greeting:
    """Identifies a worker. cores: those that its process may use."""

    host: str
    process: int
    cores: frozenset[int]

    def __str__(self) -> str:
        return f"{self.host}:{self.process}"


@dataclass(frozen=True)
class Introduction:
    """What a worker's answers depend on. identity: its evaluator's. versions: of Python and packages. remarks: its
    evaluator's, for the driver to print once."""

    identity: Mapping[str, str]
    versions: Mapping[str, str]
    remarks: tuple[str, ...] = ()


class Unwanted(BaseException):
    """The driver dropped the order, or is gone. Not an Exception, so that no handler takes it for a failure."""


# the evaluator that this process has open, with the (driver, threads) that it was built for
_open: tuple[tuple[str, int], Evaluator] | None = None


def build_on(settings: EvaluatorSettings, threads: int) -> Evaluator:
    """Build an evaluator, and limit torch to so many threads in the whole process. See `build_evaluator`."""
    # imported late: the driver imports this module too, and does not wait for torch
    import torch

    from objectives.evaluation.evaluator import build_evaluator

    torch.set_num_threads(threads)
    return build_evaluator(replace(settings, accuracy_threads=threads))


def dask_setup(worker: Worker) -> None:
    """Ignore Ctrl-C, which the driver handles. Dask calls this if the module is preloaded."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def greet() -> Greeting:
    """Say who this is."""
    return Greeting(socket.gethostname(), os.getpid(), usable_cores())


def execute(driver: str, build: Build, threads: int, do: Callable[[Evaluator, OnStage], Any]) -> Answer:
    """Carry out a driver's order. Errors are returned, not raised; only Unwanted is raised.

    driver: a unique name of the driver; also the Dask topic that progress is reported under. threads: of the accuracy
    plane.
    """
    # BLAS always runs on one thread: its sums, and so the features, depend on the number of threads
    with threadpoolctl.threadpool_limits({"openmp": threads, "blas": 1}):
        answer = answer_of(lambda: do(evaluator_for(driver, build, threads), _reporter(driver)))
    return answer if answer.error is None else replace(answer, error=portable(answer.error))


def introduce(evaluator: Evaluator, report: OnStage) -> Introduction:
    """Say what is measured with."""
    return Introduction(dict(evaluator.identity), versions(), evaluator.remarks)


def measure(task: Task, evaluator: Evaluator, report: OnStage) -> Measurement | Stopped:
    """Measure a trial."""
    return evaluator(task.point, report, task.judge or UNHURRIED)


def calibrate(point: OperatingPoint, evaluator: Evaluator, report: OnStage) -> Mapping[str, ErrorCounts]:
    """Measure a point on the calib split."""
    return evaluator.calibration_errors(point, report)


def prepare(evaluator: Evaluator, report: OnStage) -> None:
    """Read every recording."""
    evaluator.prepare(lambda fraction: report("reading the recordings", fraction))


def portable(error: BaseException) -> BaseException:
    """Return an error that can be pickled, with its traceback as a note, which pickle keeps.

    It is the same error if that can be pickled, else a RuntimeError.
    """
    trace = "".join(traceback.format_exception(error))
    try:
        same = type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # noqa: BLE001 — a class may raise anything when it is unpickled
        same = False
    if not same:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In worker {name_of_this_process()}:\n{trace}")
    return error


def evaluator_for(driver: str, build: Build, threads: int) -> Evaluator:
    """Return the open evaluator if it was built for this driver and number of threads; else close it and build another.

    A driver always builds the same. A new driver gets a new evaluator, since recordings may have changed on disk.
    """
    global _open
    if _open is not None and _open[0] == (driver, threads):
        return _open[1]
    close()
    _permit_children()
    evaluator = build(threads).__enter__()
    _open = ((driver, threads), evaluator)
    return evaluator


def close() -> None:
    """Close the evaluator that is open, if one is."""
    global _open
    if _open is not None:
        _, evaluator = _open
        _open = None
        evaluator.__exit__(None, None, None)


def _permit_children() -> None:
    """Let this process start the timing process.

    Dask's nannies start workers as daemons, and multiprocessing forbids daemons to have children, which could be
    orphaned. The timing process cannot: it ends with its parent, however the parent ends.
    """
    process = multiprocessing.current_process()
    if process.daemon:
        process.daemon = False


def _reporter(driver: str) -> OnStage:
    """Return a callback that regularly reports the running task's progress to the driver, and raises Unwanted if its
    answer is no longer wanted."""
    worker = get_worker()
    key = worker.get_current_task()
    last: tuple[str, float] = ("", 0.0)  # (stage, when it was reported)
    looked = 0.0

    def report(stage: str, fraction: float) -> None:
        nonlocal last, looked
        now = time.monotonic()
        if now - looked >= LOOK_EVERY:
            looked = now
            task = worker.state.tasks.get(key)  # dropped by the scheduler if the driver drops it, or is gone
            if task is None or task.state != "executing":
                raise Unwanted
        if stage != last[0] or now - last[1] >= REPORT_EVERY:
            last = (stage, now)
            # float: Dask cannot send NumPy numbers
            worker.log_event(driver, [key, stage, float(fraction), worker.monitor.get_process_memory()])

    return report
