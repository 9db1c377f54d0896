"""`explorer calibrate`: the thresholds of an embedding, tuned on *calib*."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from explorer.commands.measure import MeasureFormat, progress
from explorer.commands.options import TrustOption, trusted_files
from objectives.errors import OperatingPointError
from objectives.operating_point import BASELINE, OFFLINE_BASELINE, OnlineTracking, OperatingPoint

ONLINE = OperatingPoint(mode="online")
THRESHOLD_NAMES = ("tau_active", "rho_update", "delta_new")
SHOWN = 10  # of the triples
THRESHOLDS = tuple(round(0.3 + 0.05 * step, 2) for step in range(19))  # 0.30 … 1.20


def calibrate(
    corpus: Annotated[
        str, typer.Option(help="Corpus name, a folder of audio + RTTM, or a pyannote.database protocol.")
    ] = "ami-excerpts",
    split: Annotated[str, typer.Option(help="Split to tune on. Never the one that a study scores.")] = "calib",
    embedding: Annotated[
        str | None, typer.Option(help="`campplus` (default), or a WeSpeaker ResNet34 checkpoint or Hub name.")
    ] = None,
    trust: TrustOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Tune for the offline mode instead of streaming.")] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Tune tau_active, rho_update and delta_new of the online mode instead.")
    ] = False,
    format: Annotated[MeasureFormat, typer.Option(help="`table` for people, `json` for programs.")] = (
        MeasureFormat.table
    ),
) -> None:
    """Tune the clustering threshold on a split set aside for it, with the FP32 model at C = 1 s and R = 0.

    A threshold belongs to an embedding and, to a lesser degree, to the kind of audio: tune it once on your corpus, and
    write it into your study's file as `clustering_threshold` under `[models]`. It then stays fixed for every trial.

        explorer calibrate --corpus ./recordings

        explorer calibrate --corpus ./recordings --offline

        explorer calibrate --corpus ./recordings --online

    The thresholds of the online mode go under `[space]`, where a value holds for every trial and a range is searched.
    """
    if online and offline:
        raise OperatingPointError("--online and --offline are two modes: give one of them")
    # late, so that `explorer --help` does not wait for torch
    from objectives.calibration import online_sweep, threshold_sweep
    from objectives.evaluation import build_evaluator

    trusted = trusted_files(trust)
    with (
        progress() as show,
        build_evaluator(corpus=corpus, split=split, embedding=embedding, trusted=trusted) as evaluator,
    ):
        point = OFFLINE_BASELINE if offline else BASELINE
        if online:
            triples = online_sweep(evaluator, ONLINE, lambda fraction: show("tracking", fraction))
        else:
            points, best = threshold_sweep(evaluator, THRESHOLDS, point, lambda fraction: show("clustering", fraction))
    if online:
        _tell_online(*triples, corpus, split, format)
        return
    if format is MeasureFormat.json:
        sweep = [{"threshold": threshold, "der": der} for threshold, der in points]
        told = {"corpus": corpus, "split": split, "mode": point.mode, "best": best, "sweep": sweep}
        typer.echo(json.dumps(told, indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("threshold", justify="right")
    table.add_column("DER %", justify="right")
    for threshold, der in points:
        table.add_row(f"{threshold:.2f}", f"{der:.2f}", style="bold green" if threshold == best else "")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Lowest DER on {corpus} {split}, {point.mode}, at clustering_threshold = {best:.2f} "
        "(the middle of its plateau)",
        soft_wrap=True,
    )


def _tell_online(
    points: Sequence[tuple[OnlineTracking, float]], best: OnlineTracking, corpus: str, split: str, format: MeasureFormat
) -> None:
    if format is MeasureFormat.json:
        sweep = [_triple(tracking) | {"der": der} for tracking, der in points]
        told = {"corpus": corpus, "split": split, "mode": "online", "best": _triple(best), "sweep": sweep}
        typer.echo(json.dumps(told, indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (*THRESHOLD_NAMES, "DER %"):
        table.add_column(name, justify="right")
    ranked = sorted(points, key=lambda one: one[1])
    shown = [one for place, one in enumerate(ranked) if place < SHOWN or one[0] == best]
    for tracking, der in shown:
        cells = [*(f"{value:g}" for value in _triple(tracking).values()), f"{der:.2f}"]
        table.add_row(*cells, style="bold green" if tracking == best else "")
    console = Console(highlight=False)
    console.print(table)
    lines = ", ".join(f"{name} = {value:g}" for name, value in _triple(best).items())
    console.print(
        f"{len(points)} triples on {corpus} {split}, the best of them shown. Lowest DER with its neighbours in "
        f"delta_new: {lines}",
        soft_wrap=True,
    )


def _triple(tracking: OnlineTracking) -> dict[str, float]:
    told = {name: getattr(tracking, name) for name in THRESHOLD_NAMES}
    return {name: value for name, value in told.items() if value is not None}
