"""Kill the worker processes of `--jobs 2`, and those that take time for them, at random moments."""

import functools
import json
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from explorer.workers.dask_cluster import local_workers
from explorer.workers.protocol import Answer, Task
from explorer.workers.worker_process import build_on
from objectives import machine
from objectives.errors import EvaluationError, StudyError
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import OperatingPoint
from tests.faults.killing import Tally
from tests.support.system_processes import is_alive

JOBS = 2
LONGEST = 1.5  # between two kills, in the time that the workers took to be there
ENDING = 60.0  # seconds for a process whose parent is gone; it may still be loading its libraries


def kill_workers(kills: int, corpus: Path, seed: int) -> Tally:
    """Evaluate real trials on two workers, and kill one process of theirs after the other until so many are dead.

    Every trial must be answered, the machine be free afterwards, and no process be left.
    """
    tally = Tally("worker")
    while tally.kills < kills:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.faults.killing_workers",
                str(kills - tally.kills),
                str(corpus),
                str(seed + tally.kills),
            ],
            stdout=subprocess.PIPE,
            check=True,
        )
        *_, last = done.stdout.splitlines()
        told = json.loads(last)
        tally.kills += told["kills"]
        tally.finished += told["finished"]
        tally.outcomes.update(told["outcomes"])
        tally.wrong += told["wrong"] + [f"process {pid} is left" for pid in told["processes"] if not ends(pid)]
        with machine.quiet():  # free again, or this never ends
            pass
    return tally


def drive(kills: int, corpus: Path, seed: int) -> tuple[Tally, set[int]]:
    """One run of workers, until so many processes were killed and every trial was answered, or it was stopped. With it
    all processes that it had."""
    moments, tally = random.Random(seed), Tally("worker")
    settings, number = EvaluatorSettings(corpus=str(corpus), repeats=1), 0
    seen: set[int] = set()
    began = time.monotonic()
    try:
        with local_workers(JOBS, functools.partial(build_on, settings), lambda *word: None) as workers:
            longest = LONGEST * (time.monotonic() - began)
            waiting: set[int] = set()
            due = time.monotonic() + moments.uniform(0.0, longest)
            while tally.kills < kills or waiting:
                while tally.kills < kills and len(waiting) < JOBS:
                    point = OperatingPoint(moments.choice([0.5, 1.0, 2.0]), moments.choice([0.0, 0.5]))
                    workers.submit(Task(number, point))
                    waiting.add(number)
                    number += 1
                seen |= {child.pid for child in children()}
                if tally.kills < kills and time.monotonic() >= due and (kind := kill_one(moments)):
                    tally.add(True, {f"killed {kind}": 1}, [])
                    due = time.monotonic() + moments.uniform(0.0, longest)
                workers._step()
                while workers._answers:
                    answer = workers._answers.popleft()
                    waiting.discard(answer.number)
                    fine = answer.error is None or isinstance(answer.error, EvaluationError)
                    tally.add(False, {in_words(answer): 1}, [] if fine else [f"{answer.number}: {answer.error!r}"])
            while workers.slots < JOBS:  # all come back
                workers._step()
            tally.outcomes["all workers back"] += 1
    except StudyError as error:  # too many in a row that were killed before they were ready
        tally.outcomes[f"stopped: {error}"] += 1
    return tally, seen


def in_words(answer: Answer) -> str:
    """What became of a trial."""
    if answer.error is None:
        return "trial measured" if answer.attempts == 1 else "trial measured in the second attempt"
    who = "its timing process" if "timing process" in str(answer.error) else "its worker, twice,"
    return f"trial failed: {who} died"


def children() -> list[psutil.Process]:
    """All processes that come from this one, but for those that only tidy up after others."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
    return found


def kill_one(moments: random.Random) -> str:
    """Kill a worker, in whatever it does, or a timing process; which. Empty where there is neither."""
    kinds: dict[str, list[psutil.Process]] = {"a worker": [], "a timing process": []}
    for child in children():
        with suppress(psutil.NoSuchProcess):
            kinds["a worker" if child.ppid() == psutil.Process().pid else "a timing process"].append(child)
    known = [kind for kind, found in kinds.items() if found]
    if not known:
        return ""
    kind = known[-1] if moments.random() < 0.4 else known[0]
    with suppress(psutil.NoSuchProcess):
        moments.choice(kinds[kind]).kill()
    return kind


def ends(pid: int) -> bool:
    """Whether a process ends by itself soon."""
    deadline = time.monotonic() + ENDING
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not is_alive(pid)


if __name__ == "__main__":
    result, processes = drive(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(vars(result) | {"processes": sorted(processes)}))  # asdict makes pairs the keys of a Counter
