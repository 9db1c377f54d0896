"""How the columns of a table share the width of a screen, as numbers."""

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.cells import cell_len, set_cell_size

from explorer.terminal.line_breaks import longest_word

Kind = Literal["figure", "word", "name", "text"]
Widths = dict[int, int]  # place of a column → its width

GAP = 2  # spaces between columns
LEAST_NAME = 16  # columns of a name that is shortened
LONGEST_WORD = 40  # columns that a word of a sentence gets whole; of a longer one the end goes into the next line


def groups(
    kinds: Sequence[Kind], headers: Sequence[str], rows: Sequence[Sequence[str]], keys: int, width: int, mark: str
) -> list[Widths]:
    """Columns that stand beside each other: one group if all of them fit, else several that begin with the first `keys`
    columns; none if a column does not fit beside these. mark: what stands for the middle of a name."""
    whole = [max(map(cell_len, cells)) for cells in zip(headers, *rows, strict=True)]
    if total(whole) <= width:
        return [dict(enumerate(whole))]
    columns = zip(kinds, headers, zip(*rows, strict=True) if rows else [()] * len(headers), strict=True)
    least = [_least(kind, header, cells, mark) for kind, header, cells in columns]
    found = [_shrunk(group, whole, least, width) for group in _stacked(least, keys, width)]
    for key in range(keys):  # a name looks the same in all of them
        narrowest = min((group[key] for group in found), default=0)
        found = [group | {key: narrowest} for group in found]
    return found


def total(widths: Iterable[int]) -> int:
    """Width of columns with the gaps between them."""
    each = list(widths)
    return sum(each) + GAP * (len(each) - 1)


def middle_out(name: str, width: int, mark: str) -> str:
    """A name in at most so many columns, its middle left out."""
    room = width - cell_len(mark)
    if cell_len(name) <= width:
        return name
    tail = room // 2
    return set_cell_size(name, room - tail) + mark + set_cell_size(name[::-1], tail)[::-1]


def _least(kind: Kind, header: str, cells: Sequence[str], mark: str) -> int:
    """How narrow a column may be."""
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
    """Places of the columns of each group, as many as fit; none if one does not fit beside the keys."""
    every = list(range(len(least)))
    if total(least) <= width:
        return [every]
    found: list[list[int]] = []
    for place in every[keys:]:
        if found and total(least[one] for one in (*found[-1], place)) <= width:
            found[-1].append(place)
        else:
            found.append([*every[:keys], place])
        if total(least[one] for one in found[-1]) > width:
            return []
    return found


def _shrunk(group: Sequence[int], whole: Sequence[int], least: Sequence[int], width: int) -> Widths:
    """Widths of columns that fit: the widest of those that may be narrower gives way."""
    widths = {place: whole[place] for place in group}
    while total(widths.values()) > width:
        widest = max((place for place in group if widths[place] > least[place]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths
