"""What each update hears, and which part of its window it emits. Needs no torch.

Update k = 1 … ceil(T / C) has heard the audio up to e = min(kC + R, T). The model sees the W seconds (10 s) that end at
e, with zeros before 0. The block emitted is [(k-1)C, kC). All positions are integer samples, so that blocks tile the
recording exactly.
"""

import math
import sys
from dataclasses import dataclass

import numpy as np

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.released_pipeline import MIN_DURATION_OFF

ANCHOR_SECONDS = 1.0  # an anchor is taken every max(C, 1 s)
ENDLESS = sys.maxsize  # length in samples of a recording whose end is not known yet


@dataclass(frozen=True)
class Schedule:
    """What each update hears and emits, in samples, for a recording of `total` samples."""

    total: int
    chunk_length: float
    right_context: float

    def __len__(self) -> int:
        """Number of updates, ceil(T / C)."""
        updates = math.ceil(self.total / (self.chunk_length * SAMPLE_RATE))
        while self._end(updates) < self.total:
            updates += 1
        while updates > 0 and self._end(updates - 1) >= self.total:
            updates -= 1
        return updates

    def _end(self, update: int) -> int:
        return round(update * self.chunk_length * SAMPLE_RATE)

    def block(self, update: int) -> tuple[int, int]:
        """Return [start, end) of the block that an update emits. The last block may be shorter."""
        return self._end(update - 1), min(self._end(update), self.total)

    def heard(self, update: int) -> int:
        """Return the number of samples that have been heard at an update."""
        return min(self._end(update) + round(self.right_context * SAMPLE_RATE), self.total)

    def news(self, update: int) -> tuple[int, int]:
        """Return [start, end) of the audio that is heard at an update but was not at the previous one."""
        return self.heard(update - 1) if update > 1 else 0, self.heard(update)

    def is_anchor(self, update: int) -> bool:
        """Return whether the window of an update decides on names: every update's if C ≥ 1 s, else that of the first
        update to end in each second."""
        spacing = round(ANCHOR_SECONDS * SAMPLE_RATE)
        return update == 1 or self._end(update) // spacing > self._end(update - 1) // spacing


def fill_gaps(activity: np.ndarray, step: int, shorter_than: float = MIN_DURATION_OFF) -> np.ndarray:
    """Close each local speaker's pauses of up to `shorter_than` seconds: (frames, speakers) bool → the same shape.

    This is the released pipeline's post-processing, applied to what an update has heard. A pause that has not ended by
    kC + R is not known to be short, and is left open.
    """
    longest = int(shorter_than * SAMPLE_RATE / step)  # frames
    frames = np.arange(len(activity))[:, None]
    never = len(activity) + longest + 1
    # for each frame, the nearest active frame at or before it, and at or after it
    before = np.maximum.accumulate(np.where(activity, frames, -never), axis=0)
    after = np.minimum.accumulate(np.where(activity, frames, 2 * never)[::-1], axis=0)[::-1]
    return after - before - 1 <= longest


@dataclass(frozen=True)
class Block:
    """What an update emits.

    starts: (cells,) first sample of each cell, which lasts until the next one begins.
    frames: (cells, speakers) bool, which of the window's local speakers speak in it.
    """

    starts: np.ndarray
    frames: np.ndarray


def cut_block(schedule: Schedule, contract: Contract, update: int, activity: np.ndarray) -> Block:
    """Cut the block of an update out of its window, with short pauses closed: (frames, speakers) bool → Block."""
    start, end = schedule.block(update)
    window_start = schedule.heard(update) - contract.window
    first, last = contract.frame_at(np.array([start, end - 1]) - window_start)
    starts = contract.frame_start(np.arange(first, last + 1)) + window_start
    starts[0] = start
    # copied, since a view would keep the whole window in memory
    frames = fill_gaps(activity, contract.step)[first : last + 1].copy()
    return Block(starts, frames)
