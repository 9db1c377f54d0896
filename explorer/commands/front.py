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
from explorer.front.comparisons import MATCHED, Comparison
from explorer.front.pareto import table_rows
from explorer.front.pareto import whole_front as front_of
from explorer.front.rows import FrontRow
from explorer.storage.provenance import in_words, mixed_versions
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from explorer.terminal.tables import Column, Table, names, print_table, sentences, words
from objectives.operating_point import Tracking
from studies.paper_results import CAPTION, TABLE2_VARIANT, PaperTable

COLUMNS: tuple[Column | str, ...] = (
    "trial", names("origin"), "C s", "R s", "latency s", words("pruning"), words("precision"), "params M", "DER %",
    words("Δ DER to"), "FA / miss / conf %", "MiB", "RTF", "x base",
)  # fmt: skip


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

    RTF is the median of the repeats with its spread; *x base* is the ratio to the FP32 baseline, timed in turns with
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
            typer.echo(frames.as_csv(frames.pairs(compared)) if pairs else as_csv(rows), nl=False)
        case "json":
            echo_json([dataclasses.asdict(one) for one in (compared if pairs else rows)])


def as_csv(rows: Sequence[FrontRow]) -> str:
    """Return one line for each row under a header of FrontRow's fields."""
    return frames.as_csv(frames.front(rows))


def print_tables(rows: Sequence[FrontRow], console: Console, compared: Sequence[Comparison] = ()) -> None:
    """Print the front, the pairs to compare, and those of the paper's tables that the study has, ours beside theirs."""
    print_front(rows, console)
    for line in comparisons.of_differences(rows, compared):
        say(line, console)
    if by := sorted({row.kernel for row in rows if row.kernel is not None and row.kernel.startswith("torch ")}):
        say(f"DER: windows run by {', '.join(by)}; RTF is the CPU's.", console)
    if mixed := mixed_versions(
        {row.trial: row.versions for row in rows if row.trial is not None and row.der is not None}
    ):
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
    ours = ", ".join(dict.fromkeys(row.pruning for row in rows))
    title = "Table 1: pruning, FP32" if which == "table1" else f"Table 2: precision of {ours} (paper: {TABLE2_VARIANT})"
    table = Table(words("variant"), "kept units", "params M", "MiB", "DER %", "RTF", title=title)
    for row in rows:
        kept = " ".join(f"{part} {units}" for part, units in row.kept.items()) or "–"
        table.add(
            row.origin.rpartition(":")[2],
            kept,
            _pair(_millions(row.params), row.paper_params, 2),
            _pair(row.size, row.paper_size, 2),
            _pair(row.der, row.paper_der, 2),
            _pair(row.rtf, row.paper_rtf, 4) + (" emulated" if row.execution == "emulated" else ""),
            style="" if row.der is not None else "dim",
        )
    print_table(table, console)


def _millions(params: int | None) -> float | None:
    return None if params is None else params / 1e6


def _pair(ours: float | None, paper: float | None, digits: int) -> str:
    return " / ".join("–" if value is None else f"{value:.{digits}f}" for value in (ours, paper))


def print_front(rows: Sequence[FrontRow], console: Console) -> None:
    """Print the front as a table."""
    several = any(row.mode == "online" for row in rows)
    table = Table(*COLUMNS, *([words("tracking")] if several else []), sentences("standing"), keys=2)
    for row in rows:
        style = {"front": "bold green", "failed": "red"}.get(row.standing, "" if row.der is not None else "dim")
        cells = [*_cells(row), *([row.mode] if several else []), _standing(row)]
        table.add(*cells, style=style)
    print_table(table, console)
    on_front = sum(row.standing == "front" for row in rows)
    say(f"{on_front} on the front of DER, size and RTF. RTF: median [smallest–largest].", console)


def _cells(row: FrontRow) -> list[str]:
    axes = [
        "–" if row.trial is None else str(row.trial),
        row.origin,
        *("–" if value is None else f"{value:.3g}" for value in (row.chunk_length, row.right_context, row.latency)),
        row.pruning,
        row.precision,
    ]
    if row.der is None:
        return [*axes, "", "", "", "", "", "", ""]
    return [
        *axes,
        f"{_millions(row.params):.2f}",
        f"{'≈ ' if row.tied_with_best else ''}{row.der:.2f}",
        comparisons.to_trial(row),
        f"{row.false_alarm:.1f} / {row.missed_detection:.1f} / {row.confusion:.1f}",
        f"{row.size:.2f}",
        f"{row.rtf:.4f} [{row.rtf_low:.4f}–{row.rtf_high:.4f}]",
        "emulated" if row.execution == "emulated" else f"{row.rtf_ratio:.2f}",
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
