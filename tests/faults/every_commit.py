"""Death of a driver just before each write to its database: `python -m tests.faults.every_commit [--step 1]`.

A study with fixed points, twins, budgets and a choice for Table 2 is run in a process of its own, which ends, as by
`kill -9`, when the database is about to commit for the n-th time: for n = 1, 2, … until a run comes through. So every
state that the database can be left in is met, and none is left to chance. Each is then resumed and looked at.
"""

import argparse
import multiprocessing
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.default import DefaultDialect

from explorer.search import driver
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from explorer.workers.protocol import Task
from objectives.errors import StudyError
from objectives.operating_point import OperatingPoint
from studies.search_space import recall
from tests.explorer.search.test_loop import Pile
from tests.support.analytic_evaluator import small_study

SLOTS = 3
KILLED = 9
WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")
# C = 1 s is the baseline again, asked while that one runs
FIXED = {"chunk_length": [1.0, 0.5], "variants": ["Linear-40", "Hidden-20"], "precisions": ["fp16"]}
DEFINITION = small_study(trials=4, fixed=FIXED, limits={"latency": 1.25}, racing={"enabled": False})
ORIGINS = {fixed.origin for fixed in DEFINITION.fixed_points_for("Linear-40")}


class Recording(Pile):
    """Workers that write down what they measured."""

    def __init__(self) -> None:
        super().__init__(SLOTS)
        self.points: list[OperatingPoint] = []

    def submit(self, task: Task) -> None:
        self.points.append(task.point)
        super().submit(task)


def run(url: str) -> list[OperatingPoint]:
    """Run the study to its end. Returns the points that were measured."""
    workers = Recording()
    driver.run_study("study", DEFINITION, workers, url)
    return workers.points


def run_until(url: str, commit: int) -> None:
    """Run the study in this process, and end it when its database is about to commit for the n-th time."""
    written: set[Any] = set()
    seen, commit_now = 0, DefaultDialect.do_commit

    def note(connection: Connection, cursor: Any, statement: str, *_: object) -> None:
        if statement.lstrip().upper().startswith(WRITES):
            written.add(cursor.connection)

    def die_or_commit(dialect: DefaultDialect, connection: Any) -> None:
        nonlocal seen
        if connection.driver_connection in written:
            written.discard(connection.driver_connection)
            seen += 1
            if seen == commit:
                os._exit(KILLED)  # nothing is tidied up, and no lock let go of
        commit_now(dialect, connection)

    event.listen(Engine, "before_cursor_execute", note)
    DefaultDialect.do_commit = die_or_commit
    run(url)
    os._exit(0)


def died_and_mended(folder: Path, commit: int) -> bool:
    """Let a driver die before its n-th commit, resume, and see that all is well. Returns False where it ended before.

    Raises AssertionError where anything was lost, paid twice or left behind.
    """
    url = f"sqlite:///{folder}/{commit}.db"
    process = multiprocessing.get_context("fork").Process(target=run_until, args=(url, commit))
    process.start()
    process.join()
    assert process.exitcode in (0, KILLED), f"commit {commit}: the run ended with {process.exitcode}"
    before = stored(url)
    known = {recall(trial, DEFINITION.space) for trial in before if trial.state is TrialState.COMPLETE}
    paid = run(url)
    check(commit, before, stored(url), twice=known & set(paid))
    return process.exitcode == KILLED


def check(commit: int, before: list[FrozenTrial], after: list[FrozenTrial], twice: set[Any]) -> None:
    """See that nothing was lost, told twice, paid twice or left running."""
    at = f"commit {commit}"
    finished = [trial for trial in before if trial.state.is_finished()]
    assert finished == [after[trial.number] for trial in finished], f"{at}: a finished trial changed"
    assert not twice, f"{at}: measured again: {twice}"
    assert all(trial.state.is_finished() for trial in after), f"{at}: a trial was left behind"
    origins = Counter(record.origin_of(trial) for trial in after if trial.state is TrialState.COMPLETE)
    assert {name: number for name, number in origins.items() if name != "search"} == dict.fromkeys(ORIGINS, 1), at
    assert sum(record.origin_of(trial) == "search" for trial in after) == DEFINITION.trials, at
    failed = [trial for trial in after if trial.state is TrialState.FAIL]
    assert len(failed) <= 2 * SLOTS, f"{at}: {len(failed)} trials failed"
    assert all(record.ERROR in trial.user_attrs for trial in failed), f"{at}: failed without a reason"
    lost = [trial.number for trial in failed if record.RECORDINGS in trial.user_attrs]
    assert not lost, f"{at}: trials {lost} failed, whose measurement is in the database"
    for trial in after:
        if trial.state is TrialState.COMPLETE:
            assert {"latency", "der", "rtf"} & {*trial.constraints} == {"latency"}, f"{at}: half of its constraints"
            assert {"der", "size_bytes", "seconds", "origin"} <= {*trial.user_attrs}, f"{at}: half of its attributes"
    measured = Counter(recall(trial, DEFINITION.space) for trial in after if record.is_measured(trial))
    assert set(measured.values()) == {1}, f"{at}: a point was measured twice"


def stored(url: str) -> list[FrozenTrial]:
    """The trials of the study as its database has them; none before it is there."""
    try:
        return load_study("study", url).trials
    except StudyError:
        return []


def main() -> None:
    """Print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=1, help="every which commit")
    step = parser.parse_args().step
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    commit, deaths = 1, 0
    with tempfile.TemporaryDirectory() as folder:
        while died_and_mended(Path(folder), commit):
            deaths += 1
            commit += step
    print(
        f"{deaths} deaths, before every {step}. of about {commit - 1} commits: all mended, nothing lost or paid twice"
    )


if __name__ == "__main__":
    main()
