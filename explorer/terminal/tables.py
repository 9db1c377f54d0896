"""Tables on a screen of any width: figures are never cut or wrapped apart, names are shortened in their middle.

In a pipe, a file or a log a row is one line, however long. On a terminal that is too narrow, names get shorter and
sentences are broken between words; then columns are stacked in groups that begin with the table's keys; if not even
that fits, each field has a line of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from explorer.terminal.line_breaks import broken, folded, longest_word
from explorer.terminal.screen import say, width_of
from explorer.terminal.streams import shown
from explorer.terminal.table_layout import GAP, Kind, Widths, groups, middle_out
from objectives.errors import ascii_controls

INDENT = 2  # of a value below its field's name


@dataclass(frozen=True)
class Column:
    """kind: `figure` stands to the right and `word` to the left, both whole; `name` may be shortened in its middle, as
    far as names stay apart; `text` is broken between words."""

    header: str
    kind: Kind = "figure"


class Table:
    """Rows of cells under headers. columns: a header alone is a column of figures. keys: how many columns, the first
    ones, say which row it is."""

    def __init__(self, *columns: Column | str, title: str = "", keys: int = 1):
        self.columns = tuple(Column(each) if isinstance(each, str) else each for each in columns)
        self.title = title
        self.keys = keys
        self.rows: list[tuple[tuple[str, ...], str]] = []

    def add(self, *cells: str, style: str = "") -> None:
        """One row, a cell for each column. style: of rich."""
        assert len(cells) == len(self.columns), f"{len(cells)} cells for {len(self.columns)} columns"
        self.rows.append((cells, style))


def words(header: str) -> Column:
    """A column of words out of a few."""
    return Column(header, "word")


def names(header: str) -> Column:
    """A column of names, which may be long."""
    return Column(header, "name")


def sentences(header: str) -> Column:
    """A column of sentences."""
    return Column(header, "text")


def print_table(table: Table, console: Console) -> None:
    """Print a table as the width of the console allows."""
    headers = [_cell(column.header, console) for column in table.columns]
    rows = [([_cell(cell, console) for cell in cells], style) for cells, style in table.rows]
    kinds = [column.kind for column in table.columns]
    found = groups(kinds, headers, [cells for cells, _ in rows], table.keys, width_of(console), _mark(console))
    if table.title:
        say(table.title, console, "bold")
    for place, widths in enumerate(found):
        if place:
            console.print()
        for cells, style in ((headers, "bold"), *rows):
            _print_row(kinds, widths, cells, style, console)
    for place, (cells, style) in enumerate(() if found else rows):
        if place:
            console.print()
        print_fields(zip(headers, cells, strict=True), console, style)


def print_fields(fields: Iterable[tuple[str, str]], console: Console, style: str = "") -> None:
    """Print each value beside its label, a line each; a terminal that is too narrow has it broken between words."""
    told = [(_cell(label, console), _cell(value, console)) for label, value in fields]
    beside = max((cell_len(label) for label, _ in told), default=0) + GAP
    width = width_of(console)
    for label, value in told:
        if longest_word(value) <= width - beside:
            first, *rest = broken(value, width - beside)
            lines = [label + " " * (beside - cell_len(label)) + first, *(" " * beside + line for line in rest)]
        else:
            lines = [label, *(" " * INDENT + line for line in broken(value, width - INDENT))]
        for line in lines:
            _print_line(line, style, console)


def _print_row(kinds: list[Kind], widths: Widths, cells: list[str], style: str, console: Console) -> None:
    columns = [_lines(kinds[place], cells[place], width, console) for place, width in widths.items()]
    for height in range(max(map(len, columns))):
        parts = [column[height] if height < len(column) else "" for column in columns]
        padded = [
            _padded(kinds[place], part, width) for (place, width), part in zip(widths.items(), parts, strict=True)
        ]
        _print_line((" " * GAP).join(padded), style, console)


def _lines(kind: Kind, cell: str, width: int, console: Console) -> list[str]:
    if kind == "text":
        return folded(cell, width)
    return [middle_out(cell, width, _mark(console))]


def _padded(kind: Kind, part: str, width: int) -> str:
    space = " " * (width - cell_len(part))
    return space + part if kind == "figure" else part + space


def _print_line(line: str, style: str, console: Console) -> None:
    console.print(Text(line.rstrip(), style), soft_wrap=True)


def _cell(value: str, console: Console) -> str:
    """A value in one line, as the screen shows it."""
    return shown(ascii_controls(value.replace("\n", " ")), console.encoding)


def _mark(console: Console) -> str:
    return shown("…", console.encoding)
