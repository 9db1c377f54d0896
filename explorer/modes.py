"""Chunk-wise streaming and online tracking side by side: what it costs that names are final when they are emitted."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from optuna.trial import FrozenTrial

from explorer import bootstrap, roles
from explorer.front import FrontRow
from objectives.operating_point import AS_TUNED

Model = tuple[str, str]  # pruning, precision
TUNED = asdict(AS_TUNED)
MOST_LINES = 3  # pairs of curves that a figure can hold apart
FEWEST_PLACES = 2  # chunk lengths that make a curve


@dataclass(frozen=True)
class ModePair:
    """One C, R and model in both modes.

    chunk_length, right_context: seconds. *_trial: their numbers; *_der, *_confusion: percent of scored speech; *_rtf:
    medians. thresholds: those of the online one that are not what was tuned for the embedding. latency: seconds, of the
    online one; chunk-wise labels wait for the end of the recording. difference: of DER, online less chunk-wise, in
    points. low, high: its 95 % interval by the paired bootstrap over recordings, None with a single recording. tied:
    whether that holds zero.
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
    difference: float
    low: float | None
    high: float | None
    tied: bool


@dataclass(frozen=True)
class ModeCurve:
    """Pairs of one model at one R, by C: one for each C, with the thresholds that were tuned where they are there."""

    right_context: float
    pruning: str
    precision: str
    pairs: tuple[ModePair, ...]


def mode_pairs(rows: Sequence[FrontRow], trials: Mapping[int, FrozenTrial]) -> tuple[ModePair, ...]:
    """Every measured online row beside the chunk-wise one of the same C, R and model, by R and C.

    trials: of the rows, whole, by number.
    """
    measured = [row for row in rows if row.der is not None]
    chunkwise = {_place(row): row for row in measured if row.mode == "chunk-wise"}
    seen = set()
    pairs = []
    for row in measured:
        other = chunkwise.get(_place(row))
        which = (_place(row), tuple((row.online or {}).items()))
        if row.mode == "online" and other is not None and which not in seen:
            seen.add(which)  # a point that was drawn twice has the same figures
            pairs.append(_pair(other, row, trials))
    return tuple(sorted(pairs, key=lambda pair: (pair.right_context, pair.pruning, pair.precision, pair.chunk_length)))


def mode_curves(pairs: Sequence[ModePair]) -> tuple[ModeCurve, ...]:
    """The longest curves over C, unpruned FP32 first; none where no model has two chunk lengths at one R."""
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


def _place(row: FrontRow) -> tuple[float | None, float | None, str, str]:
    return row.chunk_length, row.right_context, row.pruning, row.precision


def _pair(chunkwise: FrontRow, online: FrontRow, trials: Mapping[int, FrozenTrial]) -> ModePair:
    numbers = chunkwise.trial, online.trial
    figures = (
        chunkwise.chunk_length, chunkwise.right_context, online.latency, chunkwise.der, online.der,
        chunkwise.confusion, online.confusion, chunkwise.rtf, online.rtf,
    )  # fmt: skip
    assert None not in (*numbers, *figures), "a row with a DER has the rest as well"
    chunkwise_trial, online_trial = (int(one) for one in numbers if one is not None)
    length, context, latency, der, other_der, confusion, other_confusion, rtf, other_rtf = (
        float(one) for one in figures if one is not None
    )
    interval = bootstrap.difference(roles.scored(trials[online_trial]), roles.scored(trials[chunkwise_trial]))
    return ModePair(
        chunk_length=length,
        right_context=context,
        pruning=chunkwise.pruning,
        precision=chunkwise.precision,
        chunkwise_trial=chunkwise_trial,
        online_trial=online_trial,
        thresholds={
            name: value for name, value in (online.online or {}).items() if value is not None and value != TUNED[name]
        },
        latency=latency,
        chunkwise_der=der,
        online_der=other_der,
        chunkwise_confusion=confusion,
        online_confusion=other_confusion,
        chunkwise_rtf=rtf,
        online_rtf=other_rtf,
        difference=other_der - der,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        tied=interval is not None and interval.contains_zero,
    )
