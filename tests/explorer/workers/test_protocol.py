"""Workers in real processes: what they answer, and what becomes of trials whose worker, or scheduler, dies."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from distributed import Client

from explorer.workers import dask_cluster
from explorer.workers.dask_cluster import cluster_workers, local_workers
from explorer.workers.dask_workers import DaskWorkers
from explorer.workers.in_process import InProcess
from explorer.workers.protocol import Answer, Task, Workers
from objectives.errors import CorpusError, EvaluationError, StudyError
from objectives.operating_point import OperatingPoint
from tests.support.remote_evaluators import (  # fmt: skip
    BREAKS,
    CANNOT_TRAVEL,
    CORPUS,
    FAILS,
    KILLS,
    KILLS_ONCE,
    MEASURED,
    WAITS,
    StandIn,
    notes,
    wait_for,
)

ROOT = Path(__file__).resolve().parents[3]


class Cluster:
    """A Dask scheduler and workers, started by their command lines on the loopback address."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("dask_scheduler", "--port", "0", "--host", "127.0.0.1", **environment)
        try:
            wait_for(lambda: self._listening() is not None)
        except BaseException:  # Ctrl-C too: no scheduler may outlive the tests; it goes on
            self.end()
            raise
        self.address = f"tcp://127.0.0.1:{self._listening()}"

    def _listening(self) -> int | None:
        """Port of the scheduler, as it writes in the log."""
        found = re.search(r"Scheduler at: +tcp://127.0.0.1:(\d+)\n", (self._folder / "log").read_text())
        return int(found[1]) if found else None

    def worker(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        options = ("--host", "127.0.0.1", "--no-dashboard", "--nthreads", "1", *options)
        return self._start("dask_worker", self.address, *options, **environment)

    def _start(self, program: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *options],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in reversed(self._processes):
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, which Dask's nannies start again when they die."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.worker()
    made.worker()
    yield made
    made.end()


Told = list[tuple[int, str, float]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def workers(cluster: Cluster, tmp_path: Path, told: Told) -> Iterator[DaskWorkers]:
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2)  # one may just be started again, after the test before
    with cluster_workers(cluster.address, StandIn(tmp_path), lambda *word: told.append(word)) as opened:
        yield opened


def task(number: int, what: float, judge: object = None) -> Task:
    return Task(number, OperatingPoint(chunk_length=what), judge)


def answers(workers: Workers, count: int) -> dict[int, Answer]:
    """So many answers, by number of the trial."""
    found: dict[int, Answer] = {}
    while len(found) < count:
        answer = workers.wait()
        if answer is not None:
            assert answer.number not in found
            found[answer.number] = answer
    return found


def test_trials_are_answered_and_tell_how_far_they_are(workers: DaskWorkers, tmp_path: Path, told: Told) -> None:
    for number in range(6):
        workers.submit(task(number, MEASURED, judge=("rivals", number)))
    found = answers(workers, 6)
    assert {number: answer.measurement for number, answer in found.items()} == {
        number: ("measured", OperatingPoint(), ("rivals", number)) for number in range(6)
    }
    assert {(answer.error, answer.attempts) for answer in found.values()} == {(None, 1)}
    assert sorted(told) == [(number, "accuracy", 0.5) for number in range(6)]
    assert workers.identity == {"corpus": "one", "machine cores": "2"}
    assert workers.remarks == ("a remark",)  # once, not once a worker
    # an evaluator a process, on its share of the cores
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    built = dict(line.split() for line in notes(tmp_path, "built"))
    assert sorted(built) == sorted({answer.worker.split(":")[1] for answer in found.values()})
    assert len(notes(tmp_path, "built")) == 2
    assert set(built.values()) == {str(share)}


def test_errors_come_back_as_they_are_and_bugs_with_their_traceback(workers: DaskWorkers) -> None:
    for number, what in enumerate((FAILS, BREAKS, CANNOT_TRAVEL)):
        workers.submit(task(number, what))
    failed, broken, crooked = (answer.error for _, answer in sorted(answers(workers, 3).items()))
    assert isinstance(failed, EvaluationError)
    assert str(failed) == "no answer: a fault made for a test"
    assert isinstance(broken, KeyError)
    assert broken.args == ("a bug",)
    assert 'raise KeyError("a bug")' in broken.__notes__[0]
    assert isinstance(crooked, RuntimeError)
    assert str(crooked) == "Crooked: one two"


def test_a_trial_whose_worker_is_killed_goes_to_another_once(workers: DaskWorkers, tmp_path: Path) -> None:
    for number in range(2):
        workers.submit(task(number, WAITS))
    workers.submit(task(2, MEASURED))
    workers._assign()
    wait_for(lambda: len(notes(tmp_path, "started")) == 2)
    victim = int(notes(tmp_path, "started")[0].split()[0])
    os.kill(victim, signal.SIGKILL)
    (tmp_path / "go on").touch()
    found = answers(workers, 3)
    assert all(answer.error is None for answer in found.values())
    assert sorted(answer.attempts for answer in found.values()) == [1, 1, 2]
    assert str(victim) not in {answer.worker.split(":")[1] for answer in found.values()}
    assert len(notes(tmp_path, "started")) == 4


def test_a_trial_that_kills_two_workers_fails_and_the_others_go_on(workers: DaskWorkers, tmp_path: Path) -> None:
    for number, what in enumerate((MEASURED, KILLS, MEASURED, KILLS_ONCE, MEASURED)):
        workers.submit(task(number, what))
    found = answers(workers, 5)
    killed = found.pop(1)
    assert isinstance(killed.error, EvaluationError)
    assert "died, in each of 2 attempts" in str(killed.error)
    assert killed.attempts == 2
    assert all(answer.measurement is not None for answer in found.values())
    assert found[3].attempts == 2
    started = [line.split()[1] for line in notes(tmp_path, "started")]
    assert started.count(f"{KILLS:g}") == 2


def test_it_is_one_more_attempt_where_the_scheduler_allows_none_too(tmp_path: Path) -> None:
    strict = Cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    try:
        strict.worker()
        with cluster_workers(strict.address, StandIn(tmp_path), lambda *word: None) as workers:
            for number, what in enumerate((KILLS, KILLS_ONCE)):
                workers.submit(task(number, what))
            found = answers(workers, 2)
    finally:
        strict.end()
    assert isinstance(found[0].error, EvaluationError)
    assert found[1].error is None
    assert [found[number].attempts for number in range(2)] == [2, 2]


DRIVER = """
import sys
from pathlib import Path
from explorer.workers.dask_cluster import cluster_workers
from tests.explorer.workers.test_protocol import WAITS, StandIn, task
workers = cluster_workers(sys.argv[1], StandIn(Path(sys.argv[2])), lambda *word: None)
for number in range(2):
    workers.submit(task(number, WAITS))
workers.wait()
"""


def test_what_a_killed_driver_ordered_ends_too(cluster: Cluster, tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, cluster.address, str(tmp_path)], cwd=ROOT)
    try:
        wait_for(lambda: len(notes(tmp_path, "started")) == 2)
    finally:
        driver.kill()
        driver.wait()
    with cluster_workers(cluster.address, StandIn(tmp_path), lambda *word: None) as workers:
        workers.submit(task(0, MEASURED))
        assert answers(workers, 1)[0].error is None
    assert len(notes(tmp_path, "closed")) >= 1  # the evaluators of the one that was killed


def test_what_is_cancelled_ends_and_its_worker_is_free(workers: DaskWorkers, tmp_path: Path) -> None:
    for number in range(2):
        workers.submit(task(number, WAITS))
    wait_for(lambda: len(notes(tmp_path, "started")) == 2)
    workers.cancel()
    for number in range(2, 4):
        workers.submit(task(number, MEASURED))
    assert sorted(answers(workers, 2)) == [2, 3]


def test_recordings_are_read_once_a_host_and_calib_is_measured_beside_a_trial(
    workers: DaskWorkers, tmp_path: Path
) -> None:
    fractions: list[float] = []
    workers.prepare(fractions.append)
    assert fractions == [0.5, 1.0]
    assert len(notes(tmp_path, "prepared")) == 1
    workers.submit(task(7, WAITS))
    stages: list[tuple[str, float]] = []
    point = OperatingPoint(2.0)
    errors = workers.calibration_errors(point, lambda stage, fraction: stages.append((stage, fraction)))
    assert errors == {"c": point}
    assert stages == [("calib", 0.25)]
    (tmp_path / "go on").touch()
    assert list(answers(workers, 1)) == [7]


@contextmanager
def joining(cluster: Cluster, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more worker, which leaves in the end."""
    process = cluster.worker("--no-nanny", **environment)
    yield process
    process.kill()
    process.wait()


def test_who_joins_is_used_and_all_let_go_in_the_end(workers: DaskWorkers, cluster: Cluster, tmp_path: Path) -> None:
    for number in range(2):
        workers.submit(task(number, WAITS))
    with joining(cluster) as third:
        assert workers.wait() is None  # there is room for more
        assert workers.slots == 3
        workers.submit(task(2, MEASURED))
        answer = workers.wait()
        assert answer is not None
        assert answer.worker.endswith(f":{third.pid}")
    while workers.slots > 2:
        workers._step()
    (tmp_path / "go on").touch()
    assert sorted(answers(workers, 2)) == [0, 1]
    workers.close()
    open_ones = {line.split()[0] for line in notes(tmp_path, "built")} - {str(third.pid)}
    wait_for(lambda: open_ones <= set(notes(tmp_path, "closed")))


def test_workers_that_differ_are_refused(
    workers: DaskWorkers, cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with joining(cluster, **{CORPUS: "another"}) as other:
        while not caplog.messages:
            workers._step()
        (message,) = caplog.messages
        assert f":{other.pid} differs from" in message
        assert "corpus: one → another" in message
        for number in range(3):
            workers.submit(task(number, MEASURED))
        assert not any(answer.worker.endswith(f":{other.pid}") for answer in answers(workers, 3).values())
        with pytest.raises(StudyError, match=r"differs from(.|\n)*corpus: (one → another|another → one)"):
            cluster_workers(cluster.address, StandIn(tmp_path), lambda *word: None)


def test_what_a_worker_cannot_build_is_told_with_its_name(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"worker \S+:\d+: no corpus 'missing' here"):
        cluster_workers(cluster.address, StandIn(tmp_path, corpus="missing"), lambda *word: None)


def test_a_scheduler_that_goes_or_has_no_workers_or_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lonely = Cluster(tmp_path)
    try:
        with pytest.raises(StudyError, match=f"{lonely.address} has had no worker to use for 0.5 s"):
            cluster_workers(lonely.address, StandIn(tmp_path), lambda *word: None, patience=0.5)
        lonely.worker("--no-nanny")
        with cluster_workers(lonely.address, StandIn(tmp_path), lambda *word: None) as workers:
            workers.submit(task(0, WAITS))
            lonely.scheduler.kill()
            with pytest.raises(StudyError, match=f"{lonely.address} is gone"):
                workers.wait()
        monkeypatch.setattr(dask_cluster, "CONNECTING", 0.5)
        with pytest.raises(StudyError, match=f"no Dask scheduler answers at '{lonely.address}'"):
            cluster_workers(lonely.address, StandIn(tmp_path), lambda *word: None)
    finally:
        lonely.end()


def test_workers_of_ones_own_are_reached_from_this_machine_only_and_end_with_it(tmp_path: Path) -> None:
    me = psutil.Process()
    before = set(me.children(recursive=True))
    with local_workers(2, StandIn(tmp_path), lambda *word: None) as workers:
        assert workers.slots == 2
        processes = set(me.children(recursive=True)) - before
        listening = {
            connection.laddr.ip
            for process in (me, *processes)
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        for process in processes:  # Ctrl-C in a terminal reaches them too
            process.send_signal(signal.SIGINT)
        for number, what in enumerate((MEASURED, KILLS_ONCE, MEASURED)):
            workers.submit(task(number, what))
        found = answers(workers, 3)
        assert [found[number].attempts for number in range(3)] == [1, 2, 1]
    evaluated = {int(line.split()[0]) for line in notes(tmp_path, "built")}
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in evaluated))


LATE = """
import sys
import explorer.workers.protocol
print([name for name in ("torch", "dask", "distributed") if name in sys.modules])
import explorer.workers.dask_cluster
print("torch" in sys.modules)
"""


def test_nobody_waits_for_dask_or_torch_before_they_are_needed() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "False"]


def test_in_this_process_trials_are_answered_one_after_the_other(tmp_path: Path, told: Told) -> None:
    with InProcess(StandIn(tmp_path)(None), lambda *word: told.append(word)) as workers:
        for number, what in enumerate((MEASURED, FAILS, BREAKS)):
            workers.submit(task(number, what, judge="judge"))
        found = answers(workers, 3)
        workers.submit(task(3, MEASURED))
        workers.cancel()
        assert workers.slots == 1
        assert workers.identity["corpus"] == "one"
    assert found[0].measurement == ("measured", OperatingPoint(), "judge")
    assert isinstance(found[1].error, EvaluationError)
    assert isinstance(found[2].error, KeyError)
    assert found[0].worker.endswith(f":{os.getpid()}")
    assert told == [(number, "accuracy", 0.5) for number in range(3)]
    assert len(notes(tmp_path, "started")) == 3
    assert len(notes(tmp_path, "closed")) == 1


def test_an_interrupt_in_this_process_is_not_an_answer(tmp_path: Path) -> None:
    def interrupt(*word: object) -> None:
        raise KeyboardInterrupt

    workers = InProcess(StandIn(tmp_path)(None), interrupt)
    workers.submit(task(0, MEASURED))
    with pytest.raises(KeyboardInterrupt):
        workers.wait()
