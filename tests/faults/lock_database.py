"""Another program that keeps the database of a running study locked: `python -m tests.faults.lock_database`.

The study runs by a formula in this process. From its third measurement on, another process holds SQLite's one writer's
lock for so long. Printed: how long the run took, and what became of its trials.
"""

import argparse
import multiprocessing
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from objectives.operating_point import OperatingPoint
from tests.faults.readings import read
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study

FORK = multiprocessing.get_context("fork")
PATIENCE = 30.0


@dataclass(frozen=True)
class Locked:
    """seconds: of the run, of which the database was locked `held`. states: trials by state."""

    seconds: float
    held: float
    states: dict[str, int]
    measured_again: int


def run_locked(folder: Path, seconds: float) -> Locked:
    """Run a small study whose database is locked meanwhile."""
    file = folder / "studies.db"
    evaluator, holds = AnalyticEvaluator(), FORK.Event()
    process = FORK.Process(target=_hold, args=(file, seconds, holds), daemon=True)

    def before(point: OperatingPoint) -> None:
        if len(evaluator.calls) == 2:
            process.start()
            assert holds.wait(PATIENCE)

    evaluator.before = before
    began = time.monotonic()
    run_study("study", small_study(trials=3), evaluator, f"sqlite:///{file}")
    took = time.monotonic() - began
    process.join(PATIENCE)
    assert process.exitcode == 0, f"the one who locked it ended with {process.exitcode}"
    again = len(evaluator.calls) - len(set(evaluator.calls))
    return Locked(took, seconds, dict(Counter(read(file, "study").states.values())), again)


def _hold(file: Path, seconds: float, holds: Event) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        holds.set()
        time.sleep(seconds)
        connection.execute("COMMIT")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        told = run_locked(Path(name), given.seconds)
    print(f"locked for {told.held:g} s; the run took {told.seconds:.1f} s; trials: {told.states}")
    sys.exit(0 if set(told.states) <= {"COMPLETE", "PRUNED"} and not told.measured_again else 1)
