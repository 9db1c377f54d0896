"""By how many points of DER two operating points differ on the same recordings, with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass

from explorer.statistics import bootstrap
from explorer.statistics.bootstrap import Interval, Scored
from objectives.measurement import ErrorCounts


@dataclass(frozen=True)
class Points:
    """A difference of DER in points. interval: of it, None with a single recording. tied: whether that holds zero, so
    that these recordings cannot tell it from none; None where there is no interval."""

    points: float
    interval: Interval | None
    tied: bool | None


def scored_of(counts: Mapping[str, ErrorCounts], less: Mapping[str, ErrorCounts] | None = None) -> Scored:
    """(seconds of error, seconds of reference speech) by recording. less: errors to be taken off."""
    off = {uri: 0.0 if less is None else less[uri].seconds for uri in counts}
    return {uri: (one.seconds - off[uri], one.total) for uri, one in counts.items()}


def points(ours: Scored, theirs: Scored) -> Points:
    """By how much ours is more."""
    more = bootstrap.pooled_der(ours) - bootstrap.pooled_der(theirs)
    return told_apart(more, bootstrap.difference(ours, theirs))


def told_apart(more: float, interval: Interval | None) -> Points:
    """A difference and what its interval says of it."""
    return Points(more, interval, None if interval is None else interval.contains_zero)


def in_words(difference: float, low: float | None, high: float | None, tied: bool | None) -> str:
    """`+1.25 [−0.10, +2.60] tied`; a difference alone where it has no interval."""
    if low is None or high is None:
        return _signed(difference)
    return f"{_signed(difference)} [{_signed(low)}, {_signed(high)}]" + (" tied" if tied else "")


def told_points(one: Points) -> str:
    """The same of a value."""
    low, high = ends(one.interval)
    return in_words(one.points, low, high, one.tied)


def ends(interval: Interval | None) -> tuple[float | None, float | None]:
    """(low, high)."""
    return (None, None) if interval is None else (interval.low, interval.high)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
