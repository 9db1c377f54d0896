"""Turn errors of a database into messages that say what is wrong and how to fix it."""

import re
import sqlite3

from objectives.errors import StudyError

PATIENCE = 60.0  # seconds to wait for a lock on SQLite that another process holds (the dashboard writes now and then)
# SQLite's primary result code → (what is wrong, what to do)
REMEDIES = {
    sqlite3.SQLITE_FULL: ("the disk is full", "make room there"),
    sqlite3.SQLITE_READONLY: ("it may only be read", "permit writing it and in its folder"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "permit reading it and writing in its folder"),
    sqlite3.SQLITE_PERM: ("access to it is denied", "permit reading and writing it"),
    sqlite3.SQLITE_BUSY: (
        f"another program has kept it locked for {PATIENCE:g} s",
        "end that program, or wait until it is done",
    ),
    sqlite3.SQLITE_IOERR: ("the disk fails", "look at the disk and at the system's log"),
    sqlite3.SQLITE_CORRUPT: ("the file is damaged", "go back to a copy, or see sqlite3's `.recover`"),
    sqlite3.SQLITE_NOTADB: ("the file is not an SQLite database", "check its name"),
}


def refusal(where: str, error: BaseException, running: bool = False) -> StudyError:
    """Return the StudyError for an error of a database. where: the database, without password. running: whether a study
    was running."""
    then = "; then run the same command again: every finished trial is kept" if running else ""
    sqlite = next((cause for cause in _chain(error) if isinstance(cause, sqlite3.Error)), None)
    code = getattr(sqlite, "sqlite_errorcode", None)
    if sqlite is not None and code is not None and (code & 0xFF) in REMEDIES:
        what, remedy = REMEDIES[code & 0xFF]
        return StudyError(f"{where}: {what} ({sqlite}): {remedy}, or give another --storage{then}")
    reason = str(error.__cause__ or error).splitlines()[0]
    return StudyError(f"{where}: the database refuses ({reason}): fix that, or give another --storage{then}")


def other_version(where: str, error: RuntimeError) -> StudyError:
    """Return the StudyError for a database whose tables another version of Optuna made."""
    message = str(error)
    versions = re.search(r"runtime optuna version (\S+) .*set up by optuna ([^)\s]+)", message, re.DOTALL)
    here, there = versions.groups() if versions else ("another version", "another version")
    what = f"{where}: was made by another version of Optuna ({there}, and here is {here}), with other tables"
    if "storage upgrade" in message:
        return StudyError(
            f"{what}: copy the database, then run `optuna storage upgrade --storage URL`, or give another --storage"
        )
    return StudyError(f"{what}: use an explorer that comes with Optuna {there}, or give another --storage")


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, including the original error that SQLAlchemy wraps."""
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        below = getattr(error, "orig", None) or error.__cause__
        if below is None:
            break
        error = below
    return chain
