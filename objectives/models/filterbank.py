"""Kaldi's log-mel filterbank in NumPy: the input of speaker embeddings.

It has the defaults of `compute-fbank-feats` without dither, as in torchaudio.compliance.kaldi; both embeddings were
trained with it. Frames of 25 ms start every 10 ms and lie wholly inside the audio. Each has its mean removed, is
pre-emphasised by 0.97 and windowed. The power spectrum has 512 points, and the triangular filters are equally wide in
mel.

Needs no torch, so that a deployed operating point does not either.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from objectives.models.contract import SAMPLE_RATE

FBANK_WIDTH, FBANK_STEP = 400, 160  # samples: 25 ms windows every 10 ms, Kaldi's and both embeddings'
FBANK_BINS = 80
LOWEST, HIGHEST = 20.0, SAMPLE_RATE / 2  # Hz
POINTS = 512  # of the Fourier transform: the next power of two after 400
PREEMPHASIS = np.float32(0.97)
FLOOR = np.finfo(np.float32).eps  # least value of an energy, before its logarithm

WindowName = Literal["povey", "hamming"]


@dataclass(frozen=True)
class Filterbank:
    """Computes log-energies: (samples,) float32 in [-1, 1] → (frames, 80) float32.

    window: window function of each frame.
    scale: factor by which samples are multiplied first. Kaldi's own samples are 16-bit integers.
    """

    window: WindowName
    scale: float = 1.0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return the log-energies of each frame. There are no frames if there are fewer than 400 samples."""
        if len(samples) < FBANK_WIDTH:
            return np.zeros((0, FBANK_BINS), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(samples * np.float32(self.scale), FBANK_WIDTH)[::FBANK_STEP]
        frames = frames - frames.mean(axis=1, keepdims=True)
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        spectrum = np.fft.rfft((frames - PREEMPHASIS * before) * self._taper, POINTS)  # (frames, 257)
        power = spectrum.real**2 + spectrum.imag**2
        return np.log(np.maximum(power @ _MEL, FLOOR))

    @cached_property
    def _taper(self) -> np.ndarray:
        if self.window == "hamming":
            return np.hamming(FBANK_WIDTH).astype(np.float32)
        return (np.hanning(FBANK_WIDTH) ** 0.85).astype(np.float32)


def _mel_of(frequency: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


def _mel_filters() -> np.ndarray:
    """Return (257, 80): the weight of each point of the spectrum in each bin. The last point has none, as in Kaldi."""
    edges = np.linspace(_mel_of(LOWEST), _mel_of(HIGHEST), FBANK_BINS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    points = _mel_of(np.arange(POINTS // 2) * SAMPLE_RATE / POINTS)[:, None]
    rising, falling = (points - left) / (centre - left), (right - points) / (right - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.pad(triangles, ((0, 1), (0, 0))).astype(np.float32)


_MEL = _mel_filters()
