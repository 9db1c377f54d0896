"""How sure a difference of DER is: the paired bootstrap over recordings.

Recordings are drawn with replacement, as many as there are, the same draw for both operating points; each draw gives a
difference of pooled DER, and the interval lies between percentiles of these (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, ch. 13; for paired error rates: Bisani and Ney, ICASSP 2004). Recordings are what differs between
the world and a corpus, and errors within one are not independent, so recordings are drawn and not seconds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
FEWEST = 2  # recordings: a single one has no spread
FEW = 10  # below so many recordings the draws are too much alike for the interval to say much
CHUNK = 2**22  # numbers of draws that are held at once

Scored = Mapping[str, tuple[float, float]]  # recording (URI) → seconds of error, seconds of reference speech


@dataclass(frozen=True)
class Interval:
    """Where a difference of pooled DER lies, in points (percent of scored speech).

    recordings: drawn in each resample. resamples: those that count, since one without any reference speech has no DER.
    level: the share of resamples between low and high, 0.95.
    """

    low: float
    high: float
    recordings: int
    resamples: int
    level: float = LEVEL

    @property
    def contains_zero(self) -> bool:
        """Whether the two cannot be told apart."""
        return self.low <= 0.0 <= self.high

    @property
    def width(self) -> float:
        """Points."""
        return self.high - self.low


def pooled_der(scored: Scored) -> float:
    """Percent. Raises ZeroDivisionError where nothing was scored."""
    return 100.0 * math.fsum(errors for errors, _ in scored.values()) / math.fsum(total for _, total in scored.values())


def difference(ours: Scored, theirs: Scored, resamples: int = RESAMPLES, seed: int = SEED) -> Interval | None:
    """The interval of DER(ours) − DER(theirs). None with fewer than two recordings.

    Raises ValueError where the two were not scored on the same recordings.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"not the same recordings: {sorted(ours.keys() ^ theirs.keys())} are in one of the two only")
    uris = sorted(ours)  # so that a seed means the same whatever the order
    if len(uris) < FEWEST:
        return None
    first, second = (np.array([scored[uri] for uri in uris]) for scored in (ours, theirs))  # (recordings, 2)
    random = np.random.default_rng(seed)
    found = []
    at_once = max(1, CHUNK // len(uris))
    for start in range(0, resamples, at_once):
        drawn = min(at_once, resamples - start)
        times = random.multinomial(len(uris), np.full(len(uris), 1 / len(uris)), size=drawn)  # (drawn, recordings)
        a, b = times @ first, times @ second  # (drawn, 2): seconds of error, of reference speech
        heard = (a[:, 1] > 0) & (b[:, 1] > 0)
        found.append(100.0 * (a[heard, 0] / a[heard, 1] - b[heard, 0] / b[heard, 1]))
    differences = np.concatenate(found)
    if not differences.size:
        return None
    low, high = np.quantile(differences, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(float(low), float(high), len(uris), int(differences.size))
