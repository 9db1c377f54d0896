"""A study's database as it lies on disk, row by row, read from a copy: what a kill left, before anybody mends it."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

FINISHED = frozenset({"COMPLETE", "PRUNED", "FAIL"})
_OF_TRIALS = ("trial_values", "trial_params", "trial_user_attributes", "trial_system_attributes")


@dataclass(frozen=True)
class Reading:
    """rows: trial number → every row that any table holds of it. states: trial number → `COMPLETE`, `RUNNING`, ...

    exists: whether there is such a study at all.
    """

    rows: dict[int, tuple[object, ...]] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    exists: bool = False

    @property
    def finished(self) -> frozenset[int]:
        return frozenset(number for number, state in self.states.items() if state in FINISHED)

    @property
    def running(self) -> frozenset[int]:
        return frozenset(number for number, state in self.states.items() if state == "RUNNING")

    def lost_since(self, before: "Reading") -> list[int]:
        """Trials that were finished before, and are not there any more as they were."""
        return [number for number in sorted(before.finished) if self.rows.get(number) != before.rows[number]]


@contextmanager
def copied(file: Path) -> Iterator[Path]:
    """A copy of a database with what its log holds. Nobody may be writing."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        for suffix in ("", "-wal", "-journal"):
            if (part := file.with_name(file.name + suffix)).exists():
                shutil.copyfile(part, copy.with_name(copy.name + suffix))
        yield copy


def read(file: Path, study: str) -> Reading:
    """What a database holds of a study. Nobody may be writing. Raises where SQLite finds the file damaged."""
    if not file.exists():
        return Reading()
    with copied(file) as copy, closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], f"{file} is damaged"
        return _read(connection, study)


def _read(connection: sqlite3.Connection, study: str) -> Reading:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables.issuperset({"studies", "trials", *_OF_TRIALS}):
        return Reading()
    found = connection.execute("SELECT study_id FROM studies WHERE study_name = ?", (study,)).fetchone()
    if found is None:
        return Reading()
    trials = connection.execute("SELECT * FROM trials WHERE study_id = ? ORDER BY trial_id", found)
    columns = [column[0] for column in trials.description]
    rows: dict[int, tuple[object, ...]] = {}
    states: dict[int, str] = {}
    for row in trials.fetchall():
        told = dict(zip(columns, row, strict=True))
        number = told["number"]
        assert number not in rows, f"two trials have the number {number}"
        parts = [
            tuple(connection.execute(f"SELECT * FROM {table} WHERE trial_id = ? ORDER BY 1", (told["trial_id"],)))
            for table in _OF_TRIALS
        ]
        rows[number], states[number] = (row, *parts), told["state"]
    return Reading(rows, states, exists=True)
