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
        sys.stdout = _wrapped(sys.stdout, _Output(OUTPUT, "wb", closefd=False))
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _wrapped(sys.stderr, _Errors(ERROR, "wb", closefd=False))


def give_up_output() -> None:
    """Discard what is still in buffers, so that no second error is reported when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, OUTPUT)
    os.close(nowhere)


def shown(text: str, encoding: str) -> str:
    """Return text as a stream of that encoding can show it, with characters that the encoding lacks replaced.

    Signs are replaced by similar ones (`≈` by `~`) or by `?`, letters by their code (`\\xe9`), so that names stay
    distinct.
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if _has(encoding, letter) else _replacement(letter) for letter in text)
    return text


def echo_json(value: object, indent: int | None = 2) -> None:
    """Print a value as JSON, with escapes for what standard output cannot show."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    typer.echo(json.dumps(value, indent=indent, ensure_ascii=not encoding.lower().startswith("utf")))


class _Output(io.FileIO):
    """Standard output that raises OutputError, since libraries take an OSError for their own and exit silently."""

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(
                f"standard output cannot be written ({error.strerror}): make room where it goes, or send it elsewhere"
            ) from error


class _Errors(io.FileIO):
    """Standard error that drops what cannot be written."""

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _wrapped(stream: object, raw: io.FileIO) -> TextIO:
    """Return a text stream on top of `raw`, with the encoding and buffering of `stream`; UTF-8 if that is closed."""
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


def _has(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _replacement(letter: str) -> str:
    if letter in REPLACEMENTS:
        return REPLACEMENTS[letter]
    if unicodedata.category(letter)[0] in "SP":
        return "?"
    return letter.encode("ascii", "backslashreplace").decode("ascii")
