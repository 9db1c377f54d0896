"""Values as CSV: what a figure or a table shows, for a spreadsheet or a program."""

from collections.abc import Iterable
from typing import Any

from explorer.front import frames


def as_csv(kind: type[Any], rows: Iterable[Any]) -> str:
    """Return one line for each row under a header of the fields of `kind`, a dataclass; see frames.as_csv."""
    return frames.as_csv(frames.frame_of(kind, rows))
