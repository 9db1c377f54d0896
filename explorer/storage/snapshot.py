"""Copy a study storage, to look at it and write notes into the copy. The original is only read, and never blocked."""

import sqlite3
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, NullPool, create_engine, func, inspect, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from explorer.storage import bulk_sql
from explorer.storage.connection import existing_file, shown, to_read
from explorer.storage.errors import PATIENCE, other_version
from explorer.storage.foreign_trials import LeftOut
from explorer.storage.study_record import DEFINITION
from objectives.errors import StudyError

TABLES = [table for table in models.BaseModel.metadata.sorted_tables if table.name != "version_info"]
ROWS = 10_000  # copied at a time
Progress = tuple[tuple[object, ...], ...]


class Source:
    """A study storage that is only read.

    Raises StudyError if it is missing, cannot be read, or is not a study storage.
    """

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        self._file = file = existing_file(url)
        try:  # connections are closed after use, and a transaction sees one moment
            if file is not None:
                self._engine = create_engine("sqlite://", creator=lambda: to_read(file), poolclass=NullPool)
            else:  # SQLite by a URI has no isolation level to choose
                level = {} if url.startswith("sqlite") else {"isolation_level": "REPEATABLE READ"}
                self._engine = create_engine(url, poolclass=NullPool, **level)
        except (ArgumentError, ImportError, TypeError, ValueError) as error:
            raise StudyError(f"{self.name}: cannot be used as a study storage ({error})") from error
        self._copied: tuple[object, Progress] | None = None  # the file's times and sizes, and the progress, when copied
        if self._file is not None:
            with self._reading():
                pass

    def has_changed(self) -> bool:
        """Whether a study or trial was added, deleted, started or ended since the last copy. Raises StudyError.

        An SQLite file that has not been written to is not opened.
        """
        if self._copied is None:
            return True
        stamp, progress = self._copied
        now = self._stamp()
        return (now is None or now != stamp) and self._progress() != progress

    def copy_to(self, target: Path) -> None:
        """Write all studies, as they are at one moment, into a new SQLite file. Raises StudyError."""
        before = self._stamp(), self._progress()  # taken first, so that a change during the copy is noticed next time
        if self._file is None:
            self._copy_rows(target)
        else:
            # the original and its write-ahead log may change meanwhile; SQLite's backup reads both at one moment
            with self._reading(), closing(to_read(self._file)) as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
        self._copied = before

    def _copy_rows(self, target: Path) -> None:
        RDBStorage(f"sqlite:///{target}").engine.dispose()
        engine = create_engine(f"sqlite:///{target}", poolclass=NullPool)
        with self._reading() as source, engine.begin() as copy:
            here, there = (side.scalar(text("SELECT version_num FROM alembic_version")) for side in (copy, source))
            if here != there:
                raise StudyError(
                    f"{self.name}: was made by another version of Optuna (its tables are {there}, here {here}): "
                    "use an explorer that comes with that one"
                )
            for table in TABLES:
                for rows in source.execute(select(table)).mappings().partitions(ROWS):
                    copy.execute(table.insert(), [dict(row) for row in rows])

    def _stamp(self) -> object:
        if self._file is None:
            return None
        files = (self._file, self._file.with_name(f"{self._file.name}-wal"))
        return [(at.st_mtime_ns, at.st_size) for at in (file.stat() for file in files if file.exists())]

    def _progress(self) -> Progress:
        trials, studies = models.TrialModel, models.StudyModel
        counts = select(trials.study_id, trials.state, func.count()).group_by(trials.study_id, trials.state)
        with self._reading() as connection:
            rows = [*connection.execute(counts).all(), *connection.execute(select(studies.study_id)).all()]
        return tuple(tuple(row) for row in rows)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                if not inspect(connection).has_table(models.StudyModel.__tablename__):
                    raise StudyError(f"{self.name}: is not a study storage: run `explorer run STUDY` first")
                yield connection
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StudyError(f"{self.name}: cannot be read ({str(cause).splitlines()[0]})") from error


class SnapshotStorage(RDBStorage):
    """A database that no longer changes, so the trials of each study are read only once.

    source: name of the original, for errors.
    Raises StudyError if the database was made by another version of Optuna.
    """

    def __init__(self, file: Path, source: str) -> None:
        try:
            super().__init__(f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": PATIENCE}})
        except RuntimeError as error:
            raise other_version(source, error) from error
        self.left_out: dict[int, LeftOut] = {}  # by study
        self._known: dict[int, list[FrozenTrial]] = {}

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return trials from memory. Optuna and its cache read all trials through this method."""
        if study_id not in self._known:
            self._known[study_id] = self._read(study_id)
        return [
            trial
            for trial in self._known[study_id]
            if (trial._trial_id > trial_id_greater_than or trial._trial_id in included_trial_ids)
            and (states is None or trial.state in states)
        ]

    def _read(self, study_id: int) -> list[FrozenTrial]:
        if DEFINITION in self.get_study_user_attrs(study_id):
            # bulk_sql does not read intermediate values, which only studies of other programs have
            study = optuna.Study(self.get_study_name_from_id(study_id), self)
            left_out: dict[int, str] = {}
            trials = bulk_sql.read(study, left_out=left_out)
            self.left_out[study_id] = left_out
            return list(trials.values())
        of_others: list[FrozenTrial] = super()._get_trials(study_id, None, set(), -1)
        return of_others
