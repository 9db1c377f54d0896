"""Embedding features of recordings and of windows, kept on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from objectives.cache.arrays import kept_array
from objectives.cache.files import content_key, write_array
from objectives.models.embedding import KEPT_AS, SpeakerEmbedding, feature_blocks
from objectives.models.embedding_loading import digest_of
from objectives.models.filterbank import FBANK_STEP, FBANK_WIDTH
from objectives.models.windows import sliding_windows, window_starts


def recording_features(embedding: SpeakerEmbedding, waveform: np.ndarray, digest: str | None = None) -> np.ndarray:
    """Return all features of a recording, kept on disk by content: (frames, channels) float16.

    digest: SHA-256 of the waveform's samples, if the caller already has it.

    Raises AssetError if the cache cannot be written.
    """
    key = content_key(embedding=embedding.key, samples=digest or digest_of(waveform))

    def make(path: Path) -> None:
        # block by block: the features of three hours take 550 MB
        write_array(path, feature_blocks(embedding, waveform), (embedding.channels,), KEPT_AS)

    return kept_array("features", f"{key}.npy", make)


FeaturesOf = Callable[[int], np.ndarray]  # index of a window → its features, (frames, channels)


def fresh_window_features(embedding: SpeakerEmbedding, waveform: np.ndarray, length: int, step: int) -> FeaturesOf:
    """Return a function that computes the features of a window, each time it is called, without keeping them.

    The windows have `length` samples and start every `step`. waveform: (samples,) float32, mono, 16 kHz.
    """
    windows = sliding_windows(waveform, length, step)
    return lambda index: embedding.of(windows[index].copy())  # copied: torch warns about read-only arrays


def kept_window_features(
    embedding: SpeakerEmbedding, waveform: np.ndarray, digest: str, length: int, step: int
) -> FeaturesOf:
    """Compute the same features for all windows at once and keep them on disk by content.

    digest: SHA-256 of the waveform's samples.
    """
    key = content_key(embedding=embedding.key, samples=digest, windows=[length, step])

    def make(path: Path) -> None:
        count = len(window_starts(len(waveform), length, step))
        features_of = fresh_window_features(embedding, waveform, length, step)
        frames = -(-((length - FBANK_WIDTH) // FBANK_STEP + 1) // (embedding.step // FBANK_STEP))
        # row by row: the features of a long recording do not fit in memory
        write_array(path, map(features_of, range(count)), (frames, embedding.channels), KEPT_AS)

    return kept_array("features", f"{key}.npy", make).__getitem__
