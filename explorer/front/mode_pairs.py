"""Chunk-wise streaming and online tracking side by side: the cost of names that are final when they are emitted."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from explorer.front.comparisons import Comparison
from explorer.front.rows import FrontRow
from objectives.operating_point import AS_TUNED

Model = tuple[str, str]  # pruning, precision
TUNED = asdict(AS_TUNED)
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


def untuned(row: FrontRow) -> dict[str, float]:
    """Return the settings of an online row's tracking that differ from those tuned for the embedding, by name."""
    return {name: value for name, value in (row.online or {}).items() if value is not None and value != TUNED[name]}


def mode_in_words(row: FrontRow) -> str:
    """Describe a mode: `online`; `online, delta_new 0.6` if that is not as tuned."""
    return ", ".join([row.mode, *(f"{name} {value:.4g}" for name, value in untuned(row).items())])


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
    figures = (
        chunkwise.chunk_length, chunkwise.right_context, online.latency, chunkwise.confusion, online.confusion,
        chunkwise.rtf, online.rtf,
    )  # fmt: skip
    assert None not in figures, "a row with a DER has the rest as well"
    length, context, latency, confusion, other_confusion, rtf, other_rtf = (
        float(one) for one in figures if one is not None
    )
    return ModePair(
        chunk_length=length,
        right_context=context,
        pruning=chunkwise.pruning,
        precision=chunkwise.precision,
        chunkwise_trial=found.versus,
        online_trial=found.trial,
        thresholds=untuned(online),
        latency=latency,
        chunkwise_der=found.versus_der,
        online_der=found.der,
        chunkwise_confusion=confusion,
        online_confusion=other_confusion,
        chunkwise_rtf=rtf,
        online_rtf=other_rtf,
        der_difference=found.der_difference,
        der_low=found.der_low,
        der_high=found.der_high,
        tied=found.tied,
    )
