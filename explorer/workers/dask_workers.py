"""Evaluate trials on the worker processes of a Dask cluster, which explorer/workers/dask_cluster.py starts or finds.

Dask only carries orders and answers. The assignment is made here: each trial goes to one free worker, so that a worker
never has two trials, and a trial whose worker died goes to another worker once.
"""

import functools
import itertools
import logging
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from distributed import Client, Future, KilledWorker, LocalCluster, fire_and_forget

from explorer.workers import worker_process
from explorer.workers.protocol import Answer, Build, OnProgress, OnStage, Task
from explorer.workers.roster import Roster
from explorer.workers.worker_process import Kind, Order, Outcome
from objectives.errors import EvaluationError, ExplorerError, StudyError
from objectives.measurement import ErrorCounts
from objectives.operating_point import OperatingPoint

ATTEMPTS = 2  # at a trial: a second one if the worker of the first dies
STILLBORN = 3  # workers in a row that die before they are ready, after which the run stops
PATIENCE = 120.0  # seconds to wait without any worker
CLOSING = 15.0  # seconds for processes to end by themselves; one that is being restarted takes longest
ADMISSION: tuple[Kind, ...] = ("greet", "introduce")  # what a worker is asked before it is ready
POLL = 0.5  # seconds between two checks that the scheduler is still there
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """Something to be done by a worker.

    address: of the only worker that may do it; None for any free one. future: set while a worker has the job. doer: the
    address of that worker. last_word: its last report of progress, in words. outcome: set once the job is done.
    """

    number: int
    kind: Kind
    on_stage: OnStage
    about: Task | OperatingPoint | None = None
    address: str | None = None
    attempts: int = 0
    future: Future | None = None
    doer: str = ""
    last_word: str = ""
    outcome: Outcome | None = None


class DaskWorkers:
    """Evaluates on the workers of a Dask cluster, one trial per worker at a time. Workers may join and leave.

    A trial whose worker dies is given to another one, once. Workers must be alike: same machine, same packages, same
    corpus, according to identity and versions. A worker that differs from the first is refused: with a StudyError while
    the workers are being opened, with a warning if it joins later.
    """

    def __init__(
        self,
        client: Client,
        build: Build,
        on_progress: OnProgress,
        expected: int = 1,
        patience: float = PATIENCE,
        cluster: LocalCluster | None = None,
    ):
        """Return once `expected` workers are ready. `close` also closes the client, and the cluster if one is given.

        patience: seconds to wait if there is no worker at all. Raises StudyError if there is still none then, or if
        workers die or differ from each other; also whatever `build` raises on a worker.
        """
        self._client, self._cluster = client, cluster
        self._build, self._on_progress = build, on_progress
        self._address: str = client.scheduler_info()["address"]
        self._id = f"explorer-{uuid.uuid4().hex}"
        self._patience = patience
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._roster = Roster(expected)
        self._numbers = itertools.count()
        self._jobs: dict[int, Job] = {}  # not finished
        self._waiting: deque[Job] = deque()  # those of them that wait for a free worker
        self._answers: deque[Answer] = deque()
        self._stillborn = 0
        self._opening = True
        self._hopeful = time.monotonic()  # when there was last a worker to use
        try:
            self._open(expected)
        except BaseException:  # Ctrl-C too: processes must not outlive a failed start; re-raised
            self.close()
            raise

    @property
    def slots(self) -> int:
        """See Workers.slots."""
        return self._roster.ready

    @property
    def identity(self) -> Mapping[str, str]:
        """See Workers.identity."""
        return self._roster.identity

    @property
    def versions(self) -> Mapping[str, str]:
        """See Workers.versions."""
        return self._roster.versions

    @property
    def remarks(self) -> tuple[str, ...]:
        """See Workers.remarks."""
        return self._roster.remarks

    def submit(self, task: Task) -> None:
        """See Workers.submit."""
        self._add("measure", functools.partial(self._on_progress, task.number), about=task)

    def wait(self) -> Answer | None:
        """See Workers.wait."""
        before = self.slots
        while not self._answers:
            if self.slots > before:
                return None
            self._step()
        return self._answers.popleft()

    def cancel(self) -> None:
        """See Workers.cancel. A trial that runs on a worker ends when it next reports progress."""
        for job in list(self._jobs.values()):
            if job.kind not in ADMISSION:
                self._drop(job)
        self._answers.clear()

    def calibration_errors(self, point: OperatingPoint, on_progress: OnStage) -> "Mapping[str, ErrorCounts]":
        """See Workers.calibration_errors. Running trials continue in the meantime."""
        return self._result_of(self._add("calibrate", on_progress, about=point))

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """See Workers.prepare."""
        one_a_host = self._roster.one_a_host()
        done = dict.fromkeys(one_a_host, 0.0)

        def report(host: str, _: str, fraction: float) -> None:
            done[host] = fraction
            on_progress(min(done.values()))

        jobs = [
            self._add("prepare", functools.partial(report, host), address=address)
            for host, address in one_a_host.items()
        ]
        for job in jobs:
            self._result_of(job)
        on_progress(1.0)

    def close(self) -> None:
        """Drop what runs, have workers close their evaluators, and end the cluster if it was started here."""
        with ExitStack() as stack:
            stack.enter_context(suppress(TimeoutError))  # remaining processes end with this one
            if self._cluster is not None:
                stack.callback(self._cluster.close, timeout=CLOSING)
            stack.callback(self._client.close, timeout=CLOSING)
            if self._is_connected():
                self._client.unsubscribe_topic("all")
                self.cancel()
                self._dismiss()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Dask calls these in its own threads. They only put events into the queue.

    def _on_cluster_event(self, event: tuple[float, Any]) -> None:
        match event[1]:
            case {"action": "add-worker", "worker": address}:
                self._events.put(functools.partial(self._joined, address))
            case {"action": "remove-worker", "worker": address}:
                self._events.put(functools.partial(self._left, address))

    def _on_worker_event(self, event: tuple[float, Any]) -> None:
        message = event[1]
        report = (*message["order"], message["memory"], *message["progress"])
        self._events.put(functools.partial(self._progressed, *report))

    def _on_done(self, number: int, attempt: int, future: Future) -> None:
        outcome, error = None, None
        try:
            if future.status != "cancelled":
                outcome = future.result()
        except Exception as raised:  # noqa: BLE001 — _done reports it, whatever it is
            error = raised
        self._events.put(functools.partial(self._done, number, attempt, outcome, error))

    # Everything below runs in the driver's thread, while it waits.

    def _open(self, expected: int) -> None:
        self._client.subscribe_topic("all", self._on_cluster_event)
        self._client.subscribe_topic(self._id, self._on_worker_event)
        for address in self._client.scheduler_info()["workers"]:
            self._events.put(functools.partial(self._joined, address))
        while self.slots < expected or not self._roster.settled:
            self._step()
        self._opening = False

    def _step(self) -> None:
        """Handle the next event, or time out if there is none; then assign jobs and check the cluster."""
        if not self._is_connected():
            raise StudyError(
                f"the Dask scheduler at {self._address} is gone: start it and its workers again, then run the same "
                "command; every finished trial is kept"
            )
        with suppress(queue.Empty):
            self._events.get(timeout=POLL)()
        self._assign()
        now = time.monotonic()
        if self._roster.hopeful:
            self._hopeful = now
        elif now - self._hopeful >= self._patience:
            raise StudyError(
                f"the Dask scheduler at {self._address} has had no worker to use for {self._patience:g} s: start some "
                f"with `dask worker {self._address}`, then run the same command"
            )

    def _is_connected(self) -> bool:
        return self._client.status == "running"

    def _joined(self, address: str) -> None:
        if address not in self._roster:
            self._roster.join(address)
            self._add("greet", _unheard, address=address)

    def _greeted(self, address: str, outcome: Outcome) -> None:
        if outcome.error is None:
            self._roster.greet(address, outcome.value)
            self._add("introduce", _unheard, address=address)
            return
        error = StudyError(
            f"the worker at {address} cannot run explorer ({type(outcome.error).__name__}: {outcome.error}): install "
            "the same versions for the scheduler, its workers and this command"
        )
        self._refuse(address, error)

    def _introduced(self, address: str, outcome: Outcome) -> None:
        if isinstance(outcome.error, ExplorerError):
            worker = self._roster.name(address)
            self._refuse(address, type(outcome.error)(f"worker {worker}: {outcome.error}"))
        elif outcome.error is not None:
            self._refuse(address, outcome.error)
        else:
            try:
                self._roster.introduce(address, outcome.value)
            except StudyError as error:
                self._refuse(address, error)
            self._stillborn = 0

    def _refuse(self, address: str, error: Exception) -> None:
        self._roster[address].state = "refused"
        if self._opening:
            raise error
        logger.warning("a worker that joined is not used: %s", error)

    def _left(self, address: str) -> None:
        if address not in self._roster:
            return
        worker = self._roster.name(address)
        member = self._roster.leave(address)
        for job in [job for job in self._jobs.values() if address == (job.address or job.doer)]:
            if job.number == member.job:
                self._lost(job, worker)
            elif job.future is None and job.kind in ADMISSION:
                self._drop(job)
            elif job.future is None:
                job.address = None
        if member.state == "met":
            self._stillborn += 1
            if self._stillborn >= STILLBORN and not self.slots:
                raise StudyError(
                    f"{self._stillborn} workers died one after the other before they were ready, {worker} last: is "
                    "there enough memory? Try fewer of them"
                )

    def _lost(self, job: Job, worker: str) -> None:
        """Handle the death of the worker that had a job."""
        assert job.future is not None
        job.future.cancel()
        job.future = None
        if job.kind in ADMISSION:  # the worker that replaces it is greeted itself
            del self._jobs[job.number]
        elif job.attempts < ATTEMPTS:
            logger.warning("worker %s died%s; what it did is begun again", worker, job.last_word)
            job.address = None
            self._waiting.appendleft(job)
        else:
            error = EvaluationError(
                f"the worker that evaluated it died, in each of {ATTEMPTS} attempts, {worker} last{job.last_word}: "
                "killed, as the system does where memory runs out (`dmesg` tells)? Try fewer workers on a host "
                "(--jobs), or look at the worker's log"
            )
            self._finish(job, Outcome(None, error, 0.0, worker))

    def _progressed(self, number: int, attempt: int, memory: int, stage: str, fraction: float) -> None:
        job = self._jobs.get(number)
        if job is not None and job.future is not None and job.attempts == attempt:
            job.last_word = f"; last heard of at {stage!r}, with {memory / 2**20:.0f} MiB in use"
            job.on_stage(stage, fraction)

    def _done(self, number: int, attempt: int, outcome: Outcome | None, error: Exception | None) -> None:
        job = self._jobs.get(number)
        if job is None or job.future is None or job.attempts != attempt:
            return  # dropped or started again in the meantime
        if outcome is None and error is None:
            if not self._is_connected():
                return  # the next step raises
            error = StudyError(f"the Dask scheduler at {self._address} dropped what it had been given: run again")
        if isinstance(error, KilledWorker):  # the scheduler allows no failures; its removal event comes later
            self._left(job.doer)
            return
        self._roster[job.doer].job = job.future = None
        if outcome is not None and outcome.leaves:
            self._roster[job.doer].state = "refused"
        self._finish(job, outcome or Outcome(None, error, 0.0, self._roster.name(job.doer)))

    def _finish(self, job: Job, outcome: Outcome) -> None:
        del self._jobs[job.number]
        job.outcome = outcome
        if job.kind == "greet":
            self._greeted(job.doer, outcome)
        elif job.kind == "introduce":
            self._introduced(job.doer, outcome)
        elif isinstance(job.about, Task):
            number, attempts = job.about.number, job.attempts
            self._answers.append(
                Answer(number, outcome.value, outcome.error, outcome.seconds, outcome.worker, attempts)
            )

    def _result_of(self, job: Job) -> Any:
        while job.outcome is None:
            self._step()
        if job.outcome.error is not None:
            raise job.outcome.error
        return job.outcome.value

    def _add(
        self, kind: Kind, on_stage: OnStage, about: Task | OperatingPoint | None = None, address: str | None = None
    ) -> Job:
        job = Job(next(self._numbers), kind, on_stage, about, address)
        self._jobs[job.number] = job
        self._waiting.append(job)
        self._assign()
        return job

    def _assign(self) -> None:
        """Give waiting jobs to free workers."""
        for job in list(self._waiting):
            if (address := self._free_for(job)) is not None:
                self._waiting.remove(job)
                self._give(job, address)

    def _free_for(self, job: Job) -> str | None:
        if job.address is None:
            return next(iter(self._roster.free()), None)
        # cores are divided among the workers that are present, so all are greeted before the first is introduced
        early = job.kind == "introduce" and self._opening and not self._roster.greeted
        return None if early or self._roster[job.address].job is not None else job.address

    def _give(self, job: Job, address: str) -> None:
        job.attempts += 1
        job.doer = address
        self._roster[address].job = job.number
        threads = self._roster.threads(address)
        order = Order(self._id, job.number, job.attempts, job.kind, self._build, threads, job.about)
        job.future = self._send(order, address)
        job.future.add_done_callback(functools.partial(self._on_done, job.number, job.attempts))

    def _send(self, order: Order, address: str) -> Future:
        return self._client.submit(
            worker_process.execute, order, key=order.key, workers=[address], allow_other_workers=False, pure=False
        )

    def _drop(self, job: Job) -> None:
        del self._jobs[job.number]
        if job.future is None:
            self._waiting.remove(job)
        else:
            job.future.cancel()
            self._roster[job.doer].job = job.future = None

    def _dismiss(self) -> None:
        """Have every worker close its evaluator as soon as it is free."""
        for number, address in enumerate(self._roster.addresses()):
            fire_and_forget(self._send(Order(self._id, -1, number, "close", self._build), address))


def _unheard(stage: str, fraction: float) -> None:
    """Ignore the progress of a job that nobody watches."""
