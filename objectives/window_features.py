"""Embedding features of whole windows: what the released pipeline pools, and so what the offline mode does.

Each window of the offline mode is heard on its own, its mean subtracted, though windows overlap by nine tenths: five
times the work of the blocks in objectives/speaker_embedding.py, and ten times the room (0.5 MB a second of audio).
Blocks would come close, but where the clustering is on a knife edge close is not the same: on some calls DER moves by
30 points.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from objectives._arrays import kept_array
from objectives._store import content_key, write_array
from objectives.filterbank import FBANK_STEP, FBANK_WIDTH
from objectives.speaker_embedding import KEPT_AS, SpeakerEmbedding
from objectives.windows import sliding_windows, window_starts

FeaturesOf = Callable[[int], np.ndarray]  # index of a window → its (frames, channels)


def fresh_window_features(embedding: SpeakerEmbedding, waveform: np.ndarray, length: int, step: int) -> FeaturesOf:
    """Features of the windows of `length` samples every `step`, made when asked for, every time.

    waveform: (samples,) float32, mono, 16 kHz.
    """
    windows = sliding_windows(waveform, length, step)
    return lambda index: embedding.of(windows[index].copy())  # torch warns of what it may not write to


def kept_window_features(
    embedding: SpeakerEmbedding, waveform: np.ndarray, digest: str, length: int, step: int
) -> FeaturesOf:
    """The same, all made at once and kept on disk by content. digest: SHA-256 of the waveform's samples."""
    key = content_key(embedding=embedding.key, samples=digest, windows=[length, step])

    def make(path: Path) -> None:
        count = len(window_starts(len(waveform), length, step))
        features_of = fresh_window_features(embedding, waveform, length, step)
        frames = -(-((length - FBANK_WIDTH) // FBANK_STEP + 1) // (embedding.step // FBANK_STEP))
        # row by row: those of a long recording do not fit into memory
        write_array(path, map(features_of, range(count)), (frames, embedding.channels), KEPT_AS)

    return kept_array("features", f"{key}.npy", make).__getitem__
