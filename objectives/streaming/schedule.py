"""When what is heard, and which part of a window an update emits. Needs no torch.

Update k = 1 … ceil(T / C) has heard e = min(kC + R, T). The model sees the 10 s that end at e, zeros before 0, and
the block emitted is [(k-1)C, kC). All positions are integer samples, so that blocks tile the recording exactly.
"""

import math
import sys
from dataclasses import dataclass

import numpy as np

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.released_pipeline import MIN_DURATION_OFF
from objectives.streaming.clustering import ANCHOR_SECONDS

ENDLESS = sys.maxsize  # samples of a recording whose end is not known yet


@dataclass(frozen=True)
class Schedule:
    """When what is heard and emitted, in samples, for a recording of `total` samples."""

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
        """[start, end) of the block that an update emits; the last one may be shorter."""
        return self._end(update - 1), min(self._end(update), self.total)

    def heard(self, update: int) -> int:
        """How much of the recording has been heard at an update."""
        return min(self._end(update) + round(self.right_context * SAMPLE_RATE), self.total)

    def news(self, update: int) -> tuple[int, int]:
        """[start, end) of what is heard at an update and was not at the one before."""
        return self.heard(update - 1) if update > 1 else 0, self.heard(update)

    def is_anchor(self, update: int) -> bool:
        """Whether an update's embeddings found clusters: every one for C ≥ 1 s, else the first to end in a second."""
        spacing = round(ANCHOR_SECONDS * SAMPLE_RATE)
        return update == 1 or self._end(update) // spacing > self._end(update - 1) // spacing

    @property
    def anchor_seconds(self) -> float:
        """Distance of two anchors."""
        return max(self.chunk_length, ANCHOR_SECONDS)


def fill_gaps(activity: np.ndarray, step: int, shorter_than: float = MIN_DURATION_OFF) -> np.ndarray:
    """Close each local speaker's pauses of up to `shorter_than` seconds: (frames, speakers) bool → the same shape.

    The released pipeline's post-processing, within what an update has heard: a pause that has not ended by kC + R is
    not known to be short, and stays.
    """
    longest = int(shorter_than * SAMPLE_RATE / step)  # frames
    frames = np.arange(len(activity))[:, None]
    never = len(activity) + longest + 1
    # nearest active frame at or before, and at or after, each frame
    before = np.maximum.accumulate(np.where(activity, frames, -never), axis=0)
    after = np.minimum.accumulate(np.where(activity, frames, 2 * never)[::-1], axis=0)[::-1]
    return after - before - 1 <= longest


@dataclass(frozen=True)
class Block:
    """What an update emits. starts: (cells,) first sample of each cell, which lasts until the next begins. frames:
    (cells, speakers) bool, who of the window's local speakers speaks in it."""

    starts: np.ndarray
    frames: np.ndarray


def cut_block(schedule: Schedule, contract: Contract, update: int, activity: np.ndarray) -> Block:
    """The block of an update out of its window, short pauses closed: (frames, speakers) bool → Block."""
    start, end = schedule.block(update)
    window_start = schedule.heard(update) - contract.window
    first, last = contract.frame_at(np.array([start, end - 1]) - window_start)
    starts = contract.frame_start(np.arange(first, last + 1)) + window_start
    starts[0] = start
    frames = fill_gaps(activity, contract.step)[first : last + 1].copy()  # a view would keep all of it
    return Block(starts, frames)
