"""The stock pipeline beside ours: pyannote.audio's SpeakerDiarization with the same models, and what lies between.

What differs between the stock pipeline and the offline mode are the runtime of both models (torch, ONNX Runtime), the
16 bits of frame-level features, and how they are pooled. Each is swapped alone, so that a difference in DER has a name;
so is what streaming's features see, a block of 2 s with 1 s before it, its mean subtracted, instead of the window.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyannote.core import Annotation, SlidingWindowFeature, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from objectives.backends.pyannote import SpeakerDiarization
from objectives.cache.assets import fetch
from objectives.corpora.corpus import Recording
from objectives.evaluation.scoring import score
from objectives.measurement import ErrorCounts
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import SpeakerEmbedding, features_of
from objectives.models.embedding_features import FeaturesOf, fresh_window_features
from objectives.models.released_pipeline import CLUSTERING_METHOD, MIN_CLUSTER_SIZE, MIN_DURATION_OFF
from objectives.models.segmentation import load_segmentation
from objectives.runtime.runtime import Runtime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.offline import STEP_SAMPLES, _ReleasedPipeline
from tests.support.stock_campplus import StockCAMPPlus, load_stock_campplus

SEGMENTATION_BATCH = 32  # the released pipeline's


def load_stock(threshold: float, embedding_batch: int) -> SpeakerDiarization:
    """pyannote.audio's pipeline by its own constructor, with segmentation-3.0, CAM++ and the released settings."""
    from pyannote.audio.core.plda import PLDA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it found no FFmpeg: it is given waveforms
        pipeline = SpeakerDiarization(
            legacy=True,
            segmentation=load_segmentation(fetch("segmentation-3.0")),
            segmentation_step=0.1,
            embedding=load_stock_campplus(fetch("campplus")),
            embedding_exclude_overlap=True,
            plda=object.__new__(PLDA),  # wanted whatever the clustering; this one never looks at it
            clustering="AgglomerativeClustering",
            embedding_batch_size=embedding_batch,
            segmentation_batch_size=SEGMENTATION_BATCH,
        )
    pipeline.instantiate(
        {
            "segmentation": {"min_duration_off": MIN_DURATION_OFF},
            "clustering": {
                "method": CLUSTERING_METHOD,
                "threshold": threshold,
                "min_cluster_size": MIN_CLUSTER_SIZE,
            },
        }
    )
    assert pipeline._embedding.min_num_samples > 0  # found by trial and error, once: part of loading
    return pipeline


def audio_of(waveform: np.ndarray) -> dict[str, Any]:
    """(samples,) float32 at 16 kHz, as pyannote.audio takes audio from memory."""
    return {"uri": "recording", "waveform": torch.from_numpy(waveform)[None], "sample_rate": SAMPLE_RATE}


def diarize_stock(pipeline: SpeakerDiarization, waveform: np.ndarray) -> Annotation:
    """What a user gets. waveform: (samples,) float32, mono, 16 kHz."""
    with warnings.catch_warnings():
        # where nobody speaks for long enough to found a cluster, pyannote.audio takes the mean of no embeddings
        warnings.filterwarnings("ignore", "Mean of empty slice|invalid value", RuntimeWarning)
        return pipeline(audio_of(waveform))


@dataclass(frozen=True)
class Swap:
    """The offline mode with parts of the stock pipeline, or of streaming.

    segmentation: stock's, in torch. embeddings: stock's altogether. pooling: stock's. blocks: streaming's features.
    """

    name: str
    segmentation: bool = False
    embeddings: bool = False
    pooling: bool = False
    blocks: bool = False


OURS = "ours"
STOCK = "stock"
SWAPS = (
    Swap(OURS),
    Swap("stock's segmentation", segmentation=True),
    Swap("stock's embeddings", embeddings=True),
    Swap("  of them, pooling", pooling=True),
    Swap("stock's segmentation and embeddings", segmentation=True, embeddings=True),
    Swap("streaming's features", blocks=True),
)


@dataclass(frozen=True)
class Account:
    """Errors by recording of one way to diarize, and how much of the recordings it labels otherwise than stock does.

    unlike_stock: seconds, and seconds of stock's speech, no collar.
    """

    name: str
    counts: Mapping[str, ErrorCounts]
    unlike_stock: ErrorCounts


def account(
    recordings: Sequence[Recording],
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    on_progress: Callable[[], None] = lambda: None,
) -> list[Account]:
    """Diarize recordings with each swap, and with the stock pipeline, which comes last."""
    stock = _Remembering(load_stock(clustering.offline_threshold(embedding.threshold), embedding_batch=1))
    counts: dict[str, dict[str, ErrorCounts]] = {swap.name: {} for swap in SWAPS} | {STOCK: {}}
    unlike = dict.fromkeys(counts, ErrorCounts())
    for recording in recordings:
        stock.forget()
        waveform = recording.waveform()
        labels = {STOCK: diarize_stock(stock.pipeline, waveform)}
        for swap in SWAPS:
            labels[swap.name] = _diarize(swap, waveform, runtime, embedding, clustering, stock)
        for name, told in labels.items():
            counts[name][recording.uri] = score(recording.reference, told, recording.annotated)
            unlike[name] += _difference(labels[STOCK], told, recording.annotated)
        on_progress()
    return [Account(name, counts[name], unlike[name]) for name in counts]


def _diarize(
    swap: Swap,
    waveform: np.ndarray,
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    stock: "_Remembering",
) -> Annotation:
    if swap.blocks:
        features_of = _blocks_of_windows(embedding, waveform, runtime.contract.window)
    else:
        features_of = fresh_window_features(embedding, waveform, runtime.contract.window, STEP_SAMPLES)
    pipeline = _Swapped(swap, WindowClasses(waveform, runtime), embedding, clustering, stock)
    with warnings.catch_warnings():
        # as in diarize_stock
        warnings.filterwarnings("ignore", "Mean of empty slice|invalid value", RuntimeWarning)
        return pipeline.apply(audio_of(waveform) | {"features": features_of})


def _blocks_of_windows(embedding: SpeakerEmbedding, waveform: np.ndarray, length: int) -> FeaturesOf:
    """Windows cut out of the recording's features in blocks."""
    features = features_of(embedding, waveform)  # (frames, channels)
    apart, frames = STEP_SAMPLES // embedding.step, length // embedding.step
    return lambda index: features[index * apart : index * apart + frames]


def _difference(reference: Annotation, labels: Annotation, scored: Timeline) -> ErrorCounts:
    components = DiarizationErrorRate().compute_components(reference, labels, uem=scored)
    return ErrorCounts(*(float(components[kind]) for kind in ("false alarm", "missed detection", "confusion", "total")))


class _Remembering:
    """The stock pipeline, whose embedding model makes the frame-level features of one window once. For batches of 1."""

    def __init__(self, pipeline: SpeakerDiarization):
        self.pipeline = pipeline
        model = pipeline._embedding.model_
        assert isinstance(model, StockCAMPPlus)
        self.model = model
        self._make = model.forward_frames
        self._known: dict[bytes, torch.Tensor] = {}
        model.forward_frames = self.forward_frames

    def forward_frames(self, waveforms: torch.Tensor) -> torch.Tensor:
        """As the model's."""
        key = waveforms.numpy().tobytes()
        if key not in self._known:
            self._known[key] = self._make(waveforms)
        return self._known[key]

    def forget(self) -> None:
        """Another recording comes."""
        self._known.clear()


class _Swapped(_ReleasedPipeline):
    def __init__(
        self,
        swap: Swap,
        windows: WindowClasses,
        embedding: SpeakerEmbedding,
        clustering: ClusteringSettings,
        stock: _Remembering,
    ):
        super().__init__(windows, embedding, clustering, MIN_DURATION_OFF)
        self._swap = swap
        self._stock = stock

    def get_segmentations(
        self, file: Mapping[str, Any], hook: Callable[..., None] | None = None
    ) -> SlidingWindowFeature:
        if self._swap.segmentation:
            return self._stock.pipeline.get_segmentations(file)
        return super().get_segmentations(file, hook)

    def get_embeddings(
        self,
        file: Mapping[str, Any],
        binary_segmentations: SlidingWindowFeature,
        exclude_overlap: bool = False,
        hook: Callable[..., None] | None = None,
    ) -> np.ndarray:
        if self._swap.embeddings:
            return self._stock.pipeline.get_embeddings(file, binary_segmentations, exclude_overlap=exclude_overlap)
        if not self._swap.pooling:
            return super().get_embeddings(file, binary_segmentations, exclude_overlap, hook)
        windows = enumerate(binary_segmentations.data > 0)
        return np.array([self._pooled_as_stock(activity, file["features"](index)) for index, activity in windows])

    def _pooled_as_stock(self, activity: np.ndarray, features: np.ndarray) -> np.ndarray:
        """(speakers, dimension), of a window's (frames, speakers) bool, as SpeakerDiarization.get_embeddings pools."""
        window = self._windows.contract.window
        fewest = -(-len(activity) * self._stock.pipeline._embedding.min_num_samples // window)
        alone = activity & (activity.sum(axis=1, keepdims=True) < 2)
        masks = np.where(alone.sum(axis=0) > fewest, alone, activity).astype(np.float32)
        weights = torch.nn.functional.interpolate(
            torch.from_numpy(masks.T.copy())[None], size=window // self._embedding.step - 1, mode="nearest"
        )
        # (1, speakers, features of a whole window)
        with torch.inference_mode():
            made = self._stock.model.forward_embedding(
                torch.tensor(features.T.astype(np.float32))[None], weights=weights[..., : len(features)]
            )
        return made[0].numpy()
