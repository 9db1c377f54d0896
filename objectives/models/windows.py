"""Windows of a recording, as the segmentation model takes them."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from objectives.models.contract import Contract


class LocalSpeakers(Protocol):
    """Which local speakers are active in the windows of one recording. This is what diarization starts from."""

    @property
    def waveform(self) -> np.ndarray:
        """(samples,) float32, mono, 16 kHz: the recording."""
        ...

    @property
    def contract(self) -> Contract:
        """How frames lie in a window."""
        ...

    def activity_ending_at(self, ends: Iterable[int]) -> np.ndarray:
        """Return the local speakers of the windows that end at these samples: (windows, frames, speakers) bool."""
        ...


def window_starts(total: int, length: int, step: int) -> range:
    """Return the first samples of the windows that cover a recording of `total` samples: every `step` from 0.

    The last window ends after the recording if samples are left over.

    >>> list(window_starts(total=25, length=10, step=10))
    [0, 10, 20]
    """
    complete = max(0, (total - length) // step + 1)
    covered = (complete - 1) * step + length if complete else 0
    return range(0, (complete + (covered < total)) * step, step)


def sliding_windows(waveform: np.ndarray, length: int, step: int) -> np.ndarray:
    """Return windows that start every `step` samples from 0: (windows, length).

    A last one, padded with zeros, is added if samples are left over.
    """
    count = len(window_starts(len(waveform), length, step))
    padded = np.zeros((count - 1) * step + length, np.float32)
    padded[: min(len(waveform), len(padded))] = waveform[: len(padded)]
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::step]


def window_at(waveform: np.ndarray, start: int, length: int) -> np.ndarray:
    """Return the samples from `start`, with zeros outside the recording: (length,)."""
    window = np.zeros(length, np.float32)
    first, last = max(0, start), min(len(waveform), start + length)
    if first < last:
        window[first - start : last - start] = waveform[first:last]
    return window
