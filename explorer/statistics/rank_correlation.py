"""Rank correlations of figures over recordings, with their confidence intervals."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ConstantInputWarning, pearsonr, rankdata, spearmanr

from explorer.statistics.bootstrap import LEVEL, RESAMPLES, SEED

FEWEST = 4  # recordings: with fewer, a rank correlation says nothing


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation, from −1 to 1. low, high: its 95 % percentile interval by the bootstrap over
    recordings."""

    value: float
    low: float
    high: float


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> RankCorrelation | None:
    """Return the rank correlation of two figures over the same recordings.

    None with fewer than FEWEST recordings, or if one figure is constant. Draws in which one figure is constant have no
    correlation and are ignored. Raises ValueError if the figures are not of the same recordings.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} figures are not of the same recordings")
    if len(x) < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    drawn = np.random.default_rng(SEED).integers(len(x), size=(RESAMPLES, len(x)))
    ranks = rankdata(np.array([x, y], float)[:, drawn], axis=-1)  # (2, resamples, recordings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        correlations = pearsonr(*ranks, axis=-1).statistic
    low, high = np.nanquantile(correlations, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return RankCorrelation(float(spearmanr(x, y).statistic), float(low), float(high))
