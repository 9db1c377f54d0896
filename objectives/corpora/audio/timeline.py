"""Place pieces of audio in time by their time stamps: gaps become silence, and nothing else is moved."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

AHEAD = 16  # pieces that must all be late before silence is inserted: a single late stamp is jitter
TOLERANCE = 0.005  # seconds: more than the rounding of time stamps, and less than any real gap
BACK = 0.05  # seconds by which a stamp may precede the previous one
LONGEST_PAUSE = 24 * 3600.0  # seconds: a longer pause means a damaged clock


class ClockError(Exception):
    """Raised for inconsistent time stamps. The message does not name the file."""


@dataclass(frozen=True)
class Stamped:
    """A piece of audio from a decoder or a demuxer.

    stamp: time of its first sample in seconds on the file's clock; None if it has none. samples: how many, at `rate`
    Hz. sound: (channels, samples) float32; None if only lengths are needed. anew: the clock restarts with this piece,
    which directly follows the one before it.
    """

    stamp: float | None
    samples: int
    rate: int
    sound: np.ndarray | None = None
    anew: bool = False


class Timeline:
    """Places pieces by their stamps, relative to the first one.

    tolerance: seconds by which a stamp may be off. pauses, silence: number and total seconds of gaps filled so far.
    """

    def __init__(self, tolerance: float = TOLERANCE) -> None:
        self.pauses = 0
        self.silence = 0.0
        self._tolerance = tolerance
        self._position = 0.0  # seconds placed so far
        self._origin: float | None = None  # the stamp at position 0
        self._last: float | None = None

    def place(self, pieces: Iterable[Stamped]) -> Iterator[tuple[int, Stamped]]:
        """Iterate over the pieces, each with the number of silent samples before it. Raises ClockError."""
        waiting: deque[Stamped] = deque()
        for piece in pieces:
            waiting.append(piece)
            if len(waiting) > AHEAD:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(self, waiting: deque[Stamped]) -> tuple[int, Stamped]:
        piece = waiting[0]
        if piece.anew:
            self._origin = self._last = None
        if piece.stamp is not None:
            if self._last is not None and piece.stamp < self._last - BACK:
                raise ClockError(f"its clock runs back, from {self._last:.3f} to {piece.stamp:.3f} s")
            self._last = piece.stamp
        gap = self._gap(waiting)
        silent = round(gap * piece.rate)
        if silent:
            self.pauses += 1
            self.silence += gap
        self._position += (silent + piece.samples) / piece.rate
        waiting.popleft()
        return silent, piece

    def _gap(self, waiting: Iterable[Stamped]) -> float:
        """Return the seconds of silence before the first of these pieces: the smallest delay of any of them."""
        position, least = self._position, math.inf
        for number, piece in enumerate(waiting):
            if number and piece.anew:
                break
            if piece.stamp is not None:
                if self._origin is None:
                    self._origin = piece.stamp - position
                late = piece.stamp - self._origin - position
                if late <= self._tolerance:
                    return 0.0
                least = min(least, late)
            position += piece.samples / piece.rate
        if least == math.inf:  # none of them has a stamp
            return 0.0
        if least > LONGEST_PAUSE:
            raise ClockError(f"its clock jumps by {least:.0f} s, more than a day")
        return least
