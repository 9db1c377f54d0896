"""Rank correlations of figures over recordings, with their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from explorer.statistics.bootstrap import LEVEL, RESAMPLES, SEED

FEWEST = 4  # recordings: with fewer, a rank correlation says nothing


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation, from −1 to 1. low, high: its 95 % percentile interval by the bootstrap over
    recordings. recordings: how many it was computed from."""

    value: float
    low: float
    high: float
    recordings: int

    @property
    def contains_zero(self) -> bool:
        """Whether the interval contains zero, so that these recordings show no correlation."""
        return self.low <= 0.0 <= self.high


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> RankCorrelation | None:
    """Return the rank correlation of two figures over the same recordings.

    None with fewer than FEWEST recordings, or if one figure is constant. Draws in which one figure is constant have no
    correlation and are ignored.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} figures are not of the same recordings")
    if len(x) < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    pairs = np.array([x, y], float)  # (2, recordings)
    drawn = np.random.default_rng(SEED).integers(len(x), size=(RESAMPLES, len(x)))
    correlations = _spearman(pairs[0, drawn], pairs[1, drawn])
    low, high = np.nanquantile(correlations, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return RankCorrelation(float(_spearman(pairs[:1], pairs[1:])[0]), float(low), float(high), len(x))


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(draws, recordings) each → (draws,), NaN where a row is constant."""
    a, b = (rankdata(side, axis=1) for side in (x, y))
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (a, b))
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    together = (a * b).sum(axis=1)
    return np.divide(together, spread, out=np.full(len(a), np.nan), where=spread > 0)
