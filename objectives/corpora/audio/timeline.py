"""Where pieces of sound lie in time, by their time stamps: silence where nothing was sent, nothing else moved."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

AHEAD = 16  # pieces that must all lie later before silence stands in front of them: jitter of one is none
TOLERANCE = 0.005  # seconds: what time stamps are rounded to, and less than anything that is lost
BACK = 0.05  # seconds that a stamp may lie before the one before it
LONGEST_PAUSE = 24 * 3600.0  # seconds: what is longer comes of a damaged clock


class ClockError(Exception):
    """Time stamps that cannot be followed; its text says which, without the file's name."""


@dataclass(frozen=True)
class Stamped:
    """A piece of sound as a decoder, or a demuxer, gives it.

    stamp: seconds on the file's clock of its first sample; None if it has none. samples: how many, at `rate` Hz. sound:
    (channels, samples) float32; None where only lengths are wanted. anew: the clock starts again with this piece, which
    follows the one before it.
    """

    stamp: float | None
    samples: int
    rate: int
    sound: np.ndarray | None = None
    anew: bool = False


class Timeline:
    """Puts pieces where their stamps say, relative to the first one.

    tolerance: seconds that a stamp may be off.
    pauses, silence: number of gaps, and seconds, that were filled so far.
    """

    def __init__(self, tolerance: float = TOLERANCE) -> None:
        self.pauses = 0
        self.silence = 0.0
        self._tolerance = tolerance
        self._position = 0.0  # seconds placed so far
        self._origin: float | None = None  # what a stamp says at position 0
        self._last: float | None = None

    def place(self, pieces: Iterable[Stamped]) -> Iterator[tuple[int, Stamped]]:
        """Each piece, with the number of silent samples before it. Raises ClockError."""
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
        self._refuse_back(piece)
        gap = self._gap(waiting)
        silent = round(gap * piece.rate)
        if silent:
            self.pauses += 1
            self.silence += gap
        self._position += (silent + piece.samples) / piece.rate
        waiting.popleft()
        return silent, piece

    def _refuse_back(self, piece: Stamped) -> None:
        if piece.stamp is None:
            return
        if self._last is not None and piece.stamp < self._last - BACK:
            raise ClockError(f"its clock runs back, from {self._last:.3f} to {piece.stamp:.3f} s")
        self._last = piece.stamp

    def _gap(self, waiting: Iterable[Stamped]) -> float:
        """Seconds of silence before the first of these: the least by which any of them lies later than it would."""
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
        if least == math.inf:  # none of them bears a stamp
            return 0.0
        if least > LONGEST_PAUSE:
            raise ClockError(f"its clock jumps by {least:.0f} s, more than a day")
        return least
