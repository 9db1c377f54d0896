"""Chunk-wise streaming and online tracking side by side: the cost of names that are final when they are emitted."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from explorer.front.rows import Comparison, FrontRow
from objectives.operating_point import OperatingPoint

MOST_LINES = 3  # pairs of curves that are distinguishable in a figure
FEWEST_PLACES = 2  # chunk lengths that make a curve


@dataclass(frozen=True)
class ModePair:
    """One C, R and model in both modes. comparison: online minus chunk-wise."""

    chunkwise: FrontRow
    online: FrontRow
    comparison: Comparison

    @property
    def point(self) -> OperatingPoint:
        """C, R and the model."""
        return self.chunkwise.point

    @property
    def thresholds(self) -> dict[str, float]:
        """The settings of the online point that are not their defaults."""
        return self.online.point.online.untuned


def mode_pairs(rows: Sequence[FrontRow], compared: Sequence[Comparison]) -> tuple[ModePair, ...]:
    """Return every measured online row with the chunk-wise one of the same C, R and model, by R and C.

    compared: of the rows, as from explorer.front.comparisons.compare.
    """
    by_trial = {row.trial: row for row in rows}
    pairs = [
        ModePair(by_trial[one.versus], by_trial[one.trial], one)
        for one in compared
        if one.kind == "online against chunk-wise"
    ]
    return tuple(sorted(pairs, key=lambda pair: (*_line(pair), pair.point.chunk_length)))


def mode_curves(pairs: Sequence[ModePair]) -> tuple[tuple[ModePair, ...], ...]:
    """Return curves over C: pairs of one model at one R, one for each C, with default settings if that pair exists.

    Unpruned FP32 first, then the longest; empty if no model has two chunk lengths at one R.
    """
    found: dict[tuple[float, str, str], dict[float, ModePair]] = defaultdict(dict)
    for pair in sorted(pairs, key=lambda pair: len(pair.thresholds)):
        found[_line(pair)].setdefault(pair.point.chunk_length, pair)
    curves = [
        tuple(places[value] for value in sorted(places)) for places in found.values() if len(places) >= FEWEST_PLACES
    ]
    curves.sort(key=lambda curve: (curve[0].point.model != "fp32", -len(curve), curve[0].point.right_context))
    return tuple(curves[:MOST_LINES])


def _line(pair: ModePair) -> tuple[float, str, str]:
    return pair.point.right_context, str(pair.point.pruning), pair.point.precision
