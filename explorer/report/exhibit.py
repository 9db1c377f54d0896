"""What a section of the report shows: a figure with its table and its CSV, or why it is absent; and numbers as text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
from matplotlib.figure import Figure

NO_BREAK, JOINED = "\u00a0", "\u2060"  # a space, and no space at all, where a line must not break


@dataclass(frozen=True)
class Grid:
    """A table as text. strong: indices of the rows to emphasise. left: indices of the text columns. wraps: indices of
    the columns whose cells may take two lines if the page is too narrow."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset({0})
    wraps: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Exhibit:
    """name: of its files. caption: names the trials it is made of. alternative: the figure in words, for readers who do
    not see it. sheets: its data by name of the CSV file."""

    name: str
    title: str
    caption: str
    figure: Figure | None = None
    alternative: str = ""
    grid: Grid | None = None
    sheets: Mapping[str, pd.DataFrame] | None = None


@dataclass(frozen=True)
class Absent:
    """What the study has no data for. command: one that would provide it; None if the explorer has none."""

    name: str
    title: str
    why: str
    command: str | None = None


def trials_in_words(numbers: Iterable[int]) -> str:
    """Format trial numbers: `trial 3`, `trials 0–2, 5`."""
    known = sorted(set(numbers))
    runs = [[number for _, number in run] for _, run in groupby(enumerate(known), key=lambda pair: pair[1] - pair[0])]
    ranges = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
    return f"trial{'s' if len(known) != 1 else ''} {ranges}"


def two_lines(text: str) -> str:
    """Let a figure break before its brackets and nowhere else."""
    return text.replace(" ", NO_BREAK).replace(f"{NO_BREAK}[", " [").replace("–", f"{JOINED}–{JOINED}")
