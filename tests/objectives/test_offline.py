"""The offline mode is pyannote.audio's pipeline."""

import numpy as np
import pytest
import torch

from objectives.assets import fetch
from objectives.backend import Inference
from objectives.clustering import ClusteringSettings
from objectives.embedding import SpeakerEmbedding, recording_features
from objectives.offline import _ReleasedPipeline, diarize_offline
from objectives.runtime import OnnxRuntime
from objectives.scoring import pool, score
from objectives.segmentation import SAMPLE_RATE, load_segmentation
from objectives.sources import load_corpus
from objectives.window_classes import WindowClasses
from objectives.windows import sliding_windows


@pytest.mark.parametrize("seconds", [14.3, 12.0, 10.0, 4.0])
def test_windows_and_segmentation_are_pyannotes(excerpt: np.ndarray, runtime: OnnxRuntime, seconds: float) -> None:
    waveform = excerpt[: round(seconds * SAMPLE_RATE)]
    inference = Inference(
        load_segmentation(fetch("segmentation-3.0")), duration=10.0, step=1.0, skip_aggregation=True, batch_size=4
    )
    expected = inference({"waveform": torch.from_numpy(waveform)[None], "sample_rate": SAMPLE_RATE})
    windows = WindowClasses(waveform, runtime)
    pipeline = _ReleasedPipeline(windows, embedding=None, clustering=ClusteringSettings(0.8), min_duration_off=0.0)
    ours = pipeline.get_segmentations({"waveform": waveform})
    assert ours.data.shape == expected.data.shape
    assert ours.sliding_window.step == expected.sliding_window.step
    assert ours.sliding_window.duration == expected.sliding_window.duration
    assert np.mean(ours.data != expected.data) < 1e-3
    frames, theirs = pipeline._segmentation.model.receptive_field, inference.model.receptive_field
    assert (frames.start, frames.duration, frames.step) == (theirs.start, theirs.duration, theirs.step)


def test_a_last_window_is_padded_only_where_samples_are_left_over() -> None:
    samples = np.arange(1, 8, dtype=np.float32)
    np.testing.assert_array_equal(sliding_windows(samples[:4], 4, 2), [[1, 2, 3, 4]])
    np.testing.assert_array_equal(sliding_windows(samples[:5], 4, 2), [[1, 2, 3, 4], [3, 4, 5, 0]])
    np.testing.assert_array_equal(sliding_windows(samples[:6], 4, 2), [[1, 2, 3, 4], [3, 4, 5, 6]])
    np.testing.assert_array_equal(sliding_windows(samples[:2], 4, 2), [[1, 2, 0, 0]])


def test_silence(runtime: OnnxRuntime, embedding: SpeakerEmbedding) -> None:
    waveform = np.zeros(3 * SAMPLE_RATE, np.float32)
    features = recording_features(embedding, waveform)
    assert not diarize_offline(WindowClasses(waveform, runtime), features, embedding, ClusteringSettings(0.8))


def test_der_on_the_excerpts_is_the_stock_pipelines(runtime: OnnxRuntime, embedding: SpeakerEmbedding) -> None:
    """Stock pyannote.audio 4.0.7 with CAM++ run per window and speaker scores 24.1 to 24.6 % on these 14 excerpts."""
    counts = []
    for recording in load_corpus("ami-excerpts").split("all"):
        waveform = recording.waveform()
        features = recording_features(embedding, waveform)
        settings = ClusteringSettings(embedding.threshold)
        labels = diarize_offline(WindowClasses(waveform, runtime), features, embedding, settings)
        counts.append(score(recording.reference, labels, recording.annotated))
    assert len(counts) == 14
    assert 23.1 <= pool(counts).der <= 25.6
