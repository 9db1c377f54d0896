"""`explorer front`: show the Pareto front and every fixed point, on the screen or for a program."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console

from explorer.commands.study_options import StorageOption, StudyArgument, open_study, remark_on
from explorer.figures.plot_file import KNOWN, check_plot, write_plot
from explorer.front import comparisons, frames
from explorer.front.comparisons import MATCHED
from explorer.front.pareto import table_rows
from explorer.front.pareto import whole_front as front_of
from explorer.front.rows import Comparison, FrontRow, flat
from explorer.front.table import COLUMNS, UNKNOWN, beside_paper, cells, columns_of, kept_in_words, paper_title
from explorer.storage.provenance import in_words, mixed_versions
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from explorer.terminal.tables import Column, Table, names, print_table, sentences, words
from objectives.operating_point import Tracking
from studies.paper_results import CAPTION, PaperTable

KINDS = {"origin": names, "standing": sentences}  # of columns; all others are figures or words


def front(
    study: StudyArgument,
    format: Annotated[
        Literal["table", "csv", "json"], typer.Option(help="`table` for people, `csv` or `json` for programs.")
    ] = "table",
    storage_url: StorageOption = None,
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs", help="Print every comparison of DER instead, one per row, the front's points included."
        ),
    ] = False,
    tracking: Annotated[
        Tracking | None,
        typer.Option(help="Only points with this kind of speaker tracking, with the front among these."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Also draw it into FILE, by its suffix: {', '.join(KNOWN)}."),
    ] = None,
) -> None:
    """Print the Pareto front of a study, with every fixed point of the paper beside it.

    If a study has rows of the paper's Tables 1 and 2, these are shown once more, beside the figures that the paper
    published: those are for other recordings (SIMSAMU) and another machine (NVIDIA L40S).

    A row is **on the front** (nothing feasible is at least as good in DER, size and RTF, and better in one),
    **dominated** (with the trials of the front that dominate it), **infeasible** (with the limit that it exceeds), or
    not measured yet.

    *Δ DER* is the difference to another trial, with the 95 % interval of a paired bootstrap over recordings. On the
    front it is to the next better point there; for a dominated point, to the best of those that dominate it. **tied**
    marks two that these recordings cannot distinguish, and **≈** marks a point tied with the lowest DER of the front.
    Below the table are pairs that differ in one choice alone: QAT or PTQ, online or chunk-wise, lower precision or
    FP32, pruned or not.

    RTF is the median of the repeats with its spread; *× base* is the ratio to the FP32 baseline, timed in turns with
    the point. If the machine has no kernel for a precision, the execution is *emulated*: its RTF is not a gain, and it
    has no ratio.

        explorer front quickstart

        explorer front joint --format csv > front.csv

        explorer front joint --pairs --format csv > pairs.csv

        explorer front joint-online --tracking online

        explorer front joint --plot front.png

        explorer front joint --plot front.html
    """
    if plot is not None:
        check_plot(plot)
    found = open_study(study, storage_url)
    whole = front_of(found, tracking)
    rows, compared = whole.rows, whole.comparisons
    remark_on(whole.left_out)
    if plot is not None:
        write_plot(found, rows, plot, tracking)
        say(f"drawn into {plot}", screen(stderr=True), "dim")
    match format:
        case "table":
            if tracking is not None:
                typer.echo(f"Only {tracking} points, and the front among these.")
            if pairs:
                print_pairs(compared, screen())
            else:
                print_tables(rows, screen(), compared)
        case "csv":
            typer.echo(frames.as_csv(frames.pairs(compared) if pairs else frames.front(rows)), nl=False)
        case "json":
            echo_json([dataclasses.asdict(one) for one in compared] if pairs else [flat(row) for row in rows])


def print_tables(rows: Sequence[FrontRow], console: Console, compared: Sequence[Comparison] = ()) -> None:
    """Print the front, the pairs to compare, and those of the paper's tables that the study has, ours beside theirs."""
    print_front(rows, console)
    for line in comparisons.of_differences(rows, compared):
        say(line, console)
    measured = {row.number: row.figures for row in rows if row.measurement}
    if by := sorted({kernel for one in measured.values() if (kernel := one.kernel or "").startswith("torch ")}):
        say(f"DER: windows run by {', '.join(by)}; RTF is the CPU's.", console)
    if mixed := mixed_versions({trial: one.versions for trial, one in measured.items()}):
        caveat = in_words(mixed)
        say(f"{caveat[0].upper()}{caveat[1:]}.", console, "yellow")
    if matched := [one for one in compared if one.kind in MATCHED]:
        console.print()
        print_pairs(matched, console)
    shown = [(table, found) for table in get_args(PaperTable) if (found := table_rows(rows, table))]
    for table, found in shown:
        console.print()
        _print_beside_paper(table, found, console)
    if shown:
        say(f"Ours / the paper's. {CAPTION}", console)


def print_pairs(compared: Sequence[Comparison], console: Console) -> None:
    """Print comparisons, one per row."""
    table = Table(
        "trial", names("operating point"), "to trial", names("operating point"), "DER %", "to DER %", words("Δ DER"),
        words("what"), title="Pairs", keys=3,
    )  # fmt: skip
    for one in compared:
        cells = [str(one.trial), one.point, str(one.versus), one.versus_point, f"{one.der:.2f}"]
        table.add(*cells, f"{one.versus_der:.2f}", comparisons.difference_in_words(one), one.kind)
    print_table(table, console)


def _print_beside_paper(which: PaperTable, rows: Sequence[FrontRow], console: Console) -> None:
    """Print one of the paper's tables: its rows as measured here, beside what the paper published."""
    table = Table(words("variant"), "kept units", "params M", "MiB", "DER %", "RTF", title=paper_title(which, rows))
    for row in rows:
        found = beside_paper(row)
        emulated = " emulated" if row.emulated else ""
        pairs = [" / ".join(found[name]) for name in ("params M", "MiB", "DER %", "RTF")]
        table.add(
            row.origin.rpartition(":")[2],
            kept_in_words(row) or UNKNOWN,
            *pairs[:-1],
            pairs[-1] + emulated,
            style="" if row.measurement else "dim",
        )
    print_table(table, console)


def print_front(rows: Sequence[FrontRow], console: Console) -> None:
    """Print the front as a table."""
    columns = columns_of(rows)
    kinds = [KINDS.get(name, Column if COLUMNS[name] else words) for name in columns]
    table = Table(*(kind(name) for kind, name in zip(kinds, columns, strict=True)), keys=2)
    for row in rows:
        style = {"front": "bold green", "failed": "red"}.get(row.standing, "" if row.measurement else "dim")
        found = cells(row)
        table.add(*(found[name] for name in columns), style=style)
    print_table(table, console)
    on_front = sum(row.standing == "front" for row in rows)
    say(f"{on_front} on the front of DER, size and RTF. RTF: median [smallest–largest].", console)
