"""Kill the worker processes of `--jobs 2`, and those that take time for them, at random moments."""

import random
import time
from contextlib import suppress
from pathlib import Path

import psutil

from explorer.clusters import local_workers
from explorer.workers import EvaluatorSettings, Task
from objectives import machine
from objectives.errors import EvaluationError, StudyError
from objectives.operating_point import OperatingPoint
from tests.faults.killing import Tally
from tests.objectives.processes import is_alive

JOBS = 2
CALM, LONGEST = 1.0, 8.0  # seconds between two kills
ENDING = 60.0  # seconds for a process whose parent is gone; it may still be loading its libraries


def kill_workers(kills: int, corpus: Path, seed: int) -> Tally:
    """Evaluate real trials on two workers, and kill one process of theirs after the other until so many are dead.

    Every trial must be answered, the machine be free afterwards, and no process be left.
    """
    moments, tally = random.Random(seed), Tally("worker")
    settings, number = EvaluatorSettings(corpus=str(corpus), repeats=1), 0
    while tally.kills < kills:
        before = children()
        try:
            with local_workers(JOBS, settings, lambda *word: None) as workers:
                waiting: set[int] = set()
                last = time.monotonic() + moments.uniform(CALM, LONGEST)
                while tally.kills < kills or waiting:
                    while tally.kills < kills and len(waiting) < JOBS:
                        point = OperatingPoint(moments.choice([0.5, 1.0, 2.0]), moments.choice([0.0, 0.5]))
                        workers.submit(Task(number, point))
                        waiting.add(number)
                        number += 1
                    if tally.kills < kills and time.monotonic() >= last:
                        tally.add(True, {f"killed {kill_one(moments, before)}": 1}, [])
                        last = time.monotonic() + moments.uniform(CALM, LONGEST)
                    workers._step()
                    while workers._answers:
                        answer = workers._answers.popleft()
                        waiting.discard(answer.number)
                        fine = answer.error is None or isinstance(answer.error, EvaluationError)
                        wrong = [] if fine else [f"trial {answer.number}: {answer.error!r}"]
                        tally.add(False, {told(answer.error, answer.attempts): 1}, wrong)
        except StudyError as error:  # three in a row that were killed before they were ready
            tally.outcomes[f"stopped: {str(error)[:60]}"] += 1
        with machine.quiet():  # free again, or this never ends
            pass
        left = children() - before
        tally.wrong += [f"process {pid} is left" for pid in left if not ends(pid)]
    return tally


def told(error: Exception | None, attempts: int) -> str:
    """What became of a trial."""
    if error is None:
        return "measured" if attempts == 1 else "measured in the second attempt"
    return "failed: the timing process died" if "timing process" in str(error) else "failed: its worker died twice"


def ends(pid: int) -> bool:
    """Whether a process ends by itself soon."""
    deadline = time.monotonic() + ENDING
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not is_alive(pid)


def children() -> set[int]:
    """All processes that come from this one."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def kill_one(moments: random.Random, before: set[int]) -> str:
    """Kill a worker or a timing process; which."""
    kinds: dict[str, list[psutil.Process]] = {"a worker": [], "a timing process": []}
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.pid in before or "resource_tracker" in " ".join(child.cmdline()):
                continue
            mine = child.ppid() == psutil.Process().pid
            kinds["a worker" if mine else "a timing process"].append(child)
    known = {kind: found for kind, found in kinds.items() if found}
    if not known:
        return "nobody, for nobody was there"
    kind = "a timing process" if "a timing process" in known and moments.random() < 0.4 else next(iter(known))
    with suppress(psutil.NoSuchProcess):
        moments.choice(known[kind]).kill()
    return kind
