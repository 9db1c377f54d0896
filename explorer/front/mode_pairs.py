"""Chunk-wise streaming and online tracking side by side: the cost of names that are final when they are emitted."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from explorer.front.rows import Comparison, FrontRow

Model = tuple[str, str]  # pruning, precision
MOST_LINES = 3  # pairs of curves that are distinguishable in a figure
FEWEST_PLACES = 2  # chunk lengths that make a curve


@dataclass(frozen=True)
class ModePair:
    """One C, R and model in both modes.

    chunk_length, right_context: seconds. *_trial: trial numbers. *_der, *_confusion: percent of scored speech. *_rtf:
    medians. thresholds: those of the online point that differ from the ones tuned for the embedding. latency: seconds,
    of the online point; chunk-wise labels wait for the end of the recording. der_difference: online minus chunk-wise,
    in points, with der_low, der_high and tied as in Comparison.
    """

    chunk_length: float
    right_context: float
    pruning: str
    precision: str
    chunkwise_trial: int
    online_trial: int
    thresholds: Mapping[str, float]
    latency: float
    chunkwise_der: float
    online_der: float
    chunkwise_confusion: float
    online_confusion: float
    chunkwise_rtf: float
    online_rtf: float
    der_difference: float
    der_low: float | None
    der_high: float | None
    tied: bool | None


@dataclass(frozen=True)
class ModeCurve:
    """Pairs of one model at one R, by C: one for each C, with the tuned thresholds if that pair exists."""

    right_context: float
    pruning: str
    precision: str
    pairs: tuple[ModePair, ...]


def mode_pairs(rows: Sequence[FrontRow], compared: Sequence[Comparison]) -> tuple[ModePair, ...]:
    """Return every measured online row with the chunk-wise one of the same C, R and model, by R and C.

    compared: of the rows, as from explorer.front.comparisons.compare.
    """
    by_trial = {row.trial: row for row in rows}
    pairs = [
        _pair(by_trial[one.versus], by_trial[one.trial], one)
        for one in compared
        if one.kind == "online against chunk-wise"
    ]
    return tuple(sorted(pairs, key=lambda pair: (pair.right_context, pair.pruning, pair.precision, pair.chunk_length)))


def mode_curves(pairs: Sequence[ModePair]) -> tuple[ModeCurve, ...]:
    """Return the longest curves over C, unpruned FP32 first; empty if no model has two chunk lengths at one R."""
    found: dict[tuple[float, Model], dict[float, ModePair]] = defaultdict(dict)
    for pair in sorted(pairs, key=lambda pair: len(pair.thresholds)):
        found[pair.right_context, (pair.pruning, pair.precision)].setdefault(pair.chunk_length, pair)
    curves = [
        ModeCurve(right_context, *model, tuple(places[value] for value in sorted(places)))
        for (right_context, model), places in found.items()
        if len(places) >= FEWEST_PLACES
    ]
    plain = ("none", "fp32")
    curves.sort(key=lambda curve: ((curve.pruning, curve.precision) != plain, -len(curve.pairs), curve.right_context))
    return tuple(curves[:MOST_LINES])


def _pair(chunkwise: FrontRow, online: FrontRow, found: Comparison) -> ModePair:
    assert online.latency is not None, "it streams"
    return ModePair(
        chunk_length=chunkwise.point.chunk_length,
        right_context=chunkwise.point.right_context,
        pruning=chunkwise.pruning,
        precision=chunkwise.point.precision,
        chunkwise_trial=found.versus,
        online_trial=found.trial,
        thresholds=online.point.online.untuned,
        latency=online.latency,
        chunkwise_der=found.versus_der,
        online_der=found.der,
        chunkwise_confusion=chunkwise.figures.confusion,
        online_confusion=online.figures.confusion,
        chunkwise_rtf=chunkwise.figures.rtf,
        online_rtf=online.figures.rtf,
        der_difference=found.der_difference,
        der_low=found.der_low,
        der_high=found.der_high,
        tied=found.tied,
    )
