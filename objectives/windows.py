"""Windows of a recording, as the segmentation model takes them."""

import numpy as np


def sliding_windows(waveform: np.ndarray, length: int, step: int) -> np.ndarray:
    """(windows, length): every `step` samples from 0, and a last one padded with zeros where samples are left over."""
    complete = max(0, (len(waveform) - length) // step + 1)
    covered = (complete - 1) * step + length if complete else 0
    count = complete + (covered < len(waveform))
    padded = np.zeros((count - 1) * step + length, np.float32)
    padded[: min(len(waveform), len(padded))] = waveform[: len(padded)]
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::step]


def window_at(waveform: np.ndarray, start: int, length: int) -> np.ndarray:
    """(length,): the samples from `start`, with zeros for what lies outside the recording."""
    window = np.zeros(length, np.float32)
    first, last = max(0, start), min(len(waveform), start + length)
    if first < last:
        window[first - start : last - start] = waveform[first:last]
    return window
