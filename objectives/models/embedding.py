"""A speaker embedding in two parts: frame-level features in fixed blocks, then their pooling by a speaker's activity.

A block of features depends only on the recording's audio around it, not on C, R, the window or the operating point that
needs it. Sharing features between updates and trials is therefore exact. The offline mode's features are computed from
whole windows, like the released pipeline's; they are in objectives/models/embedding_features.py. Needs no torch, so
that a deployed operating point does not either.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from objectives.backends.library_errors import finite
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.filterbank import FBANK_WIDTH, Filterbank
from objectives.models.sliding_buffer import Recent
from objectives.operating_point import AS_TUNED, OnlineTracking

MIN_FRAMES = 2  # fewer pooled frames have no standard deviation, so no embedding

# Features have 16 bits everywhere, so that files of them are half as large and still hold what the real loop computes.
# This changes the labels of none of 14 AMI excerpts.
KEPT_AS = np.float16
LARGEST = float(np.finfo(KEPT_AS).max)


Features = np.ndarray | Recent  # (frames, channels)


@dataclass(frozen=True)
class Blocks:
    """How features are cut out of a recording, in samples.

    Block j covers [j·length - right, (j + 1)·length - right), so that it is ready once (j + 1)·length samples have been
    heard. It is computed from the samples [j·length - left, (j + 1)·length), so the features at its end have `right`
    samples of context after them.

    >>> blocks = Blocks(length=100, left=50, right=10)
    >>> blocks.ready(heard=210), blocks.span(1, total=1000)
    (2, (50, 200))
    """

    length: int
    left: int
    right: int

    def ready(self, heard: int) -> int:
        """Return the number of blocks that the first `heard` samples suffice for."""
        return heard // self.length

    def span(self, block: int, total: int) -> tuple[int, int]:
        """Return [start, end) of the samples that a block is computed from, in a recording of `total` samples."""
        start = block * self.length
        return max(0, start - self.left), min(total, start + self.length)


@dataclass(frozen=True)
class SpeakerEmbedding:
    """A speaker embedding in two parts: frame-level features, then statistics pooling and one affine map.

    key: hash of everything that changes a feature.
    step: samples between features. The first feature is centred in the first frame of the filterbank.
    filterbank, network: what features are computed with; `network` is an ONNX file.
    threshold: of the clustering, tuned on *calib* for this embedding.
    online: thresholds of the online mode, tuned on *train*.
    features: (samples,) → (frames, channels).
    weight: (dimension, 2·channels).
    bias: (dimension,).
    """

    name: str
    key: str
    step: int
    blocks: Blocks
    filterbank: Filterbank
    network: Path
    threshold: float
    features: Callable[[np.ndarray], np.ndarray]
    weight: np.ndarray
    bias: np.ndarray
    online: OnlineTracking = AS_TUNED

    @property
    def centre(self) -> int:
        """Centre of feature 0, in samples of its input."""
        return FBANK_WIDTH // 2

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self.weight.shape[0]

    @property
    def channels(self) -> int:
        """Length of a frame-level feature."""
        return self.weight.shape[1] // 2

    def block(self, samples: np.ndarray, index: int) -> np.ndarray:
        """Return the features of one block, (frames, channels) float16. samples: of its span, as far as they were
        heard."""
        if len(samples) < FBANK_WIDTH:
            return np.zeros((0, self.channels), KEPT_AS)
        plan = self.blocks
        begin, end = (max(0, block * plan.length - plan.right) // self.step for block in (index, index + 1))
        first = plan.span(index, sys.maxsize)[0] // self.step
        return self.of(samples)[begin - first : end - first]

    def of(self, samples: np.ndarray) -> np.ndarray:
        """Return the features of a stretch of audio, computed from this stretch alone: (frames, channels) float16.

        Raises EvaluationError if one is NaN or infinite, since its pooled embedding would look like too little speech.
        """
        made = finite(self.features(samples), f"the features of the speaker embedding {self.name}")
        return np.clip(made, -LARGEST, LARGEST).astype(KEPT_AS)

    def frames_before(self, heard: int) -> int:
        """Return the number of features that are ready once `heard` samples have been heard."""
        return max(0, self.blocks.ready(heard) * self.blocks.length - self.blocks.right) // self.step

    def centres(self, first: int, last: int) -> np.ndarray:
        """Return the samples of the recording at which features first … last - 1 are centred."""
        return np.arange(first, last) * self.step + self.centre

    def features_of_speakers(
        self, contract: Contract, activity: np.ndarray, window_start: int
    ) -> tuple[int, list[np.ndarray]]:
        """Choose the features to pool for each local speaker of a window.

        Return the number of features that must be ready, and for each speaker the indices of the features during which
        nobody else speaks, or of all its features if those are too few.

        activity: (frames, speakers) bool.
        window_start: sample of the recording at which the window starts.
        """
        first = max(0, -(-(window_start - self.centre) // self.step))
        until = max(first, -(-(window_start + contract.window - self.centre) // self.step))
        local = activity[contract.frame_at(self.centres(first, until) - window_start)]
        alone = local & (local.sum(axis=1, keepdims=True) == 1)  # both (features of the window, speakers)
        chosen = [clean if clean.sum() >= MIN_FRAMES else own for clean, own in zip(alone.T, local.T, strict=True)]
        return until, [np.flatnonzero(mask) + first for mask in chosen]

    def pool(self, features: np.ndarray) -> np.ndarray:
        """Pool the features of one speaker into an embedding: (frames, channels) → (dimension,).

        This is the mean and unbiased standard deviation over frames, then the affine map. NaN if there are fewer than
        two frames.
        """
        if len(features) < MIN_FRAMES:
            return np.full(self.dimension, np.nan, np.float32)
        features = features.astype(np.float32)
        mean = features.mean(axis=0)
        deviation = features - mean
        std = np.sqrt(np.einsum("fc,fc->c", deviation, deviation) / (len(features) - 1))
        return self.weight @ np.concatenate([mean, std]) + self.bias


class FeatureStream:
    """The features of a recording while it is being heard. Each is computed once, and those of the last `seconds` are
    kept."""

    def __init__(self, embedding: SpeakerEmbedding, seconds: float):
        self._embedding = embedding
        self._blocks = 0
        rows = round(seconds * SAMPLE_RATE / embedding.step)
        self._features = Recent(rows, (embedding.channels,), KEPT_AS)

    def hear(self, audio: Recent, last: bool = False) -> Recent:
        """Compute the features whose audio has now been heard, and return those that are ready: (frames, channels).

        last: nothing more will be heard, so blocks that still wait for context are computed from what there is.
        """
        plan = self._embedding.blocks
        wanted = -(-len(audio) // plan.length) if last else plan.ready(len(audio))
        while self._blocks < wanted:
            start, end = plan.span(self._blocks, len(audio))
            self._features.append(self._embedding.block(audio.between(start, end), self._blocks))
            self._blocks += 1
        return self._features


def feature_blocks(embedding: SpeakerEmbedding, waveform: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all features of a recording, block by block: (samples,) → (frames, channels) float16 each."""
    plan = embedding.blocks
    for block in range(-(-len(waveform) // plan.length)):
        start, end = plan.span(block, len(waveform))
        yield embedding.block(waveform[start:end], block)


def features_of(embedding: SpeakerEmbedding, waveform: np.ndarray) -> np.ndarray:
    """Return all features of a recording: (samples,) → (frames, channels) float16."""
    return np.concatenate([np.zeros((0, embedding.channels), KEPT_AS), *feature_blocks(embedding, waveform)])


def features_by(filterbank: Filterbank, session: onnxruntime.InferenceSession) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that computes features with a network: (samples,) → (frames, channels).

    The network maps (1, fbank frames, 80) to (1, channels, frames). The filterbank's mean over the input is subtracted
    first.
    """
    (entering,) = session.get_inputs()

    def features(samples: np.ndarray) -> np.ndarray:
        fbank = filterbank(samples)
        (made,) = session.run(["features"], {entering.name: (fbank - fbank.mean(axis=0))[None]})
        return np.ascontiguousarray(made[0].T)

    return features
