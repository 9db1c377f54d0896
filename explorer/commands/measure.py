"""`explorer measure`: one operating point, or the offline mode, outside any study."""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from objectives.operating_point import BASELINE, PRECISIONS, OperatingPoint, Precision

if TYPE_CHECKING:
    from objectives.evaluation import Measurement
    from objectives.scoring import ErrorCounts


class MeasureFormat(StrEnum):
    """How a measurement is printed."""

    table = "table"
    json = "json"


def measure(
    chunk_length: Annotated[float, typer.Option("--chunk-length", "-C", help="C in seconds.")] = BASELINE.chunk_length,
    right_context: Annotated[
        float, typer.Option("--right-context", "-R", help="R in seconds, 0 for none.")
    ] = BASELINE.right_context,
    precision: Annotated[str, typer.Option(help=f"One of {', '.join(PRECISIONS)}.")] = BASELINE.precision,
    offline: Annotated[
        bool, typer.Option("--offline", help="The offline mode instead: the released pipeline, without C, R and RTF.")
    ] = False,
    corpus: Annotated[
        str, typer.Option(help="Corpus name, a folder of audio + RTTM, or a pyannote.database protocol.")
    ] = "ami-excerpts",
    split: Annotated[str, typer.Option(help="Split that is scored, or `all`.")] = "eval",
    clustering_threshold: Annotated[
        float | None, typer.Option(help="Of the speaker clustering. Default: the embedding's own.")
    ] = None,
    segmentation: Annotated[
        str | None, typer.Option(help="A PyanNet checkpoint, or `medkit/simsamu-segmentation`.")
    ] = None,
    embedding: Annotated[
        str | None, typer.Option(help="`campplus` (default), or a WeSpeaker ResNet34 checkpoint or Hub name.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Repeats of the timing.", min=1)] = 3,
    format: Annotated[MeasureFormat, typer.Option(help="`table` for people, `json` for programs.")] = (
        MeasureFormat.table
    ),
) -> None:
    """Measure one operating point: DER with its components and by recording, size, and RTF beside the FP32 baseline's.

    explorer measure -C 1 -R 0.5

    explorer measure --offline --split all

    explorer measure -C 0.5 -R 0.2 --corpus ./recordings --format json
    """
    point = OperatingPoint(chunk_length, right_context, precision=cast("Precision", precision))
    # late, so that `explorer --help` does not wait for torch
    from objectives.evaluation import build_evaluator

    with (
        build_evaluator(
            corpus=corpus,
            split=split,
            segmentation=segmentation,
            embedding=embedding,
            clustering_threshold=clustering_threshold,
            repeats=repeats,
        ) as evaluator,
        progress() as show,
    ):
        evaluator.prepare(lambda fraction: show("reading the recordings", fraction))
        if offline:
            counts = evaluator.offline_errors(point.precision, lambda fraction: show("offline", fraction))
            measurement = None
        else:
            measurement = evaluator(point, show)
            counts = measurement.counts
    if format is MeasureFormat.json:
        typer.echo(json.dumps(_told(point, counts, measurement), indent=2))
        return
    _print(point, counts, measurement)


class progress:
    """A bar on stderr, gone when done: `with progress() as show: show(stage, fraction)`."""

    def __enter__(self) -> Callable[[str, float], None]:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        task = self._bar.add_task("getting ready", total=1.0)
        self._bar.start()
        return lambda stage, fraction: self._bar.update(task, description=stage, completed=fraction)

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


def _rates(counts: "ErrorCounts") -> dict[str, float | None]:
    """Percentages; none where the collar leaves nothing to score."""
    scored = counts.total > 0
    return {
        "der": counts.der if scored else None,
        "false_alarm": counts.percent(counts.false_alarm) if scored else None,
        "missed_detection": counts.percent(counts.missed_detection) if scored else None,
        "confusion": counts.percent(counts.confusion) if scored else None,
        "scored_seconds": counts.total,
    }


def _told(
    point: OperatingPoint, counts: Mapping[str, "ErrorCounts"], measurement: "Measurement | None"
) -> dict[str, Any]:
    from objectives.scoring import pool

    told: dict[str, Any] = {
        "mode": "offline" if measurement is None else "chunk-wise",
        "precision": point.precision,
        "pooled": _rates(pool(counts.values())),
        "recordings": {uri: _rates(errors) for uri, errors in counts.items()},
    }
    if measurement is not None:
        timing = measurement.timing
        told |= {
            "chunk_length": point.chunk_length,
            "right_context": point.right_context,
            "latency": point.latency,
            "size_mib": measurement.size_mib,
            "params": measurement.params,
            "execution": measurement.execution,
            "rtf": {
                "median": timing.median,
                "repeats": timing.rtf,
                "baseline_repeats": timing.baseline_rtf,
                "ratio_to_baseline": timing.ratio,
                "threads": timing.threads,
            },
            "machine": dict(measurement.machine),
        }
    return told


def _print(point: OperatingPoint, counts: Mapping[str, "ErrorCounts"], measurement: "Measurement | None") -> None:
    from objectives.scoring import pool

    console = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("recording", "DER %", "false alarm %", "missed %", "confusion %", "scored s"):
        table.add_column(name, justify="left" if name == "recording" else "right", no_wrap=True)
    for uri, errors in [*counts.items(), ("pooled", pool(counts.values()))]:
        cells = ["–" if value is None else f"{value:.2f}" for value in _rates(errors).values()]
        table.add_row(uri, *cells, style="bold" if uri == "pooled" else "")
    console.print(table)
    if measurement is None:
        console.print(f"offline mode, {point.precision}")
        return
    timing = measurement.timing
    low, high = timing.spread
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    console.print(
        f"C {point.chunk_length:g} s, R {point.right_context:g} s, latency {point.latency:g} s, {point.precision} "
        f"({measurement.execution}): {measurement.size_mib:.2f} MiB, RTF {timing.median:.4f} [{low:.4f}–{high:.4f}] "
        f"over {len(timing.rtf)} repeats on {threads}, {timing.ratio:.2f} × the FP32 baseline's",
        soft_wrap=True,
    )
