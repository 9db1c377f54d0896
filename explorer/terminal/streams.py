"""Handle standard output and standard error that are closed, full, or unable to show a character."""

import codecs
import io
import json
import os
import signal
import sys
import unicodedata
from typing import TextIO

import typer

from objectives.errors import OutputError

PLAIN = "explorer.plain"  # name of the error handler of encodings
INPUT, OUTPUT, ERROR = range(3)
PIPE_CLOSED = 128 + signal.SIGPIPE  # the exit code that a shell reports for a program whose reader went away

# What is printed instead of a character that the encoding does not have.
REPLACEMENTS = {
    "→": "->", "←": "<-", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "Δ": "delta", "μ": "u", "µ": "u",
    "≤": "<=", "≥": ">=", "≈": "~", "±": "+-", "·": "*", "•": "*", "─": "-", "━": "-", "│": "|", "├": "|", "└": "|",
    "‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "\u2060": "",
}  # fmt: skip


def guard() -> None:
    """Prepare this process's standard streams for anything that a command prints.

    Characters that an encoding does not have are replaced. Standard output that cannot be written raises OutputError.
    If standard error cannot be written, the text is dropped, since there is nowhere else to report it. A stream that
    was replaced, as by a test, is left as it is. Raises OutputError if standard output is closed.
    """
    codecs.register_error(PLAIN, _plain)
    closed = sys.stdout is None
    _occupy_closed_descriptors()
    if closed:
        raise OutputError("standard output is closed: give it a file or a pipe, or > /dev/null")
    if sys.stdout is sys.__stdout__:
        sys.stdout = _wrapped(sys.stdout, OUTPUT)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _wrapped(sys.stderr, ERROR)


def discard(descriptor: int) -> None:
    """Discard what is written to a file descriptor from now on, and what is still in buffers."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def shown(text: str, encoding: str) -> str:
    """Return text as a stream of that encoding can show it, with characters that the encoding lacks replaced.

    Signs are replaced by similar ones (`≈` by `~`) or by `?`, letters by their code (`\\xe9`), so that names stay
    distinct.
    """
    codecs.register_error(PLAIN, _plain)
    return text.encode(encoding, PLAIN).decode(encoding)


def echo_json(value: object, indent: int | None = 2) -> None:
    """Print a value as JSON, with escapes for what standard output cannot show."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    typer.echo(json.dumps(value, indent=indent, ensure_ascii=not encoding.lower().startswith("utf")))


class _Stream(io.FileIO):
    """Standard output that raises OutputError, since libraries take an OSError for their own and exit silently; or
    standard error, which drops what cannot be written."""

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            if self.fileno() == ERROR:
                return memoryview(data).nbytes
            raise OutputError(
                f"standard output cannot be written ({error.strerror}): make room where it goes, or send it elsewhere"
            ) from error


def _wrapped(stream: object, descriptor: int) -> TextIO:
    """Return a text stream on a file descriptor, with the encoding and buffering of `stream`; UTF-8 if it is closed."""
    raw: io.FileIO = _Stream(descriptor, "wb", closefd=False)
    buffer = io.BufferedWriter(raw)
    if not isinstance(stream, io.TextIOWrapper):
        return io.TextIOWrapper(buffer, "utf-8", PLAIN)
    return io.TextIOWrapper(
        buffer, stream.encoding, PLAIN, line_buffering=stream.line_buffering, write_through=stream.write_through
    )


def _occupy_closed_descriptors() -> None:
    """Open /dev/null in place of closed standard streams. Otherwise the next file that is opened would take the
    descriptor, and receive what libraries print."""
    for number in (INPUT, OUTPUT, ERROR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_replacement, error.object[error.start : error.end])), error.end


def _replacement(letter: str) -> str:
    if letter in REPLACEMENTS:
        return REPLACEMENTS[letter]
    if unicodedata.category(letter)[0] in "SP":
        return "?"
    return letter.encode("ascii", "backslashreplace").decode("ascii")
