"""The machine-wide lock, between real processes."""

import fcntl
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from objectives import machine

PATIENCE = 30.0  # seconds for what must happen
GLIMPSE = 0.3  # seconds in which what must not happen would
FORK = multiprocessing.get_context("fork")


class Holder:
    """A process that enters `quiet` or `working`, says so, and stays until told to leave."""

    def __init__(self, block: str):
        self._pipe, theirs = FORK.Pipe()
        self.process: ForkProcess = FORK.Process(target=_hold, args=(block, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def is_in(self, patience: float = PATIENCE) -> bool:
        return self._pipe.poll(patience) and self._pipe.recv() == "in"

    def leave(self) -> None:
        self._pipe.send("leave")
        self.process.join(PATIENCE)
        assert self.process.exitcode == 0

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def _hold(block: str, pipe: Connection) -> None:
    with getattr(machine, block)():
        pipe.send("in")
        pipe.recv()


def _work_and_work(seconds: float, stop: float) -> None:
    while time.monotonic() < stop:
        with machine.working():
            time.sleep(seconds)


class Holders:
    def __init__(self) -> None:
        self._all: list[Holder] = []

    def __call__(self, block: str) -> Holder:
        self._all.append(Holder(block))
        return self._all[-1]

    def end(self) -> None:
        for holder in self._all:
            holder.end()


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holders]:
    """Start holders, on locks of this test's own."""
    monkeypatch.setenv(machine.LOCK_VARIABLE, str(tmp_path / "locks"))
    holders = Holders()
    yield holders
    holders.end()


def wait_until_gate_is_taken(folder: Path) -> None:
    """Return once somebody who wants quiet holds the gate."""
    gate = os.open(folder / "explorer-gate.lock", os.O_RDONLY)
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(gate, fcntl.LOCK_UN)
            time.sleep(0.01)
    finally:
        os.close(gate)
    pytest.fail("nobody waits for quiet")


def test_work_is_shared(hold: Holders) -> None:
    first, second = hold("working"), hold("working")
    assert first.is_in()
    assert second.is_in()


def test_quiet_waits_for_work_to_end(hold: Holders) -> None:
    worker = hold("working")
    assert worker.is_in()
    timer = hold("quiet")
    assert not timer.is_in(GLIMPSE)
    worker.leave()
    assert timer.is_in()


def test_nobody_works_or_takes_time_while_it_is_quiet(hold: Holders) -> None:
    timer = hold("quiet")
    assert timer.is_in()
    worker, other = hold("working"), hold("quiet")
    assert not worker.is_in(GLIMPSE)
    assert not other.is_in(GLIMPSE)
    timer.leave()
    # whichever comes first lets the other in
    assert worker.is_in(GLIMPSE) or other.is_in()


def test_who_waits_for_quiet_comes_before_who_begins_to_work_later(hold: Holders, tmp_path: Path) -> None:
    early = hold("working")
    assert early.is_in()
    timer = hold("quiet")
    wait_until_gate_is_taken(tmp_path / "locks")
    late = hold("working")
    assert not late.is_in(GLIMPSE)  # although only a worker is in
    early.leave()
    assert timer.is_in()
    assert not late.is_in(GLIMPSE)
    timer.leave()
    assert late.is_in()


def test_a_stream_of_workers_cannot_keep_quiet_out(hold: Holders) -> None:
    stop = time.monotonic() + PATIENCE
    # of such lengths that hardly ever all of them are between two pieces of work
    workers = [
        FORK.Process(target=_work_and_work, args=(seconds, stop), daemon=True) for seconds in (0.11, 0.13, 0.17, 0.19)
    ]
    for worker in workers:
        worker.start()
    try:
        timer = hold("quiet")
        assert timer.is_in(PATIENCE / 2)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


@pytest.mark.parametrize("block", ["quiet", "working"])
def test_who_is_killed_lets_go(hold: Holders, block: str) -> None:
    holder = hold(block)
    assert holder.is_in()
    waiting = hold("quiet")
    assert not waiting.is_in(GLIMPSE)
    holder.process.kill()
    assert waiting.is_in()


def test_who_is_killed_while_waiting_for_quiet_lets_workers_in(hold: Holders, tmp_path: Path) -> None:
    worker = hold("working")
    assert worker.is_in()
    timer = hold("quiet")
    wait_until_gate_is_taken(tmp_path / "locks")
    timer.process.kill()
    assert hold("working").is_in()


def test_an_error_inside_lets_go(hold: Holders) -> None:
    for block in (machine.quiet, machine.working):
        with pytest.raises(KeyError), block():
            raise KeyError
    assert hold("quiet").is_in()


def test_locks_lie_where_the_variable_says(hold: Holders, tmp_path: Path) -> None:
    with machine.working():
        pass
    assert sorted(path.name for path in (tmp_path / "locks").iterdir()) == [
        "explorer-gate.lock",
        "explorer-machine.lock",
    ]


def test_describe_names_what_decides_speed_and_says_it_twice_alike() -> None:
    told = machine.describe()
    assert told == machine.describe()
    assert sorted(told) == ["cores", "onnxruntime", "processor", "system", "torch"]
    assert all(isinstance(value, str) and value for value in told.values())
    assert told["cores"] == str(len(os.sched_getaffinity(0)))


def test_who_would_wait_for_himself_is_told() -> None:
    with machine.quiet(), pytest.raises(RuntimeError, match="wait for its own end"), machine.working():
        pass
    with machine.working(), pytest.raises(RuntimeError, match="wait for its own end"), machine.quiet():
        pass
    with machine.quiet():  # and nothing is left behind
        pass
