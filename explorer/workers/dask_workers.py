"""Evaluate trials on the worker processes of a Dask cluster, which explorer/workers/dask_cluster.py starts or finds.

Dask runs the orders, retrieves their results and reports who joins and leaves. The assignment is made here, since Dask
has no counterpart of two rules: a worker never has two trials, however many threads it has, and a trial whose worker
died is begun again once, on any worker, whatever the scheduler allows.
"""

import functools
import logging
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from distributed import CancelledError, Client, Future, KilledWorker, LocalCluster, fire_and_forget

from explorer.workers import worker_process
from explorer.workers.protocol import Answer, Build, Evaluator, OnProgress, OnStage, Task
from explorer.workers.roster import Member, Roster
from explorer.workers.worker_process import Greeting
from objectives.errors import DeviceError, EvaluationError, ExplorerError, StudyError
from objectives.measurement import ErrorCounts
from objectives.operating_point import OperatingPoint

ATTEMPTS = 2  # at a trial: a second one if the worker of the first dies
STILLBORN = 3  # workers in a row that die before they are ready, after which the run stops
PATIENCE = 120.0  # seconds to wait without any worker
CLOSING = 15.0  # seconds for processes to end by themselves; one that is being restarted takes longest
POLL = 0.5  # seconds between two checks that the scheduler is still there
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """Something to be done by a worker.

    address: of the only worker that may do it; None for any. trial: its number, if it is one. future: of the latest
    attempt. last_word: the last report of progress, in words. answer: set once the job is done.
    """

    do: Callable[[Evaluator, OnStage], Any]
    on_stage: OnStage = lambda stage, fraction: None
    address: str | None = None
    trial: int | None = None
    attempts: int = 0
    future: Future | None = None
    last_word: str = ""
    answer: Answer | None = None


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
        self._scheduler = client.scheduler_info()
        self._id = f"explorer-{uuid.uuid4().hex}"
        self._patience = patience
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._roster = Roster(expected)
        self._waiting: deque[Job] = deque()  # for a free worker
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
        return len(self._roster.ready())

    def submit(self, task: Task) -> None:
        """See Workers.submit."""
        on_stage = functools.partial(self._on_progress, task.number)
        self._add(Job(functools.partial(worker_process.measure, task), on_stage, trial=task.number))

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
        self._waiting.clear()
        self._answers.clear()
        for member in self._roster.ready().values():
            if member.job is not None:
                member.job.future.cancel()
                member.job = None

    def calibration_errors(self, point: OperatingPoint, on_progress: OnStage) -> Mapping[str, ErrorCounts]:
        """See Workers.calibration_errors. Running trials continue in the meantime."""
        (errors,) = self._results(Job(functools.partial(worker_process.calibrate, point), on_progress))
        return errors

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """See Workers.prepare."""
        one_a_host = self._roster.one_a_host()
        done = dict.fromkeys(one_a_host, 0.0)

        def report(host: str, _: str, fraction: float) -> None:
            done[host] = fraction
            on_progress(min(done.values()))

        self._results(
            *(Job(worker_process.prepare, functools.partial(report, host), one) for host, one in one_a_host.items())
        )
        on_progress(1.0)

    def close(self) -> None:
        """Drop what runs, have workers close their evaluators, and end the cluster if it was started here."""
        with ExitStack() as stack:
            stack.enter_context(suppress(TimeoutError))  # remaining processes end with this one
            if self._cluster is not None:
                stack.callback(self._cluster.close, timeout=CLOSING)
            stack.callback(self._client.close, timeout=CLOSING)
            if self._client.status == "running":
                self._client.unsubscribe_topic("all")
                self.cancel()
                for address in self._roster:
                    fire_and_forget(self._send(address, worker_process.close))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Dask calls these in its own threads. They only put events into the queue.

    def _on_cluster_event(self, event: tuple[float, Any]) -> None:
        match event[1]:
            case {"action": "add-worker", "worker": address}:
                self._events.put(functools.partial(self._joined, [address]))
            case {"action": "remove-worker", "worker": address}:
                self._events.put(functools.partial(self._left, address))

    def _on_worker_event(self, event: tuple[float, Any]) -> None:
        self._events.put(functools.partial(self._progressed, *event[1]))

    def _on_done(self, job: Job, future: Future) -> None:
        try:
            answer = future.result()
        except Exception as error:  # noqa: BLE001 — of Dask; _done reports it, whatever it is
            answer = Answer(-1, None, error, 0.0, "")
        self._events.put(functools.partial(self._done, job, future, answer))

    # Everything below runs in the driver's thread, while it waits.

    def _open(self, expected: int) -> None:
        self._client.subscribe_topic("all", self._on_cluster_event)
        self._client.subscribe_topic(self._id, self._on_worker_event)
        # greeted together, since the cores of a host are divided among the workers that are there
        self._joined(list(self._client.scheduler_info()["workers"]))
        while self.slots < expected or any(member.state == "met" for member in self._roster.values()):
            self._step()
        assert self._roster.first is not None
        _, found = self._roster.first
        self.identity, self.versions, self.remarks = found.identity, found.versions, found.remarks
        self._opening = False

    def _step(self) -> None:
        """Handle the next event, or time out if there is none; then assign jobs and check the cluster."""
        self._refuse_lost_scheduler()
        with suppress(queue.Empty):
            self._events.get(timeout=POLL)()
        self._assign()
        now = time.monotonic()
        if any(member.state != "refused" for member in self._roster.values()):
            self._hopeful = now
        elif now - self._hopeful >= self._patience:
            address = self._scheduler["address"]
            raise StudyError(
                f"the Dask scheduler at {address} has had no worker to use for {self._patience:g} s: start some with "
                f"`dask worker {address}`, then run the same command"
            )

    def _refuse_lost_scheduler(self) -> None:
        if self._client.status != "running":
            raise StudyError(
                f"the Dask scheduler at {self._scheduler['address']} is gone: start it and its workers again, then run "
                "the same command; every finished trial is kept"
            )

    def _joined(self, addresses: list[str]) -> None:
        new = {address: Member() for address in addresses if address not in self._roster}
        self._roster.update(new)
        greetings = self._client.run(worker_process.greet, workers=list(new), on_error="return") if new else {}
        for address, greeting in greetings.items():
            if isinstance(greeting, Greeting):
                self._roster.greet(address, greeting)
            elif not isinstance(greeting, OSError):  # that of one that died at once; its removal is an event too
                error = StudyError(
                    f"the worker at {address} cannot run explorer ({type(greeting).__name__}: {greeting}): install the "
                    "same versions for the scheduler, its workers and this command"
                )
                self._refuse(address, error)
        for address, member in new.items():
            if member.greeting is not None:
                self._give(Job(worker_process.introduce), address)

    def _introduced(self, address: str, answer: Answer) -> None:
        error = answer.error
        if error is None:
            self._stillborn = 0
            try:
                self._roster.introduce(address, answer.measurement)
            except StudyError as differs:
                error = differs
        elif isinstance(error, ExplorerError):
            error = type(error)(f"worker {self._roster.name(address)}: {error}")
        if error is not None:
            self._refuse(address, error)

    def _refuse(self, address: str, error: BaseException) -> None:
        self._roster[address].state = "refused"
        if self._opening:
            raise error
        logger.warning("a worker that joined is not used: %s", error)

    def _left(self, address: str) -> None:
        worker = self._roster.name(address)
        member = self._roster.pop(address, None)
        if member is None:
            return
        for job in self._waiting:
            job.address = None if job.address == address else job.address
        if member.job is not None:
            member.job.future.cancel()
        if member.state == "met":
            self._stillborn += 1
            if self._stillborn >= STILLBORN and not self.slots:
                raise StudyError(
                    f"{self._stillborn} workers died one after the other before they were ready, {worker} last: is "
                    "there enough memory? Try fewer of them"
                )
        elif member.job is not None:
            self._lost(member.job, worker)

    def _lost(self, job: Job, worker: str) -> None:
        """Handle the death of the worker that had a job."""
        if job.attempts < ATTEMPTS:
            logger.warning("worker %s died%s; what it did is begun again", worker, job.last_word)
            job.address = None
            self._waiting.appendleft(job)
            return
        error = EvaluationError(
            f"the worker that evaluated it died, in each of {ATTEMPTS} attempts, {worker} last{job.last_word}: killed, "
            "as the system does if memory runs out (see `dmesg`)? Try fewer workers on a host (--jobs), or look "
            "at the worker's log"
        )
        self._finish(job, Answer(-1, None, error, 0.0, worker))

    def _progressed(self, key: str, stage: str, fraction: float, memory: int) -> None:
        for member in self._roster.values():
            if (job := member.job) is not None and job.future.key == key:
                job.last_word = f"; last heard of at {stage!r}, with {memory / 2**20:.0f} MiB in use"
                job.on_stage(stage, fraction)

    def _done(self, job: Job, future: Future, answer: Answer) -> None:
        address = next((address for address, member in self._roster.items() if member.job is job), None)
        if address is None or job.future is not future:
            return  # dropped or begun again in the meantime
        member, error = self._roster[address], answer.error
        if isinstance(error, KilledWorker):  # the scheduler allows no failures; its removal event comes later
            self._left(address)
            return
        if isinstance(error, CancelledError):
            self._refuse_lost_scheduler()
            raise StudyError(
                f"the Dask scheduler at {self._scheduler['address']} dropped what it had been given: run again"
            )
        member.job = None
        if isinstance(error, DeviceError):  # a new process may get the GPU again: this trial fails, the study goes on
            answer = replace(answer, error=EvaluationError(str(error)))
            self._replace_process(address)
        if job.do is worker_process.introduce:
            self._introduced(address, answer)
        self._finish(job, answer)

    def _replace_process(self, address: str) -> None:
        """End a worker. If it has a nanny, that starts another in its place."""
        self._roster[address].state = "refused"
        try:
            self._client.restart_workers([address], raise_for_error=False)
        except ValueError:  # no nanny
            self._client.retire_workers([address])

    def _finish(self, job: Job, answer: Answer) -> None:
        job.answer = answer
        if job.trial is not None:
            self._answers.append(replace(answer, number=job.trial, attempts=job.attempts))

    def _results(self, *jobs: Job) -> list[Any]:
        """Have jobs done, and return their values. Raises the first error."""
        values = []
        for job in jobs:
            self._add(job)
        for job in jobs:
            while job.answer is None:
                self._step()
            if job.answer.error is not None:
                raise job.answer.error
            values.append(job.answer.measurement)
        return values

    def _add(self, job: Job) -> None:
        self._waiting.append(job)
        self._assign()

    def _assign(self) -> None:
        """Give waiting jobs to free workers."""
        for job in list(self._waiting):
            free = (address for address, member in self._roster.ready().items() if member.job is None)
            address = next((one for one in free if job.address in (None, one)), None)
            if address is not None:
                self._waiting.remove(job)
                self._give(job, address)

    def _give(self, job: Job, address: str) -> None:
        job.attempts += 1
        self._roster[address].job = job
        threads = self._roster.threads(address)
        job.future = self._send(address, worker_process.execute, self._id, self._build, threads, job.do)
        job.future.add_done_callback(functools.partial(self._on_done, job))

    def _send(self, address: str, function: Callable[..., Any], *arguments: Any) -> Future:
        return self._client.submit(function, *arguments, workers=[address], allow_other_workers=False, pure=False)
