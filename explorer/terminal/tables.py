"""Print tables on a screen of any width. Figures are never cut or wrapped; names are shortened in their middle.

In a pipe, a file or a log, a row is one line, however long. On a terminal that is too narrow, names are shortened and
sentences broken between words. If that is not enough, columns are stacked in groups that begin with the table's keys.
If not even that fits, each field has its own line.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from explorer.terminal.line_breaks import broken, folded, longest_word
from explorer.terminal.screen import say, width_of
from explorer.terminal.streams import shown
from explorer.terminal.table_layout import GAP, Kind, Widths, groups, middle_out
from objectives.errors import ascii_controls

INDENT = 2  # spaces before a value that is printed below its label


@dataclass(frozen=True)
class Column:
    """A column of a table. kind: `figure` is aligned right and `word` left, both whole; `name` may be shortened in its
    middle, as long as names stay distinct; `text` is broken between words."""

    header: str
    kind: Kind = "figure"


class Table:
    """Rows of cells under headers. columns: a plain string is the header of a column of figures. keys: how many of the
    first columns identify a row."""

    def __init__(self, *columns: Column | str, title: str = "", keys: int = 1):
        self.columns = tuple(Column(each) if isinstance(each, str) else each for each in columns)
        self.title = title
        self.keys = keys
        self.rows: list[tuple[tuple[str, ...], str]] = []

    def add(self, *cells: str, style: str = "") -> None:
        """Add a row, with a cell for each column. style: a style of rich."""
        assert len(cells) == len(self.columns), f"{len(cells)} cells for {len(self.columns)} columns"
        self.rows.append((cells, style))


words = partial(Column, kind="word")  # from a small set
names = partial(Column, kind="name")  # which may be long
sentences = partial(Column, kind="text")


def print_table(table: Table, console: Console) -> None:
    """Print a table in the layout that fits the width of the console."""
    headers = [_cell(column.header, console) for column in table.columns]
    rows = [([_cell(cell, console) for cell in cells], style) for cells, style in table.rows]
    kinds = [column.kind for column in table.columns]
    layout = groups(kinds, headers, [cells for cells, _ in rows], table.keys, width_of(console), _mark(console))
    if table.title:
        say(table.title, console, "bold")
    for place, widths in enumerate(layout):
        if place:
            console.print()
        for cells, style in ((headers, "bold"), *rows):
            _print_row(kinds, widths, cells, style, console)
    for place, (cells, style) in enumerate(() if layout else rows):
        if place:
            console.print()
        print_fields(zip(headers, cells, strict=True), console, style)


def print_fields(fields: Iterable[tuple[str, str]], console: Console, style: str = "") -> None:
    """Print each value beside its label, on its own line. On a terminal that is too narrow, break it between words."""
    cells = [(_cell(label, console), _cell(value, console)) for label, value in fields]
    beside = max((cell_len(label) for label, _ in cells), default=0) + GAP
    width = width_of(console)
    for label, value in cells:
        if longest_word(value) <= width - beside:
            first, *rest = broken(value, width - beside)
            lines = [label + " " * (beside - cell_len(label)) + first, *(" " * beside + line for line in rest)]
        else:
            lines = [label, *(" " * INDENT + line for line in broken(value, width - INDENT))]
        for line in lines:
            _print_line(line, style, console)


def _print_row(kinds: list[Kind], widths: Widths, cells: list[str], style: str, console: Console) -> None:
    columns = []
    for place, width in widths.items():
        kind, cell = kinds[place], cells[place]
        lines = folded(cell, width) if kind == "text" else [middle_out(cell, width, _mark(console))]
        columns.append([_padded(kind, line, width) for line in lines])
    for parts in zip_longest(*columns, fillvalue=None):
        padded = [" " * width if part is None else part for part, width in zip(parts, widths.values(), strict=True)]
        _print_line((" " * GAP).join(padded), style, console)


def _padded(kind: Kind, part: str, width: int) -> str:
    space = " " * (width - cell_len(part))
    return space + part if kind == "figure" else part + space


def _print_line(line: str, style: str, console: Console) -> None:
    console.print(Text(line.rstrip(), style), soft_wrap=True)


def _cell(value: str, console: Console) -> str:
    """Return a value on one line, as the screen can show it."""
    return shown(ascii_controls(value.replace("\n", " ")), console.encoding)


def _mark(console: Console) -> str:
    return shown("…", console.encoding)
