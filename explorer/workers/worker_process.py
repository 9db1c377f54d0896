"""Run in a worker process of a Dask cluster: build one evaluator and carry out a driver's orders with it."""

import asyncio
import multiprocessing
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import threadpoolctl
from distributed import Worker, get_worker

from explorer.workers.in_process import measure
from explorer.workers.protocol import Build, Evaluator, OnStage, Task, name_of_this_process
from objectives.errors import DeviceError, EvaluationError
from objectives.evaluation.settings import EvaluatorSettings
from objectives.machine import versions
from objectives.operating_point import OperatingPoint

REPORT_EVERY = 0.5  # seconds between two reports of progress, unless another stage begins
DELIVERY = 10.0  # seconds for a driver to fetch an answer from a process that is about to end
LOOK_EVERY = 0.1  # seconds between two checks that the answer is still wanted

Kind = Literal["greet", "introduce", "measure", "calibrate", "prepare", "close"]


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


@dataclass(frozen=True)
class Order:
    """What a driver wants done.

    driver: a unique name of the driver; also the Dask topic that progress is reported under. job, attempt: identify the
    order among those of this driver. threads: of the accuracy plane. about: a Task to `measure`, an OperatingPoint to
    `calibrate`.
    """

    driver: str
    job: int
    attempt: int
    kind: Kind
    build: Build
    threads: int = 1
    about: Task | OperatingPoint | None = None

    @property
    def key(self) -> str:
        """Name of the order in the cluster."""
        return f"{self.driver}-{self.job}-{self.attempt}"


@dataclass(frozen=True)
class Outcome:
    """The result of an order: a value, or the error that was raised, with its traceback as a note.

    leaves: whether the process ends once this is delivered, so that it must not be given more orders.
    """

    value: Any
    error: Exception | None
    seconds: float
    worker: str = field(default_factory=name_of_this_process)
    leaves: bool = False


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


def execute(order: Order) -> Outcome:
    """Carry out an order. Errors are returned, not raised; only Unwanted is raised."""
    started = time.monotonic()
    value, error, leaves = None, None, False
    try:
        # BLAS always runs on one thread: its sums, and so the features, depend on the number of threads
        with threadpoolctl.threadpool_limits({"openmp": order.threads, "blas": 1}):
            value = _answer(order)
    except DeviceError as raised:  # a new process may get the GPU again: this trial fails, the study goes on
        error = portable(EvaluationError(str(raised)))
        get_worker().loop.add_callback(_begin_anew, get_worker(), order.key)
        leaves = True
    except Exception as raised:  # noqa: BLE001 — for the driver, which distinguishes a bug from a failed trial
        error = portable(raised)
    return Outcome(value, error, time.monotonic() - started, leaves=leaves)


async def _begin_anew(worker: Worker, key: str) -> None:
    """End this process once its answer has been fetched. Dask's nanny starts another in its place."""
    patience = time.monotonic() + DELIVERY
    while key in worker.state.tasks and time.monotonic() < patience:
        await asyncio.sleep(LOOK_EVERY)
    await worker.close_gracefully(restart=True, reason="its GPU serves it no more")


def portable(error: Exception) -> Exception:
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


def _answer(order: Order) -> Any:
    match order.kind:
        case "greet":
            return Greeting(socket.gethostname(), os.getpid(), _cores())
        case "close":
            return _close()
        case "introduce":
            evaluator = _evaluator(order)
            return Introduction(dict(evaluator.identity), versions(), evaluator.remarks)
        case "prepare":
            report = _reporter(order)
            return _evaluator(order).prepare(lambda fraction: report("reading the recordings", fraction))
        case "calibrate":
            assert isinstance(order.about, OperatingPoint)
            return _evaluator(order).calibration_errors(order.about, _reporter(order))
        case "measure":
            assert isinstance(order.about, Task)
            return measure(_evaluator(order), order.about, _reporter(order))


def _cores() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _evaluator(order: Order) -> Evaluator:
    """Return the evaluator for this order's driver and threads. Closes another one that was open.

    A driver always builds the same; `build` itself is another object in each order, since it was pickled. A new driver
    gets a new evaluator, since recordings may have changed on disk.
    """
    global _open
    wanted = (order.driver, order.threads)
    if _open is not None and _open[0] == wanted:
        return _open[1]
    _close()
    _permit_children()
    evaluator = order.build(order.threads).__enter__()
    _open = (wanted, evaluator)
    return evaluator


def _close() -> None:
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


def _reporter(order: Order) -> OnStage:
    """Return a callback that regularly reports an order's progress to the driver, and raises Unwanted if its answer is
    no longer wanted."""
    worker = get_worker()
    last: tuple[str, float] = ("", 0.0)  # (stage, when it was reported)
    looked = 0.0

    def report(stage: str, fraction: float) -> None:
        nonlocal last, looked
        now = time.monotonic()
        if now - looked >= LOOK_EVERY:
            looked = now
            if not _is_wanted(worker, order):
                raise Unwanted
        if stage != last[0] or now - last[1] >= REPORT_EVERY:
            last = (stage, now)
            worker.log_event(
                order.driver,
                {
                    "order": [order.job, order.attempt],
                    "progress": [stage, float(fraction)],  # float: Dask cannot send NumPy numbers
                    "memory": worker.monitor.get_process_memory(),
                },
            )

    return report


def _is_wanted(worker: Worker, order: Order) -> bool:
    """Whether the scheduler still wants the answer. It drops the task if the driver does, or is gone."""
    task = worker.state.tasks.get(order.key)
    return task is not None and task.state == "executing"
