"""`explorer front`: the Pareto front and every fixed point, on the screen or for a program."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import optuna
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from explorer import storage
from explorer.front import FrontRow
from explorer.front import front as front_of
from studies.definition import name_of

TABLE_WIDTH = 150  # columns that the table needs with ordinary values


class FrontFormat(StrEnum):
    """How a front is printed."""

    table = "table"
    csv = "csv"
    json = "json"


def front(
    study: Annotated[str, typer.Argument(help="Name of a study in the storage, or the `.toml` file it was run from.")],
    format: Annotated[FrontFormat, typer.Option(help="`table` for people, `csv` or `json` for programs.")] = (
        FrontFormat.table
    ),
    storage_url: Annotated[
        str | None,
        typer.Option("--storage", help=f"Optuna RDB URL. Default: `{storage.DEFAULT_URL}`, in the current directory."),
    ] = None,
) -> None:
    """Print the Pareto front of a study, with every fixed point of the paper beside it.

    A row is **on the front** (nothing feasible is at least as good in DER, size and RTF, and better in one),
    **dominated** (and by which trials of the front), **infeasible** (and which limit it passes), or not measured yet.

    RTF is the median of the repeats with its spread; *x base* is the ratio to the FP32 baseline timed in the same
    breath. Where the machine has no kernel for a precision the execution is *emulated*: that RTF is no gain, and has
    no ratio.

        explorer front quickstart

        explorer front joint --format csv > front.csv
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = front_of(storage.load_study(name_of(study), storage_url or storage.DEFAULT_URL))
    match format:
        case FrontFormat.table:
            print_table(rows, Console())
        case FrontFormat.csv:
            typer.echo(as_csv(rows), nl=False)
        case FrontFormat.json:
            typer.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))


def as_csv(rows: Sequence[FrontRow]) -> str:
    """One line a row under a header of FrontRow's fields; lists are joined by spaces, what is not known is empty."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(FrontRow)])
    for row in rows:
        cells = dataclasses.astuple(row)
        writer.writerow([" ".join(map(str, cell)) if isinstance(cell, tuple) else cell for cell in cells])
    return sheet.getvalue()


def print_table(rows: Sequence[FrontRow], console: Console) -> None:
    """The front as a table. On a narrower screen lines wrap there, but no cell is ever cut."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for name in ("trial", "origin", "C s", "R s", "C+R s", "precision", "DER %", "FA / miss / conf %", "MiB", "RTF"):
        table.add_column(name, justify="left" if name in ("origin", "precision") else "right", no_wrap=True)
    table.add_column("x base", justify="right", no_wrap=True)
    table.add_column("standing")
    for row in rows:
        style = {"front": "bold green", "failed": "red"}.get(row.standing, "" if row.der is not None else "dim")
        table.add_row(*map(Text, _cells(row)), style=style)
    width = max(console.width, TABLE_WIDTH)
    wide = Console(file=console.file, width=width, force_terminal=console.is_terminal, highlight=False)
    wide.print(table)
    on_front = sum(row.standing == "front" for row in rows)
    wide.print(f"{on_front} on the front of DER, size and RTF. RTF: median [smallest–largest].", markup=False)


def _cells(row: FrontRow) -> list[str]:
    axes = [
        "–" if row.trial is None else str(row.trial),
        row.origin,
        f"{row.chunk_length:.3g}",
        f"{row.right_context:.3g}",
        f"{row.latency:.3g}",
        row.precision,
    ]
    if row.der is None:
        return [*axes, "", "", "", "", "", _standing(row)]
    return [
        *axes,
        f"{row.der:.2f}",
        f"{row.false_alarm:.1f} / {row.missed_detection:.1f} / {row.confusion:.1f}",
        f"{row.size:.2f}",
        f"{row.rtf:.4f} [{row.rtf_low:.4f}–{row.rtf_high:.4f}]",
        "emulated" if row.execution == "emulated" else f"{row.rtf_ratio:.2f}",
        _standing(row),
    ]


def _standing(row: FrontRow) -> str:
    match row.standing:
        case "front":
            return "front"
        case "dominated":
            return f"dominated by {', '.join(map(str, row.dominated_by))}"
        case "infeasible":
            return f"infeasible: over {', '.join(row.exceeded)}"
        case "failed":
            return f"failed: {row.error}"
        case _:
            return row.standing
