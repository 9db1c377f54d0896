"""The frame, window and powerset contract of a segmentation model, as anybody needs it who runs one. Needs no torch."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

SAMPLE_RATE = 16_000  # Hz, of every waveform in this project


@dataclass(frozen=True)
class Contract:
    """How the model's output frames lie in its input window. All lengths in samples at 16 kHz.

    window: input length. frames: output frames a window.
    field: length of a frame's receptive field. centre: where that of frame 0 is centred. step: distance of two
    frames. speakers: local speakers a window. max_at_once: of them in one powerset class.
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
        """(classes, speakers) bool: which local speakers are active in each powerset class (arXiv 2310.13025): nobody,
        each alone, then each pair and so on."""
        together = [
            active for size in range(self.max_at_once + 1) for active in combinations(range(self.speakers), size)
        ]
        return np.array([[speaker in active for speaker in range(self.speakers)] for active in together])

    def frame_at(self, offset: np.ndarray | int) -> np.ndarray:
        """Index of the frame whose centre is nearest to a sample of the window. Beyond the outermost centres, the
        outermost frames. (offsets,) → (offsets,) int."""
        nearest = (np.asarray(offset) - (self.centre - self.step // 2)) // self.step
        return np.clip(nearest, 0, self.frames - 1)

    def frame_start(self, frame: np.ndarray | int) -> np.ndarray:
        """First sample of the window for which `frame` is the nearest (frame 0 also covers what is before it)."""
        return np.asarray(frame) * self.step + (self.centre - self.step // 2)
