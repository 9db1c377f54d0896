"""`explorer calibrate`: tune the thresholds of an embedding on the split *calib*."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from explorer.commands.options import (
    CorpusOption,
    EmbeddingOption,
    FormatOption,
    SpeakersOption,
    TrustOption,
    speakers_of,
    trusted_files,
)
from explorer.statistics.differences import Points, ends, points, points_in_words, scored_of
from explorer.terminal.corpus_remarks import print_remarks
from explorer.terminal.progress import progress
from explorer.terminal.screen import say, screen
from explorer.terminal.streams import echo_json
from explorer.terminal.tables import Table, print_table, words
from objectives.errors import OperatingPointError
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import BASELINE, OFFLINE_BASELINE, OnlineTracking, OperatingPoint

if TYPE_CHECKING:  # imports torch
    from objectives.evaluation.calibration import Swept

ONLINE = OperatingPoint(mode="online")
SHOWN = 10  # of the triples tried
THRESHOLDS = tuple(round(0.3 + 0.05 * step, 2) for step in range(19))  # 0.30 … 1.20


def calibrate(
    corpus: CorpusOption = "ami-excerpts",
    split: Annotated[str, typer.Option(help="Split to tune on. Never the one that a study scores.")] = "calib",
    embedding: EmbeddingOption = None,
    speakers: SpeakersOption = None,
    trust: TrustOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Tune for the offline mode instead of streaming.")] = False,
    online: Annotated[
        bool,
        typer.Option(
            "--online", help="Tune tau_active, rho_update and delta_new instead, if the online mode is to use them."
        ),
    ] = False,
    format: FormatOption = "table",
) -> None:
    """Tune a clustering threshold on a split set aside for it, with the FP32 model at C = 1 s and R = 0.

    Chunk-wise streaming needs none: without one, the number of speakers is the one with the best silhouette. The
    offline mode has the embedding's own if you give none.

    A threshold depends on the embedding and, to a lesser degree, on the kind of audio. Tune it once on your corpus and
    write it into your study's file as `clustering_threshold` under `[models]`. It then stays fixed for every trial.

        explorer calibrate --corpus ./recordings

        explorer calibrate --corpus ./recordings --offline

        explorer calibrate --corpus ./recordings --online

    *Δ DER* is the difference to the chosen threshold, with the 95 % interval of a paired bootstrap over recordings.
    **tied** marks a threshold that these recordings cannot distinguish from it.

    The online mode needs no thresholds. Those that you tune go under `[space]`, where a value is used by every trial
    and a range is searched.
    """
    if online and offline:
        raise OperatingPointError("--online and --offline are two modes: give one of them")
    known = speakers_of(speakers)
    if known is not None and known[0] == known[1] and not online and not offline:
        raise OperatingPointError(
            f"--speakers {speakers}: a known number of speakers needs no threshold while streaming, so nothing is left "
            "to tune: write it under [models] of the study, or give a range"
        )
    # imported late, so that `explorer --help` does not load torch
    from objectives.evaluation.calibration import online_sweep, threshold_sweep
    from objectives.evaluation.evaluator import build_evaluator

    settings = EvaluatorSettings(
        corpus=corpus,
        split=split,
        embedding=embedding,
        speakers=known,
        trusted=trusted_files(trust),
    )
    point = ONLINE if online else OFFLINE_BASELINE if offline else BASELINE
    found: Sequence[Swept[Any]]
    best: float | OnlineTracking
    with progress() as show, build_evaluator(settings) as evaluator:
        print_remarks(evaluator.remarks)
        if online:
            found, best = online_sweep(evaluator, point, lambda fraction: show("tracking", fraction))
        else:
            found, best = threshold_sweep(evaluator, THRESHOLDS, point, lambda fraction: show("clustering", fraction))
    chosen = next(scored_of(one.counts) for one in found if one.value == best)
    beside = {one.value: None if one.value == best else points(scored_of(one.counts), chosen) for one in found}
    if format == "json":
        sweep = [{**_named(one.value), "der": one.der, **_as_json(beside[one.value])} for one in found]
        lowest = _named(best) if online else best
        echo_json({"corpus": corpus, "split": split, "mode": point.mode, "best": lowest, "sweep": sweep})
    else:
        _print(found, best, beside, f"{corpus} {split}", split, point)


def _print(
    found: "Sequence[Swept[Any]]",
    best: float | OnlineTracking,
    beside: dict[Any, Points | None],
    where: str,
    split: str,
    point: OperatingPoint,
) -> None:
    from explorer.front.comparisons import notes  # imported late: it loads Optuna

    names = _named(best)
    table = Table(*names, "DER %", words("Δ DER to the chosen"), keys=len(names))
    if isinstance(best, OnlineTracking):
        ranked = sorted(found, key=lambda one: one.der)
        shown: Sequence[Swept[Any]] = [one for place, one in enumerate(ranked) if place < SHOWN or one.value == best]
        chosen = ", ".join(f"{name} = {value:g}" for name, value in names.items())
        answer = (
            f"{len(found)} triples on {where}, the best of them shown. Lowest DER with its neighbours in delta_new: "
            f"{chosen}"
        )
    else:
        shown = found
        answer = (
            f"Lowest DER on {where}, {point.mode}, at clustering_threshold = {best:.2f} (the middle of its plateau)"
        )
    for one in shown:
        cells = [f"{value:g}" if len(names) > 1 else f"{value:.2f}" for value in _named(one.value).values()]
        difference = beside[one.value]
        cells += [f"{one.der:.2f}", "" if difference is None else points_in_words(difference)]
        table.add(*cells, style="bold green" if one.value == best else "")
    console = screen()
    print_table(table, console)
    for line in (answer, *notes(len(found[0].counts), split)):
        say(line, console)


def _named(value: float | OnlineTracking) -> dict[str, float]:
    """Return the thresholds that were tuned, by name."""
    if isinstance(value, OnlineTracking):
        found = {name: getattr(value, name) for name in ("tau_active", "rho_update", "delta_new")}
        return {name: one for name, one in found.items() if one is not None}
    return {"threshold": value}


def _as_json(one: Points | None) -> dict[str, float | bool | None]:
    if one is None:
        return {"der_difference": 0.0, "der_low": None, "der_high": None, "tied": None}
    low, high = ends(one.interval)
    return {"der_difference": one.points, "der_low": low, "der_high": high, "tied": one.tied}
