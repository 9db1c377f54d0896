"""What a database refuses, in words for whoever has to mend it."""

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
    sqlite3.SQLITE_NOTADB: ("the file is no SQLite database", "check its name"),
}


def refusal(where: str, error: BaseException, running: bool = False) -> StudyError:
    """What a user is told of an error of a database. where: the database, without password. running: in mid-study."""
    then = "; then run the same command again: every finished trial is kept" if running else ""
    sqlite = next((each for each in _chain(error) if isinstance(each, sqlite3.Error)), None)
    code = getattr(sqlite, "sqlite_errorcode", None)
    if sqlite is not None and code is not None and (code & 0xFF) in REMEDIES:
        what, remedy = REMEDIES[code & 0xFF]
        return StudyError(f"{where}: {what} ({sqlite}): {remedy}, or give another --storage{then}")
    reason = str(error.__cause__ or error).splitlines()[0]
    return StudyError(f"{where}: the database refuses ({reason}): mend that, or give another --storage{then}")


def other_version(where: str, error: RuntimeError) -> StudyError:
    """What a user is told where Optuna finds tables of another version of itself."""
    told = str(error)
    found = re.search(r"runtime optuna version (\S+) .*set up by optuna ([^)\s]+)", told, re.DOTALL)
    here, there = found.groups() if found else ("another version", "another version")
    what = f"{where}: was made by another version of Optuna ({there}, and here is {here}), with other tables"
    if "storage upgrade" in told:
        return StudyError(
            f"{what}: copy the database, then run `optuna storage upgrade --storage URL`, or give another --storage"
        )
    return StudyError(f"{what}: use an explorer that comes with Optuna {there}, or give another --storage")


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those that it came from, SQLAlchemy's wrapping included."""
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        below = getattr(error, "orig", None) or error.__cause__
        if below is None:
            break
        error = below
    return chain
