"""Open study storages at any Optuna RDB URL, with errors that a user can act on."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import NullPool, StaticPool, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from explorer.storage.errors import PATIENCE, other_version, refusal
from explorer.storage.urls import DEFAULT_URL, parse, sqlite_file, without_password
from objectives.errors import StudyError, reason_of

UNSHARED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)  # SQLite's error codes without shared memory


def check(url: str) -> None:
    """Raise StudyError if a database cannot be used. Creates nothing: no file, and no table on a server."""
    parsed = parse(url)
    file = sqlite_file(parsed)
    with _as_study_errors(url):
        engine = create_engine(parsed, poolclass=NullPool)
        if parsed.get_backend_name() != "sqlite":
            engine.connect().close()
    if file is None:
        return
    _check_folder(url, file)
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise StudyError(f"{shown(url)}: may not be written: permit that, or give another --storage")
    if not _is_missing(file):
        with _as_study_errors(url), closing(to_read(file)):
            pass


def open_storage(url: str, must_exist: bool = False) -> RDBStorage:
    """Open a database, and create its tables if they are missing.

    must_exist: refuse an SQLite file that is missing or belongs to another program, so that a reader neither leaves an
    empty database behind nor adds tables to one. A read-only file is opened for reading.
    Raises StudyError if the URL or the database cannot be used.
    """
    parsed = parse(url)
    file = sqlite_file(parsed)
    if must_exist:
        existing_file(url)
    if file is not None:
        _check_folder(url, file)
    with _as_study_errors(url):
        if must_exist and file is not None:
            with closing(to_read(file)) as connection:
                shared = connection.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0]
                tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            if ("studies",) not in tables:
                raise StudyError(
                    f"{shown(url)} is not a study storage: check its name, or run `explorer run STUDY` first"
                )
            if not shared:  # `to_read` reads a copy in memory
                return RDBStorage(
                    "sqlite://", engine_kwargs={"creator": lambda: to_read(file), "poolclass": StaticPool}
                )
        return _connect(parsed, file)


@contextmanager
def _as_study_errors(url: str) -> Iterator[None]:
    """Turn whatever a database and its driver raise inside the block into a StudyError with the URL and a remedy."""
    try:
        yield
    except RuntimeError as error:
        raise other_version(shown(url), error) from error
    except (
        SQLAlchemyError, sqlite3.Error, OSError, ImportError, TypeError, ValueError, AttributeError,
        optuna.exceptions.StorageInternalError,
    ) as error:  # fmt: skip
        file = sqlite_file(parse(url))
        if file is not None and isinstance(
            error, SQLAlchemyError | sqlite3.Error | optuna.exceptions.StorageInternalError
        ):
            raise refusal(shown(url), error) from error
        reason = reason_of(str(error.__cause__ or error).splitlines()[0])
        remedy = f"give another --storage, such as {DEFAULT_URL}"
        if isinstance(error, ImportError) and parse(url).get_backend_name() == "postgresql":
            remedy = 'install its driver with `pip install "explorer[postgres]"`'
        raise StudyError(f"{shown(url)}: cannot be used as a study storage ({reason}): {remedy}") from error


def _check_folder(url: str, file: Path) -> None:
    if not file.parent.is_dir():
        raise StudyError(f"{shown(url)}: the folder {file.parent} does not exist: create it, or give another --storage")


def existing_file(url: str) -> Path | None:
    """Return the SQLite file of a URL; None for another kind of database. Raises StudyError if the file is missing."""
    file = sqlite_file(parse(url))
    if file is not None and _is_missing(file):
        raise StudyError(f"there is no study storage at {file}: run `explorer run STUDY` first, or give --storage")
    return file


def shown(url: str) -> str:
    """Return a database URL without its password, for messages. Raises StudyError if it is not a database URL."""
    parse(url)
    return without_password(url)


def load_study(name: str, url: str) -> optuna.Study:
    """Load a study. Raises StudyError with the names of all studies if there is none of that name."""
    storage = open_storage(url, must_exist=True)
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        known = ", ".join(sorted(optuna.get_all_study_names(storage))) or "none yet"
        raise StudyError(f"{shown(url)} holds no study named {name!r}; it holds: {known}") from error


def _connect(url: URL, file: Path | None) -> RDBStorage:
    if file is None:
        return _open_server(url)
    if _is_missing(file):
        # A new database appears complete or not at all. Optuna creates table by table: killed halfway, it would leave
        # tables without their unique indices, which it never repairs.
        with FileLock(file.with_name(f".{file.name}.lock")):
            if _is_missing(file):
                fresh = file.with_name(f".{file.name}.new")
                fresh.unlink(missing_ok=True)
                _open_sqlite(url.set(database=str(fresh))).engine.dispose()  # folds its log into the file
                fresh.replace(file)
    return _open_sqlite(url)


def _open_server(url: URL) -> RDBStorage:
    address = url.render_as_string(hide_password=False)
    options = {"pool_pre_ping": True}  # so that a restart of the server does not lose the trial that ends next
    if url.get_backend_name() != "postgresql":
        return RDBStorage(address, engine_kwargs=options)
    engine = create_engine(url, poolclass=NullPool)
    # under a lock: two drivers that create the tables of a new database at once would both fail
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('explorer: tables'))"))
        return RDBStorage(address, engine_kwargs=options)


def _open_sqlite(url: URL) -> RDBStorage:
    # without a timeout, SQLite raises "database is locked" at once
    storage = RDBStorage(
        url.render_as_string(hide_password=False), engine_kwargs={"connect_args": {"timeout": PATIENCE}}
    )
    event.listen(storage.engine, "connect", _write_ahead)
    storage.engine.dispose()  # the connection that made the tables is not in write-ahead mode
    return storage


def to_read(file: Path) -> sqlite3.Connection:
    """Open a read-only connection to an SQLite database, usable from any thread.

    SQLite reads a database that has a write-ahead log through a file of shared memory beside it. If there is none and
    none can be created, as in a read-only folder, nobody is writing, and the connection is to a copy in memory.
    Raises sqlite3.Error or OSError if the database cannot be read.
    """
    # as_uri quotes special characters in the path
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=PATIENCE, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if (error.sqlite_errorcode & 0xFF) not in UNSHARED:
            raise
    else:
        return connection
    with tempfile.TemporaryDirectory(prefix="explorer-") as folder:
        copy = Path(folder) / "copy.db"
        for suffix in ("", "-wal"):
            if (part := file.with_name(file.name + suffix)).exists():
                shutil.copyfile(part, copy.with_name(copy.name + suffix))
        with closing(sqlite3.connect(copy)) as copied:
            connection = sqlite3.connect(":memory:", check_same_thread=False)
            copied.backup(connection)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _write_ahead(connection: sqlite3.Connection, _: object) -> None:
    """Turn on write-ahead logging with rare syncs.

    A trial takes about 30 transactions, and each took 20 ms to reach the disk. Committed data survives a kill. A power
    cut may lose the last seconds but never damages the database. Readers, such as the dashboard, do not wait for the
    writer.
    """
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.OperationalError:  # read-only, or a file system without shared memory: slower, but correct
        return


def _is_missing(file: Path) -> bool:
    """Whether a database is missing. An empty file counts: SQLite leaves one if a first connection is cut short."""
    return not file.exists() or file.stat().st_size == 0
