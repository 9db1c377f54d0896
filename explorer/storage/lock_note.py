"""Who holds a lock: a note beside it, for the message to those who are refused. The lock alone decides; a note that is
missing, half written or left by the dead only makes the message say less."""

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

    Raises ValueError where one cannot be what it should: notes lie in folders that others may write to.
    """

    host: str
    process: int
    since: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]{1,255}", self.host) or not 0 < self.process < 2**31:
            raise ValueError(f"{self.host!r}, {self.process}: no host and process")
        datetime.strptime(self.since, SINCE)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


def who_i_am() -> str:
    """`host:process`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def leave_note(lock: Path) -> None:
    """Say beside a lock that this process holds it now. A note that cannot be written is none."""
    note = _note(lock)
    draft = note.with_name(f"{note.name}.new")
    holder = Holder(socket.gethostname(), os.getpid(), datetime.now(UTC).strftime(SINCE))
    with suppress(OSError):  # a full disk: nobody is stopped by a note
        try:
            note.unlink(missing_ok=True)  # what the last holder left, should the rest fail
            draft.write_text(json.dumps(asdict(holder)), encoding="utf-8")
            draft.replace(note)
        finally:
            draft.unlink(missing_ok=True)


def take_note_away(lock: Path) -> None:
    """What the holder does before it lets go."""
    with suppress(OSError):
        _note(lock).unlink(missing_ok=True)


def read_note(lock: Path) -> Holder | None:
    """Who holds a lock; None where that is not known, or where the process of the note is known to have ended."""
    try:
        with _note(lock).open(encoding="utf-8") as note:
            told = json.loads(note.read(LARGEST))
        holder = Holder(str(told["host"]), int(told["process"]), str(told["since"]))
    except (OSError, ValueError, KeyError, TypeError):  # missing, half written, or somebody else's file
        return None
    return None if holder.host == socket.gethostname() and not _lives(holder.process) else holder


def _note(lock: Path) -> Path:
    return lock.with_suffix(".holder")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # no signal: asks only whether there is such a process
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
