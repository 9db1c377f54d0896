"""Values as CSV: what a figure or a table shows, for a spreadsheet or a program."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping
from typing import Any


def as_csv(kind: type[Any], rows: Iterable[Any]) -> str:
    """One line a row under a header of the fields of `kind`, a dataclass; lists are joined by spaces, a mapping's items
    as `key=value`, what is not known is empty. Numbers keep all of their digits."""
    names = [field.name for field in dataclasses.fields(kind)]
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in names])
    return sheet.getvalue()


def _cell(cell: object) -> object:
    if isinstance(cell, Mapping):
        return " ".join(f"{key}={value}" for key, value in cell.items())
    return " ".join(map(str, cell)) if isinstance(cell, tuple) else cell
