"""The console that a command prints to: as wide as the terminal, and of unlimited width in a pipe, a file or a log."""

import os
import sys
from typing import TextIO

from rich.console import Console
from rich.table import Column
from rich.text import Text

from explorer.terminal.line_breaks import broken
from explorer.terminal.streams import shown

UNBOUNDED = 1_000_000  # columns, for output that is not a terminal: lines are never broken
USUAL = 80  # columns of a terminal that does not report its width
WHOLE, WRAPPED = Column(no_wrap=True), Column()  # of a progress bar: words are wrapped before a figure is cut
HEIGHT = 25  # rich asks for it together with the width; nothing here depends on it


def screen(stderr: bool = False) -> Console:
    """Return a console on standard output, or standard error, for tables and sentences. Markup is not interpreted."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=_columns(stream), height=HEIGHT, highlight=False, markup=False, emoji=False)


def width_of(console: Console) -> int:
    """Return the number of columns that a line may take."""
    return console.width if console.is_terminal else UNBOUNDED


def say(text: str, console: Console, style: str = "") -> None:
    """Print sentences. On a terminal they are broken between words only; elsewhere lines are not broken."""
    for sentence in shown(text, console.encoding).split("\n"):
        for line in broken(sentence, width_of(console)):
            console.print(Text(line, style), soft_wrap=True)


def _columns(stream: TextIO | None) -> int:
    """Return the columns of the terminal that the stream is. The environment variable `COLUMNS` takes precedence."""
    if stream is None or not stream.isatty():
        return UNBOUNDED
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL
    except OSError:
        return USUAL
