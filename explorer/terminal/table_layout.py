"""Compute how the columns of a table share the width of a screen."""

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.cells import cell_len, set_cell_size

from explorer.terminal.line_breaks import longest_word

Kind = Literal["figure", "word", "name", "text"]
Widths = dict[int, int]  # index of a column → its width

GAP = 2  # spaces between columns
LEAST_NAME = 16  # least width of a shortened name
LONGEST_WORD = 40  # width up to which a word of a sentence is kept whole; a longer one may be broken


def groups(
    kinds: Sequence[Kind], headers: Sequence[str], rows: Sequence[Sequence[str]], keys: int, width: int, mark: str
) -> list[Widths]:
    """Return groups of columns that are printed side by side.

    One group if all columns fit; otherwise several, each beginning with the first `keys` columns; none if a column does
    not fit beside these. mark: stands for the omitted middle of a name.
    """
    whole = [max(map(cell_len, cells)) for cells in zip(headers, *rows, strict=True)]
    if total(whole) <= width:
        return [dict(enumerate(whole))]
    columns = zip(kinds, headers, zip(*rows, strict=True) if rows else [()] * len(headers), strict=True)
    least = [_least(kind, header, cells, mark) for kind, header, cells in columns]
    shrunk = [_shrunk(group, whole, least, width) for group in _stacked(least, keys, width)]
    for key in range(keys):  # so that a name looks the same in all groups
        narrowest = min((group[key] for group in shrunk), default=0)
        shrunk = [group | {key: narrowest} for group in shrunk]
    return shrunk


def total(widths: Iterable[int]) -> int:
    """Return the total width of columns and the gaps between them."""
    each = list(widths)
    return sum(each) + GAP * (len(each) - 1)


def middle_out(name: str, width: int, mark: str) -> str:
    """Return a name in at most `width` columns, with its middle left out if it is too long."""
    room = width - cell_len(mark)
    if cell_len(name) <= width:
        return name
    tail = room // 2
    return set_cell_size(name, room - tail) + mark + set_cell_size(name[::-1], tail)[::-1]


def _least(kind: Kind, header: str, cells: Sequence[str], mark: str) -> int:
    """Return the least width that a column may have."""
    whole = max(map(cell_len, (header, *cells)))
    if kind == "name":
        start = min(whole, max(LEAST_NAME, cell_len(header)))
        return next(width for width in range(start, whole + 1) if _stay_apart(cells, width, mark))
    if kind == "text":
        return min(whole, max(cell_len(header), min(LONGEST_WORD, max(map(longest_word, cells), default=0))))
    return whole


def _stay_apart(names: Sequence[str], width: int, mark: str) -> bool:
    return len({middle_out(name, width, mark) for name in names}) == len(set(names))


def _stacked(least: Sequence[int], keys: int, width: int) -> list[list[int]]:
    """Return the indices of the columns in each group, as many as fit; none if one does not fit beside the keys."""
    every = list(range(len(least)))
    if total(least) <= width:
        return [every]
    stacked: list[list[int]] = []
    for column in every[keys:]:
        if stacked and total(least[place] for place in (*stacked[-1], column)) <= width:
            stacked[-1].append(column)
        else:
            stacked.append([*every[:keys], column])
        if total(least[place] for place in stacked[-1]) > width:
            return []
    return stacked


def _shrunk(group: Sequence[int], whole: Sequence[int], least: Sequence[int], width: int) -> Widths:
    """Return widths that fit: narrow the widest column that may be narrower, until all fit."""
    widths = {place: whole[place] for place in group}
    while total(widths.values()) > width:
        widest = max((place for place in group if widths[place] > least[place]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths
