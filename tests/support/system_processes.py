"""What the operating system says of processes that tests start."""

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

TICKS = os.sysconf("SC_CLK_TCK")
BUSY = 0.1  # a thread that did more than this share of its process's work took part in it


def pids_of_spawned() -> set[int]:
    """Processes that this one started afresh, as against forked, and that run."""
    children = multiprocessing.active_children()
    return {child.pid for child in children if isinstance(child, SpawnProcess) and child.pid is not None}


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return _fields(Path(f"/proc/{pid}/stat"))[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def thread_seconds(pid: int) -> dict[str, float]:
    """Processor time so far of each thread of a process."""
    return {task.name: _cpu_seconds(task / "stat") for task in Path(f"/proc/{pid}/task").iterdir()}


def busy_threads(before: Mapping[str, float], after: Mapping[str, float]) -> int:
    """Number of threads that did more than a tenth of a process's work between two readings of `thread_seconds`."""
    spent = [seconds - before.get(thread, 0.0) for thread, seconds in after.items()]
    return sum(seconds > BUSY * sum(spent) for seconds in spent)


def wait_until(happened: Callable[[], bool], patience: float = 60.0) -> None:
    """Return once it has happened; fail where it has not in so many seconds."""
    deadline = time.monotonic() + patience
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen in {patience:g} s")
        time.sleep(0.05)


def _cpu_seconds(stat: Path) -> float:
    fields = _fields(stat)
    return (int(fields[11]) + int(fields[12])) / TICKS  # user and system


def _fields(stat: Path) -> list[str]:
    """From the state on; the name before it may hold blanks."""
    return stat.read_text().rpartition(")")[2].split()
