"""What the command line prints on a real terminal, and into a pipe."""

import fcntl
import os
import struct
import sys
import termios
import threading
from collections import Counter
from collections.abc import Iterable

import pytest
from rich.cells import cell_len

from explorer.cli import app

LONG = "a-recording-of-the-nightshift-2026-03-14-desk-number-one-channel-left-take-{:05d}"
assert len(LONG.format(0)) == 80


def printed(*words: object, columns: int | None, status: int = 0) -> list[str]:
    """Lines of standard output. columns: of the terminal that it is; None for a pipe."""
    reading, writing = os.openpty() if columns else os.pipe()
    if columns:
        fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    told: list[bytes] = []
    reader = threading.Thread(target=_read, args=(reading, told))
    reader.start()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(writing, "w", encoding="utf-8") as stream:
        patch.setenv("TERM", "dumb")  # no colours
        patch.delenv("COLUMNS", raising=False)
        patch.setattr(sys, "stdout", stream)
        code = app([*map(str, words)], standalone_mode=False)
        stream.flush()
        if columns:
            termios.tcdrain(stream.fileno())
    reader.join(30)
    os.close(reading)
    assert (code or 0) == status
    return b"".join(told).decode().splitlines()


def assert_shown(figures: Iterable[str], lines: list[str], columns: int | None) -> None:
    """Each figure stands whole on the screen, as often as it should; the terminal breaks no line but a name alone."""
    missing = Counter(figures) - Counter(" ".join(lines).replace(",", " ").replace(";", " ").split())
    assert not missing, "\n".join([f"cut or missing: {dict(missing)}", *lines])
    wide = [line for line in lines if columns and cell_len(line) > columns and " " in line.strip()]
    assert not wide, "\n".join(wide)


def _read(descriptor: int, told: list[bytes]) -> None:
    while True:
        try:
            read = os.read(descriptor, 65536)
        except OSError:  # EIO: the other end of a terminal is closed
            return
        if not read:
            return
        told.append(read)
