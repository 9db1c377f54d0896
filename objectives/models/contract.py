"""The frame, window and powerset contract of a segmentation model: all that is needed to run one. Needs no torch."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

SAMPLE_RATE = 16_000  # Hz, of every waveform in this project


@dataclass(frozen=True)
class Contract:
    """How the model's output frames lie in its input window. All lengths are in samples at 16 kHz.

    window: length of the input.
    frames: number of output frames for a window.
    field: length of a frame's receptive field.
    centre: centre of the receptive field of frame 0.
    step: distance between two frames.
    speakers: number of local speakers in a window.
    max_at_once: most local speakers in one powerset class.

    >>> contract = Contract(160_000, frames=589, field=991, centre=721, step=270, speakers=2, max_at_once=2)
    >>> contract.powerset.astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """

    window: int
    frames: int
    field: int
    centre: int
    step: int
    speakers: int
    max_at_once: int

    @cached_property
    def powerset(self) -> np.ndarray:
        """(classes, speakers) bool: which local speakers are active in each powerset class (arXiv 2310.13025).

        First nobody, then each speaker alone, then each pair, and so on.
        """
        together = [
            active for size in range(self.max_at_once + 1) for active in combinations(range(self.speakers), size)
        ]
        return np.array([[speaker in active for speaker in range(self.speakers)] for active in together])

    def class_of(self, active: np.ndarray) -> np.ndarray:
        """Return the powerset class in which these local speakers are active: (…, speakers) bool → (…) int64."""
        return (active[..., None, :] == self.powerset).all(axis=-1).argmax(axis=-1)

    def frame_at(self, offset: np.ndarray | int) -> np.ndarray:
        """Return the index of the frame whose centre is nearest to a sample of the window: (offsets,) → (offsets,) int.

        Samples beyond the outermost centres belong to the outermost frames.
        """
        nearest = (np.asarray(offset) - (self.centre - self.step // 2)) // self.step
        return np.clip(nearest, 0, self.frames - 1)

    def frame_start(self, frame: np.ndarray | int) -> np.ndarray:
        """Return the first sample of the window to which `frame` is the nearest. (Frame 0 also covers the samples
        before it.)"""
        return np.asarray(frame) * self.step + (self.centre - self.step // 2)
