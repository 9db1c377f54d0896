"""What runs in a worker process of a Dask cluster: one evaluator, built once, and what a driver orders from it."""

import asyncio
import multiprocessing
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import threadpoolctl
from distributed import Worker, get_worker

from explorer.workers.in_process import measure
from explorer.workers.protocol import Builder, Evaluator, OnStage, Task, name_of_this_process
from objectives.errors import DeviceError, EvaluationError
from objectives.machine import versions
from objectives.operating_point import OperatingPoint

TELL_EVERY = 0.5  # seconds between two words of progress, unless another stage begins
DELIVERY = 10.0  # seconds for a driver to take an answer from a process that is about to end
LOOK_EVERY = 0.1  # seconds between two looks at whether the answer is still wanted

Kind = Literal["greet", "introduce", "measure", "calibrate", "prepare", "close"]


@dataclass(frozen=True)
class Greeting:
    """Who a worker is. cores: those that its process may use."""

    host: str
    process: int
    cores: frozenset[int]

    def __str__(self) -> str:
        return f"{self.host}:{self.process}"


@dataclass(frozen=True)
class Introduction:
    """What decides a worker's answers. identity: its evaluator's. versions: of Python and of packages. remarks: its
    evaluator's, for the driver to say once."""

    identity: Mapping[str, str]
    versions: Mapping[str, str]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """What a driver wants done.

    driver: tells this driver from others; also the topic that progress is told under. job, attempt: tell the order from
    its others. threads: of the accuracy plane. about: a Task to `measure`, an OperatingPoint to `calibrate`.
    """

    driver: str
    job: int
    attempt: int
    kind: Kind
    builder: Builder
    threads: int = 1
    about: Task | OperatingPoint | None = None

    @property
    def key(self) -> str:
        """Name of the order in the cluster."""
        return f"{self.driver}-{self.job}-{self.attempt}"


@dataclass(frozen=True)
class Outcome:
    """What became of an order: a value, or the error that was raised, with its traceback as a note.

    leaves: the process ends once this is delivered, and should be given nothing more.
    """

    value: Any
    error: Exception | None
    seconds: float
    worker: str = field(default_factory=name_of_this_process)
    leaves: bool = False


class Unwanted(BaseException):
    """The driver dropped the order, or is gone. Not an Exception: nothing on the way may take it for a failure."""


# (driver, builder, threads) and the evaluator built for them: the one that this process has open
_open: tuple[tuple[str, Builder, int], Evaluator] | None = None


def dask_setup(worker: Worker) -> None:
    """Called by Dask where this module is preloaded: Ctrl-C in a terminal is the driver's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def execute(order: Order) -> Outcome:
    """Do what is ordered. Errors come back as values; only Unwanted is raised."""
    started = time.monotonic()
    value, error, leaves = None, None, False
    try:
        # BLAS on one thread always: its sums, and with them features, depend on how many there are
        with threadpoolctl.threadpool_limits({"openmp": order.threads, "blas": 1}):
            value = _answer(order)
    except DeviceError as raised:  # a new process may have what this one may not: the trial fails, the study goes on
        error = portable(EvaluationError(str(raised)))
        get_worker().loop.add_callback(_begin_anew, get_worker(), order.key)
        leaves = True
    except Exception as raised:  # noqa: BLE001 — handed to the driver, which tells a bug from a trial that failed
        error = portable(raised)
    return Outcome(value, error, time.monotonic() - started, leaves=leaves)


async def _begin_anew(worker: Worker, key: str) -> None:
    """End this process once its answer was taken; a nanny starts another in its place."""
    patience = time.monotonic() + DELIVERY
    while key in worker.state.tasks and time.monotonic() < patience:
        await asyncio.sleep(LOOK_EVERY)
    await worker.close_gracefully(restart=True, reason="its GPU serves it no more")


def portable(error: Exception) -> Exception:
    """The same error, able to travel: its traceback becomes a note, which pickle keeps."""
    told = "".join(traceback.format_exception(error))
    try:
        same = type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # noqa: BLE001 — a class may raise anything when it is put together again
        same = False
    if not same:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In worker {name_of_this_process()}:\n{told}")
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
            tell = _teller(order)
            return _evaluator(order).prepare(lambda fraction: tell("reading the recordings", fraction))
        case "calibrate":
            assert isinstance(order.about, OperatingPoint)
            return _evaluator(order).calibration_errors(order.about, _teller(order))
        case "measure":
            assert isinstance(order.about, Task)
            return measure(_evaluator(order), order.about, _teller(order))


def _cores() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _evaluator(order: Order) -> Evaluator:
    """The evaluator of this order's driver, builder and threads; another one that was open is closed.

    A new driver gets a new one: recordings may have changed on disk since the last.
    """
    global _open
    wanted = (order.driver, order.builder, order.threads)
    if _open is not None and _open[0] == wanted:
        return _open[1]
    _close()
    _permit_children()
    evaluator = order.builder.build(order.threads).__enter__()
    _open = (wanted, evaluator)
    return evaluator


def _close() -> None:
    global _open
    if _open is not None:
        _, evaluator = _open
        _open = None
        evaluator.__exit__(None, None, None)


def _permit_children() -> None:
    """Let this process start the one that takes time.

    Dask's nannies start workers as daemons, which multiprocessing keeps from having children, lest these be orphaned:
    the timing process ends with its parent however that ends.
    """
    process = multiprocessing.current_process()
    if process.daemon:
        process.daemon = False


def _teller(order: Order) -> OnStage:
    """Tells the driver how far an order is, now and then, and raises Unwanted where nobody wants its answer now."""
    worker = get_worker()
    told: tuple[str, float] = ("", 0.0)  # (stage, when)
    looked = 0.0

    def tell(stage: str, fraction: float) -> None:
        nonlocal told, looked
        now = time.monotonic()
        if now - looked >= LOOK_EVERY:
            looked = now
            if not _is_wanted(worker, order):
                raise Unwanted
        if stage != told[0] or now - told[1] >= TELL_EVERY:
            told = (stage, now)
            # a NumPy number is none that goes over the wire
            said = {"told": [stage, float(fraction)], "memory": worker.monitor.get_process_memory()}
            worker.log_event(order.driver, {"order": [order.job, order.attempt], **said})

    return tell


def _is_wanted(worker: Worker, order: Order) -> bool:
    """Whether the scheduler still wants the answer; it drops it when the driver does, or is gone."""
    task = worker.state.tasks.get(order.key)
    return task is not None and task.state == "executing"
