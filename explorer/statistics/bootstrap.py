"""Confidence intervals of differences of DER: the paired bootstrap over recordings.

As many recordings as there are, are drawn with replacement, and the same draw is used for both operating points. Each
draw gives a difference of pooled DER, and the interval lies between percentiles of these (Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, ch. 13; for paired error rates: Bisani and Ney, ICASSP 2004). Recordings are drawn
rather than seconds, since a corpus is a sample of recordings and errors within one recording are not independent.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
FEWEST = 2  # recordings: a single one has no spread
FEW = 10  # recordings: with fewer, the draws are too much alike for the interval to say much
CHUNK = 2**22  # most counts (draws × recordings) in memory at once

Scored = Mapping[str, tuple[float, float]]  # recording (URI) → seconds of error, seconds of reference speech
Rates = npt.NDArray[np.float64]  # (resamples,): a point's DER as a share, NaN if no recording with speech was drawn


@dataclass(frozen=True)
class Interval:
    """The interval of a difference of pooled DER, in points (percent of scored speech).

    recordings: how many are drawn in each resample. resamples: how many were used; one without any reference speech has
    no DER. level: the share of resamples between low and high, 0.95.

    >>> tied = Interval(low=-0.5, high=1.5, recordings=12, resamples=10_000)
    >>> tied.contains_zero, tied.width
    (True, 2.0)
    """

    low: float
    high: float
    recordings: int
    resamples: int
    level: float = LEVEL

    @property
    def contains_zero(self) -> bool:
        """Whether the two DERs cannot be distinguished."""
        return self.low <= 0.0 <= self.high

    @property
    def width(self) -> float:
        """The width of the interval, in points."""
        return self.high - self.low


def pooled_der(scored: Scored) -> float:
    """Return the pooled DER in percent. Raises ZeroDivisionError if nothing was scored."""
    return 100.0 * math.fsum(errors for errors, _ in scored.values()) / math.fsum(total for _, total in scored.values())


class Resampler:
    """The draws of a set of recordings (URIs), made once for all points that are compared on them.

    `difference` would make the same draws again for each pair.
    """

    def __init__(self, uris: Collection[str], resamples: int = RESAMPLES, seed: int = SEED) -> None:
        self._uris = sorted(uris)  # so that a seed gives the same draws in any order
        self._draws = _drawn(len(self._uris), resamples, seed) if len(self._uris) >= FEWEST else ()

    def rates(self, scored: Scored) -> Rates:
        """Return a point's DER in each resample. Raises ValueError if it was scored on other recordings."""
        if scored.keys() != set(self._uris):
            raise ValueError(f"not the same recordings: {sorted(scored.keys() ^ set(self._uris))} are in one of two")
        seconds = np.array([scored[uri] for uri in self._uris]).reshape(-1, 2)  # (recordings, 2)
        rates = [np.empty(0)]
        for times in self._draws:
            errors, spoken = (times.astype(float) @ seconds).T  # (drawn,) each
            has_speech = spoken > 0
            rates.append(np.divide(errors, spoken, out=np.full(len(times), np.nan), where=has_speech))
        return np.concatenate(rates)

    def interval(self, ours: Rates, theirs: Rates) -> Interval | None:
        """Return the interval of DER(ours) − DER(theirs). None with fewer than two recordings, or without speech."""
        differences = 100.0 * (ours - theirs)
        differences = differences[~np.isnan(differences)]
        if not differences.size:
            return None
        low, high = np.quantile(differences, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        return Interval(float(low), float(high), len(self._uris), int(differences.size))


def difference(ours: Scored, theirs: Scored, resamples: int = RESAMPLES, seed: int = SEED) -> Interval | None:
    """Return the interval of DER(ours) − DER(theirs). None with fewer than two recordings, or without any speech.

    Raises ValueError if the two were not scored on the same recordings.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"not the same recordings: {sorted(ours.keys() ^ theirs.keys())} are in one of the two only")
    resampler = Resampler(ours.keys(), resamples, seed)
    return resampler.interval(resampler.rates(ours), resampler.rates(theirs))


def _drawn(recordings: int, resamples: int, seed: int) -> tuple[npt.NDArray[np.unsignedinteger], ...]:
    """Return how often each recording is drawn, in arrays of (drawn, recordings) of the smallest type that fits."""
    random = np.random.default_rng(seed)
    at_once = max(1, CHUNK // recordings)
    share = np.full(recordings, 1 / recordings)
    sizes = (min(at_once, resamples - start) for start in range(0, resamples, at_once))
    drawn = (random.multinomial(recordings, share, size=size) for size in sizes)
    return tuple(times.astype(np.min_scalar_type(times.max())) for times in drawn)
