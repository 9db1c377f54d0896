"""The offline mode: the released pipeline itself, step 1 s, overlapping windows averaged (the paper's Tables 1 and 2).

This is pyannote.audio's SpeakerDiarization with two replacements: this project's runtime runs the segmentation, and
embeddings are pooled from frame-level features of each window. Counting, clustering, stitching and post-processing are
pyannote.audio's own code.
"""

import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from pyannote.core import Annotation, SlidingWindow, SlidingWindowFeature
from pyannote.pipeline import Pipeline

from objectives.backends.pyannote import AgglomerativeClustering, SpeakerDiarization
from objectives.measurement import OnStage, Stage, unheeded
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import SpeakerEmbedding
from objectives.models.embedding_features import FeaturesOf
from objectives.models.released_pipeline import MIN_DURATION_OFF
from objectives.models.windows import LocalSpeakers, window_starts
from objectives.streaming.clustering import ClusteringSettings

# (windows, frames, speakers) bool → (windows, speakers) int; the names of speakers who are not active are ignored
Names = Callable[[np.ndarray], np.ndarray]

STEP = 1  # seconds
STEP_SAMPLES = STEP * SAMPLE_RATE
# the stage that ends with each step that pyannote.audio's pipeline reports to its hook
STAGE_OF_STEP: Mapping[str, Stage] = {
    "segmentation": "segmentation",
    "speaker_counting": "other",
    "embeddings": "embedding",
    "discrete_diarization": "clustering",
}


def diarize_offline(
    windows: LocalSpeakers,
    features: FeaturesOf,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    min_duration_off: float = MIN_DURATION_OFF,
    on_stage: OnStage = unheeded,
    names: Names | None = None,
) -> Annotation:
    """Run the released pipeline on a whole recording.

    windows: of the recording.
    features: of its windows, every `STEP_SAMPLES`.
    on_stage: called with each stage when it has ended. What comes after the last call belongs to `other`.
    names: function that names the local speakers, in place of the clustering.
    """
    pipeline = _ReleasedPipeline(windows, embedding, clustering, min_duration_off)
    if names is not None:
        pipeline.clustering = _naming(names)
    on_stage("other")
    with warnings.catch_warnings():
        # if nobody speaks long enough to found a cluster, pyannote.audio takes the mean of no embeddings
        warnings.filterwarnings("ignore", "Mean of empty slice|invalid value", RuntimeWarning)
        return pipeline.apply(
            {"uri": "recording", "waveform": windows.waveform, "features": features},
            min_speakers=clustering.speakers[0] if clustering.speakers else None,
            max_speakers=clustering.speakers[1] if clustering.speakers else None,
            hook=lambda step, *_, **__: on_stage(STAGE_OF_STEP.get(step, "other")),
        )


def offline_ends(total: int, contract: Contract) -> list[int]:
    """Return where the windows end that the offline mode needs, for a recording of `total` samples."""
    return [start + contract.window for start in window_starts(total, contract.window, STEP_SAMPLES)]


def released_clustering(settings: ClusteringSettings, threshold: float) -> AgglomerativeClustering:
    """Build pyannote.audio's own clustering, set up as in the released pipeline.

    threshold: of the embedding, if the settings have none.
    """
    clustering = AgglomerativeClustering(metric="cosine")
    clustering.instantiate(
        {
            "method": settings.method,
            "threshold": settings.offline_threshold(threshold),
            "min_cluster_size": settings.min_cluster_size(STEP),
        }
    )
    return clustering


def _naming(names: Names) -> Callable[..., Any]:
    """Wrap known names as a clustering that the pipeline accepts."""

    def clusters(segmentations: SlidingWindowFeature, **_: Any) -> tuple[np.ndarray, None, None]:
        # no scores and no centroids, like pyannote's own oracle clustering
        return names(segmentations.data > 0), None, None

    return clusters


class _ReleasedPipeline(SpeakerDiarization):
    def __init__(
        self,
        windows: LocalSpeakers,
        embedding: SpeakerEmbedding,
        clustering: ClusteringSettings,
        min_duration_off: float,
    ):
        # SpeakerDiarization's own constructor loads models by name, and a PLDA that this clustering does not use
        Pipeline.__init__(self)
        contract = windows.contract
        frames = SlidingWindow(
            start=(contract.centre - (contract.field - 1) / 2) / SAMPLE_RATE,
            duration=contract.field / SAMPLE_RATE,
            step=contract.step / SAMPLE_RATE,
        )
        model = SimpleNamespace(specifications=SimpleNamespace(powerset=True), receptive_field=frames)
        self.legacy = True
        self.embedding_exclude_overlap = True
        self.segmentation = SimpleNamespace(min_duration_off=min_duration_off)
        self.clustering = released_clustering(clustering, embedding.threshold)
        self._segmentation: Any = SimpleNamespace(model=model)
        self._embedding = embedding
        self._windows = windows
        self._expects_num_speakers = False

    def get_segmentations(
        self, file: Mapping[str, Any], hook: Callable[..., None] | None = None
    ) -> SlidingWindowFeature:
        """Return the hard segmentation of a window every second, the last one padded: (windows, frames, speakers)."""
        contract = self._windows.contract
        activity = self._windows.activity_ending_at(offline_ends(len(self._windows.waveform), contract))
        sliding = SlidingWindow(start=0.0, duration=contract.window / SAMPLE_RATE, step=STEP)
        return SlidingWindowFeature(activity.astype(np.float32), sliding)

    def get_embeddings(
        self,
        file: Mapping[str, Any],
        binary_segmentations: SlidingWindowFeature,
        exclude_overlap: bool = False,
        hook: Callable[..., None] | None = None,
    ) -> np.ndarray:
        """Return (windows, speakers, dimension), pooled without overlapped speech if enough other speech remains."""
        embeddings = []
        for index, activity in enumerate(binary_segmentations.data > 0):
            features = file["features"](index)  # (frames, channels)
            _, chosen = self._embedding.features_of_speakers(self._windows.contract, activity, window_start=0)
            embeddings.append([self._embedding.pool(features[frames[frames < len(features)]]) for frames in chosen])
        return np.array(embeddings)
