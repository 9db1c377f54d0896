"""A note beside a lock that says who holds it, for the message to those who are refused.

Only the lock decides. A note that is missing, half written or left by a dead process only makes the message less
informative.
"""

import json
import os
import re
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

SINCE = "%Y-%m-%d %H:%M:%S UTC"
LARGEST = 4096  # characters: a note is one short line


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock. since: UTC, to the second.

    Raises ValueError if a value is invalid, since notes are in folders that others may write to.
    """

    host: str
    process: int
    since: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]{1,255}", self.host) or not 0 < self.process < 2**31:
            raise ValueError(f"{self.host!r}, {self.process}: not a host and process")
        datetime.strptime(self.since, SINCE)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


def who_i_am() -> str:
    """Return `host:process`, to name this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def leave_note(lock: Path) -> None:
    """Write beside a lock that this process holds it now. If the note cannot be written, there is none."""
    note = _note(lock)
    draft = note.with_name(f"{note.name}.new")
    holder = Holder(socket.gethostname(), os.getpid(), datetime.now(UTC).strftime(SINCE))
    with suppress(OSError):  # such as a full disk: a missing note must not stop a run
        try:
            note.unlink(missing_ok=True)  # removes the last holder's note even if the rest fails
            draft.write_text(json.dumps(asdict(holder)), encoding="utf-8")
            draft.replace(note)
        finally:
            draft.unlink(missing_ok=True)


def take_note_away(lock: Path) -> None:
    """Remove the note. The holder calls this before it releases the lock."""
    with suppress(OSError):
        _note(lock).unlink(missing_ok=True)


def read_note(lock: Path) -> Holder | None:
    """Return who holds a lock; None if that is not known, or if the process in the note has ended."""
    try:
        with _note(lock).open(encoding="utf-8") as note:
            stored = json.loads(note.read(LARGEST))
        holder = Holder(str(stored["host"]), int(stored["process"]), str(stored["since"]))
    except (OSError, ValueError, KeyError, TypeError):  # missing, half written, or somebody else's file
        return None
    return None if holder.host == socket.gethostname() and not _lives(holder.process) else holder


def _note(lock: Path) -> Path:
    return lock.with_suffix(".holder")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends no signal, only checks that the process exists
    except ProcessLookupError:
        return False
    except OSError:  # the process belongs to another user
        return True
    return True
