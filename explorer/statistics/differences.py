"""The difference in DER, in points, between two operating points on the same recordings, with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass

from explorer.statistics import bootstrap
from explorer.statistics.bootstrap import Interval, Scored
from objectives.measurement import ErrorCounts


@dataclass(frozen=True)
class Points:
    """A difference of DER in points. interval: its interval, None with a single recording. tied: whether the interval
    contains zero, so that these recordings show no difference; None if there is no interval."""

    points: float
    interval: Interval | None
    tied: bool | None


def scored_of(counts: Mapping[str, ErrorCounts], less: Mapping[str, ErrorCounts] | None = None) -> Scored:
    """Return (seconds of error, seconds of reference speech) by recording. less: errors to be subtracted."""
    subtracted = {uri: 0.0 if less is None else less[uri].seconds for uri in counts}
    return {uri: (count.seconds - subtracted[uri], count.total) for uri, count in counts.items()}


def points(ours: Scored, theirs: Scored) -> Points:
    """Return the difference DER(ours) − DER(theirs)."""
    interval = bootstrap.difference(ours, theirs)
    more = bootstrap.pooled_der(ours) - bootstrap.pooled_der(theirs)
    return Points(more, interval, None if interval is None else interval.contains_zero)


def signed(value: float, digits: int = 2) -> str:
    """Format a number with its sign: `+1.25`, `−0.10`."""
    return f"{value:+.{digits}f}".replace("-", "−")


def in_words(difference: float, low: float | None, high: float | None, tied: bool | None) -> str:
    """Return `+1.25 [−0.10, +2.60] tied`; only the difference if it has no interval."""
    if low is None or high is None:
        return signed(difference)
    return f"{signed(difference)} [{signed(low)}, {signed(high)}]" + (" tied" if tied else "")


def points_in_words(difference: Points) -> str:
    """Return a difference in words, as `in_words` does."""
    low, high = ends(difference.interval)
    return in_words(difference.points, low, high, difference.tied)


def ends(interval: Interval | None) -> tuple[float | None, float | None]:
    """Return (low, high), both None if there is no interval."""
    return (None, None) if interval is None else (interval.low, interval.high)


def few_recordings(recordings: int) -> str:
    """Return the caveat of differences over so few recordings; empty if there are enough."""
    if recordings < bootstrap.FEWEST:
        return "a single recording: no difference has an interval"
    return f"few recordings ({recordings}): intervals tend to be too narrow" if recordings < bootstrap.FEW else ""
