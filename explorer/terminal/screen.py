"""Where a command prints: as wide as the terminal, and without any width in a pipe, a file or a log."""

import os
import sys
from typing import TextIO

from rich.console import Console
from rich.table import Column
from rich.text import Text

from explorer.terminal.line_breaks import broken
from explorer.terminal.streams import shown

UNBOUNDED = 1_000_000  # columns: a line of a file ends where its text ends
USUAL = 80  # columns of a terminal that does not know its own
HEIGHT = 25  # rich asks for it together with the width; nothing here depends on it


def screen(stderr: bool = False) -> Console:
    """Standard output, or standard error, for tables and sentences. What is printed there is no markup."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, width=_columns(stream), height=HEIGHT, highlight=False, markup=False, emoji=False
    )  # fmt: skip


def whole() -> Column:
    """Of a bar of progress: a figure, which a narrow screen leaves whole."""
    return Column(no_wrap=True)


def giving_way() -> Column:
    """Of a bar of progress: words, which go on in the next line before a figure is cut."""
    return Column()


def width_of(console: Console) -> int:
    """Columns that a line may take."""
    return console.width if console.is_terminal else UNBOUNDED


def say(text: str, console: Console, style: str = "") -> None:
    """Print sentences: on a terminal broken between words and nowhere else, elsewhere a line as it is."""
    for sentence in shown(text, console.encoding).split("\n"):
        for line in broken(sentence, width_of(console)):
            console.print(Text(line, style), soft_wrap=True)


def _columns(stream: TextIO | None) -> int:
    """Those of the terminal that the stream is; `COLUMNS` wins, as everywhere."""
    if stream is None or not stream.isatty():
        return UNBOUNDED
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL
    except OSError:
        return USUAL
