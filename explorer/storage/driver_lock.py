"""Lock a study for one driver on this machine, and leave a note beside the lock that says who holds it.

Only the lock decides. A note that is missing, half written or left by a dead process only makes the message to those
who are refused less informative.
"""

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from explorer.storage.connection import shown
from explorer.storage.urls import parse, sqlite_file
from objectives.cache.files import cache_dir
from objectives.errors import StudyError

# what a note says; others may write to the folder, so anything else is not believed
NOTE = re.compile(r"process ([1-9]\d{0,8}) on ([\w.-]{1,255}), since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
LONGEST = 400  # characters


@contextmanager
def sole_driver(name: str, url: str) -> Iterator[None]:
    """Lock the study for one driver on this machine. The lock is released when the process ends, for whatever reason.

    Raises StudyError if another running process drives it.
    """
    file = _lock_file(name, url)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        by = read_note(file)
        who, where = (by[0], f" (`kill {by[1]}` on {by[2]})") if by else ("another process", "")
        raise StudyError(
            f"the study {name!r} in {shown(url)} is being run by {who}: wait for it, or stop it{where}, which loses "
            "nothing but the trials that it is running, or give --name to run a second study"
        ) from error
    except OSError as error:
        raise StudyError(
            f"{lock.lock_file}: cannot be locked ({error.strerror}): give a --storage where you may write"
        ) from error
    try:
        leave_note(file)
        yield
    finally:
        with suppress(OSError):
            _note(file).unlink(missing_ok=True)
        lock.release()


def leave_note(lock: Path) -> None:
    """Write beside a lock that this process holds it now. If the note cannot be written, there is none."""
    since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    with suppress(OSError):  # such as a full disk: a missing note must not stop a run
        _note(lock).write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}", encoding="utf-8")


def read_note(lock: Path) -> re.Match[str] | None:
    """Return who holds a lock: a match of NOTE, with the process and the host. None if nobody says, or if the process
    has ended."""
    note = None
    try:
        with _note(lock).open(encoding="utf-8") as file:
            note = NOTE.fullmatch(file.read(LONGEST))
        if note is not None and note[2] == socket.gethostname():
            os.kill(int(note[1]), 0)  # sends no signal, only checks that the process exists
    except PermissionError:  # of the note, or because the process belongs to another user
        return note
    except (OSError, ValueError):  # no note, no text, or the process has ended
        return None
    return note


def _note(lock: Path) -> Path:
    return lock.with_suffix(".holder")


def _lock_file(name: str, url: str) -> Path:
    """Return the lock file of a study: beside an SQLite file, where all its users find it; in the cache folder for a
    database server."""
    parsed = parse(url)
    file = sqlite_file(parsed)
    study = hashlib.sha256(name.encode()).hexdigest()[:12]
    if file is not None:
        return file.with_name(f".{file.name}.{study}.lock")
    server = hashlib.sha256(parsed.render_as_string(hide_password=True).encode()).hexdigest()[:12]
    folder = cache_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{server}.{study}.lock"
