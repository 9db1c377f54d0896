"""`explorer calibrate`: tune the thresholds of an embedding on the split *calib*."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from explorer.commands.options import (
    CorpusOption,
    EmbeddingOption,
    FormatOption,
    TableOrJson,
    TrustOption,
    trusted_files,
)
from explorer.terminal.corpus_remarks import print_remarks
from explorer.terminal.progress import progress
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from explorer.terminal.tables import Table, print_table, words
from objectives.errors import OperatingPointError
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import BASELINE, OFFLINE_BASELINE, OnlineTracking, OperatingPoint

if TYPE_CHECKING:  # these import torch
    from explorer.statistics.differences import Points
    from objectives.evaluation.calibration import Swept

T = TypeVar("T")
ONLINE = OperatingPoint(mode="online")
THRESHOLD_NAMES = ("tau_active", "rho_update", "delta_new")
SHOWN = 10  # of the triples tried
THRESHOLDS = tuple(round(0.3 + 0.05 * step, 2) for step in range(19))  # 0.30 … 1.20


def calibrate(
    corpus: CorpusOption = "ami-excerpts",
    split: Annotated[str, typer.Option(help="Split to tune on. Never the one that a study scores.")] = "calib",
    embedding: EmbeddingOption = None,
    trust: TrustOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Tune for the offline mode instead of streaming.")] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Tune tau_active, rho_update and delta_new of the online mode instead.")
    ] = False,
    format: FormatOption = "table",
) -> None:
    """Tune the clustering threshold on a split set aside for it, with the FP32 model at C = 1 s and R = 0.

    A threshold depends on the embedding and, to a lesser degree, on the kind of audio. Tune it once on your corpus and
    write it into your study's file as `clustering_threshold` under `[models]`. It then stays fixed for every trial.

        explorer calibrate --corpus ./recordings

        explorer calibrate --corpus ./recordings --offline

        explorer calibrate --corpus ./recordings --online

    *Δ DER* is the difference to the chosen threshold, with the 95 % interval of a paired bootstrap over recordings.
    **tied** marks a threshold that these recordings cannot distinguish from it.

    The thresholds of the online mode go under `[space]`, where a value is used by every trial and a range is searched.
    """
    if online and offline:
        raise OperatingPointError("--online and --offline are two modes: give one of them")
    # imported late, so that `explorer --help` does not load torch
    from objectives.evaluation.calibration import online_sweep, threshold_sweep
    from objectives.evaluation.evaluator import build_evaluator

    settings = EvaluatorSettings(corpus=corpus, split=split, embedding=embedding, trusted=trusted_files(trust))
    with progress() as show, build_evaluator(settings) as evaluator:
        print_remarks(evaluator.remarks)
        point = OFFLINE_BASELINE if offline else BASELINE
        if online:
            tracked = online_sweep(evaluator, ONLINE, lambda fraction: show("tracking", fraction))
        else:
            swept = threshold_sweep(evaluator, THRESHOLDS, point, lambda fraction: show("clustering", fraction))
    if online:
        _report_online(*tracked, corpus, split, format)
    else:
        _report(*swept, corpus, split, point, format)


def _report(
    found: "Sequence[Swept[float]]", best: float, corpus: str, split: str, point: OperatingPoint, format: TableOrJson
) -> None:
    beside = _beside(found, best)
    if format == "json":
        sweep = [{"threshold": one.value, "der": one.der, **_as_json(beside[one.value])} for one in found]
        answer = {"corpus": corpus, "split": split, "mode": point.mode, "best": best, "sweep": sweep}
        echo_json(answer)
        return
    table = Table("threshold", "DER %", words("Δ DER to the chosen"))
    for one in found:
        cells = [f"{one.value:.2f}", f"{one.der:.2f}", _in_words(beside[one.value])]
        table.add(*cells, style="bold green" if one.value == best else "")
    console = screen()
    print_table(table, console)
    say(
        f"Lowest DER on {corpus} {split}, {point.mode}, at clustering_threshold = {best:.2f} "
        "(the middle of its plateau)",
        console,
    )
    _say_method(found, split, console)


def _report_online(
    found: "Sequence[Swept[OnlineTracking]]", best: OnlineTracking, corpus: str, split: str, format: TableOrJson
) -> None:
    beside = _beside(found, best)
    if format == "json":
        sweep = [{**_triple(one.value), "der": one.der, **_as_json(beside[one.value])} for one in found]
        answer = {"corpus": corpus, "split": split, "mode": "online", "best": _triple(best), "sweep": sweep}
        echo_json(answer)
        return
    table = Table(*THRESHOLD_NAMES, "DER %", words("Δ DER to the chosen"), keys=len(THRESHOLD_NAMES))
    ranked = sorted(found, key=lambda one: one.der)
    for one in [one for place, one in enumerate(ranked) if place < SHOWN or one.value == best]:
        cells = [
            *(f"{value:g}" for value in _triple(one.value).values()),
            f"{one.der:.2f}",
            _in_words(beside[one.value]),
        ]
        table.add(*cells, style="bold green" if one.value == best else "")
    console = screen()
    print_table(table, console)
    lines = ", ".join(f"{name} = {value:g}" for name, value in _triple(best).items())
    say(
        f"{len(found)} triples on {corpus} {split}, the best of them shown. Lowest DER with its neighbours in "
        f"delta_new: {lines}",
        console,
    )
    _say_method(found, split, console)


def _beside(found: "Sequence[Swept[T]]", best: T) -> "dict[T, Points | None]":
    """Return by how many points the DER of each value is above that of the chosen one; None for the chosen one."""
    from explorer.statistics.differences import points, scored_of

    chosen = next(scored_of(one.counts) for one in found if one.value == best)
    return {one.value: None if one.value == best else points(scored_of(one.counts), chosen) for one in found}


def _in_words(one: "Points | None") -> str:
    from explorer.statistics.differences import told_points

    return "" if one is None else told_points(one)


def _as_json(one: "Points | None") -> dict[str, float | bool | None]:
    from explorer.statistics.differences import ends

    low, high = (None, None) if one is None else ends(one.interval)
    tied = None if one is None else one.tied
    return {"der_difference": 0.0 if one is None else one.points, "der_low": low, "der_high": high, "tied": tied}


def _say_method(found: "Sequence[Swept[T]]", split: str, console: Console) -> None:
    from explorer.front.comparisons import notes

    for line in notes(len(found[0].counts), split):
        say(line, console)


def _triple(tracking: OnlineTracking) -> dict[str, float]:
    thresholds = {name: getattr(tracking, name) for name in THRESHOLD_NAMES}
    return {name: value for name, value in thresholds.items() if value is not None}
