"""The offline mode is pyannote.audio's pipeline."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyannote.core import Segment, Timeline

from objectives.backends.pyannote import Inference
from objectives.cache.assets import fetch
from objectives.evaluation.scoring import score
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import SpeakerEmbedding
from objectives.models.embedding_features import fresh_window_features, kept_window_features
from objectives.models.segmentation import load_segmentation
from objectives.models.windows import sliding_windows
from objectives.runtime.runtime import OnnxRuntime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.offline import STEP_SAMPLES, _ReleasedPipeline, diarize_offline
from tests.benchmarks.stock import diarize_stock, load_stock
from tests.support.sign_models import sign_embedding


@pytest.mark.parametrize("seconds", [14.3, 12.0, 10.0, 4.0])
def test_windows_and_segmentation_are_pyannotes(excerpt: np.ndarray, runtime: OnnxRuntime, seconds: float) -> None:
    waveform = excerpt[: round(seconds * SAMPLE_RATE)]
    inference = Inference(
        load_segmentation(fetch("segmentation-3.0")), duration=10.0, step=1.0, skip_aggregation=True, batch_size=4
    )
    expected = inference({"waveform": torch.from_numpy(waveform)[None], "sample_rate": SAMPLE_RATE})
    windows = WindowClasses(waveform, runtime)
    pipeline = _ReleasedPipeline(windows, sign_embedding(), clustering=ClusteringSettings(0.8), min_duration_off=0.0)
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
    features_of = fresh_window_features(embedding, waveform, runtime.contract.window, STEP_SAMPLES)
    assert not diarize_offline(WindowClasses(waveform, runtime), features_of, embedding, ClusteringSettings(0.8))


def test_labels_are_the_stock_pipelines(excerpt: np.ndarray, runtime: OnnxRuntime, embedding: SpeakerEmbedding) -> None:
    """pyannote.audio's own pipeline, built by its own constructor from the same two models, in torch."""
    stock = load_stock(embedding.threshold, embedding_batch=32)
    waveform = excerpt[: round(13.4 * SAMPLE_RATE)]  # five windows, the last one padded
    features_of = fresh_window_features(embedding, waveform, runtime.contract.window, STEP_SAMPLES)
    settings = ClusteringSettings(embedding.threshold)
    labels = diarize_offline(WindowClasses(waveform, runtime), features_of, embedding, settings)
    apart = score(diarize_stock(stock, waveform), labels, Timeline([Segment(0, 13.4)]))
    assert apart.total > 5
    assert apart.der < 1, "kernels may differ at a tie, and nothing else"


@pytest.mark.parametrize("speakers", [(1, 1), (2, 2), (2, 3)])
def test_there_are_as_many_speakers_as_are_known(
    speakers: tuple[int, int], excerpt: np.ndarray, runtime: OnnxRuntime, embedding: SpeakerEmbedding
) -> None:
    """pyannote.audio's own numbers of speakers. A threshold that would find many, and one that would find a single
    one."""
    waveform = excerpt[: 14 * SAMPLE_RATE]
    windows = WindowClasses(waveform, runtime)
    features_of = fresh_window_features(embedding, waveform, runtime.contract.window, STEP_SAMPLES)
    for threshold in (0.1, 1.9):
        labels = diarize_offline(windows, features_of, embedding, ClusteringSettings(threshold, speakers))
        assert speakers[0] <= len(labels.labels()) <= speakers[1]


def test_features_of_windows_are_the_networks_and_kept(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = excerpt[: round(11.5 * SAMPLE_RATE)]  # windows from 0, 1 and 2 s, the last one padded
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))
    fresh = fresh_window_features(embedding, waveform, 10 * SAMPLE_RATE, SAMPLE_RATE)
    kept = kept_window_features(embedding, waveform, "digest", 10 * SAMPLE_RATE, SAMPLE_RATE)
    silent = replace(embedding, features=lambda samples: pytest.fail("made twice"))
    again = kept_window_features(silent, waveform, "digest", 10 * SAMPLE_RATE, SAMPLE_RATE)
    padded = np.concatenate([waveform[2 * SAMPLE_RATE :], np.zeros(SAMPLE_RATE // 2, np.float32)])
    np.testing.assert_allclose(fresh(2), embedding.features(padded), rtol=1e-3, atol=1e-6)
    for index in range(3):
        np.testing.assert_array_equal(kept(index), fresh(index))
        np.testing.assert_array_equal(again(index), fresh(index))
    with pytest.raises(IndexError):
        kept(3)
    longer = kept_window_features(embedding, waveform, "digest", 11 * SAMPLE_RATE, SAMPLE_RATE)
    assert longer(0).shape != kept(0).shape
