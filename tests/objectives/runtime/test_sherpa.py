"""sherpa-onnx runs the files that are deployed, on real audio."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from pyannote.core import Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from objectives.backends.pyannote import WeSpeakerResNet34, kaldi
from objectives.cache.assets import fetch
from objectives.compression.compressor import Compressor, FinishedModel
from objectives.compression.training_data import CalibrationData
from objectives.corpora.sources import load_corpus
from objectives.models.embedding_features import fresh_window_features
from objectives.models.embedding_loading import SpeakerEmbedding, _CAMPPlusFrames, _WeSpeakerFrames, load_campplus
from objectives.models.embedding_onnx import WESPEAKER_CARD, write_embedding_onnx
from objectives.models.segmentation import SAMPLE_RATE
from objectives.operating_point import UNPRUNED, Precision
from objectives.runtime.segmentation_onnx import kept_onnx
from objectives.runtime.torch_runtime import open_runtime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.offline import STEP_SAMPLES, diarize_offline
from tests.support import sherpa_process
from tests.support.sherpa_metadata import SEGMENTATION_NUMBERS, metadata_in

SECONDS = 16


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    """Two people of the AMI excerpt dev00 who speak by turns."""
    (recording,) = [one for one in load_corpus("ami-excerpts").split("eval") if one.uri == "dev00"]
    return recording.waveform()[: SECONDS * SAMPLE_RATE]


@pytest.fixture(scope="module")
def campplus(embedding: SpeakerEmbedding) -> Path:
    """The file of CAM++."""
    return embedding.network


def finished(precision: Precision) -> FinishedModel:
    calibration = CalibrationData(load_corpus("ami-excerpts"))
    return Compressor(fetch("segmentation-3.0"), calibration=calibration).finish(UNPRUNED, precision)


@pytest.mark.parametrize("precision", ["fp32", "int4_ptq"])
def test_it_hears_who_speaks_when_as_the_offline_mode_does(
    waveform: np.ndarray, embedding: SpeakerEmbedding, campplus: Path, tmp_path: Path, precision: Precision
) -> None:
    """It makes embeddings from another filterbank and clusters by complete linkage, and a frame that half of the
    windows hold to be speech is speech to it, but not to pyannote.audio, which rounds to even."""
    model = finished(precision)
    windows = WindowClasses(waveform, open_runtime(model, 1))
    features_of = fresh_window_features(embedding, waveform, windows.contract.window, STEP_SAMPLES)
    settings = ClusteringSettings(embedding.threshold)
    ours = diarize_offline(windows, features_of, embedding, settings, min_duration_off=0.0)
    theirs = sherpa_process.diarize(kept_onnx(model), campplus, waveform, tmp_path)
    apart = DiarizationErrorRate().compute_components(ours, theirs, uem=Timeline([Segment(0, SECONDS)]))
    assert apart["total"] > 10
    assert apart["missed detection"] < 0.01 * apart["total"]
    assert apart["false alarm"] < 0.05 * apart["total"]
    assert apart["confusion"] < 0.01 * apart["total"]


@torch.inference_mode()
def test_its_embedding_is_ours_once_the_filterbank_is_the_same(
    waveform: np.ndarray, embedding: SpeakerEmbedding, campplus: Path, tmp_path: Path
) -> None:
    """sherpa-onnx's ends at 7.6 kHz and goes beyond the edges; no entry of the metadata changes that."""
    heard = waveform[: 5 * SAMPLE_RATE]
    theirs = sherpa_process.embed(campplus, heard, tmp_path)
    model = load_campplus(fetch("campplus"))
    frames = _CAMPPlusFrames(model)(as_sherpa(heard, 1.0))[0].T.numpy()
    assert cosine(theirs, embedding.pool(frames)) > 0.9999
    own = embedding.pool(embedding.features(heard))
    assert 0.8 < cosine(theirs, own) < 0.99


@torch.inference_mode()
def test_a_wespeaker_model_is_embedded_too(waveform: np.ndarray, tmp_path: Path) -> None:
    """Of random weights: the real ones want a token."""
    torch.manual_seed(0)
    model, heard = WeSpeakerResNet34().eval(), waveform[: 3 * SAMPLE_RATE]
    affine = (model.resnet.seg_1.weight, model.resnet.seg_1.bias)
    path = tmp_path / "embedding.onnx"
    write_embedding_onnx(path, _WeSpeakerFrames(model), affine, WESPEAKER_CARD)
    theirs = sherpa_process.embed(path, heard, tmp_path)
    expected = model.resnet(as_sherpa(heard, 32_768.0))[1][0].numpy()
    assert cosine(theirs, expected) > 0.9999


@pytest.mark.parametrize("missing", [SEGMENTATION_NUMBERS[0], SEGMENTATION_NUMBERS[-1]])
def test_it_ends_where_an_entry_is_missing(waveform: np.ndarray, campplus: Path, tmp_path: Path, missing: str) -> None:
    path = kept_onnx(finished("fp32"))
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: value for key, value in metadata_in(path).items() if key != missing})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(sherpa_process.Ended, match=missing):
        sherpa_process.diarize(tmp_path / "model.onnx", campplus, waveform, tmp_path)


def as_sherpa(waveform: np.ndarray, scale: float) -> torch.Tensor:
    """(1, frames, 80): the filterbank as sherpa-onnx makes it, less its mean."""
    samples = torch.from_numpy(waveform)[None] * scale
    settings = {"num_mel_bins": 80, "sample_frequency": SAMPLE_RATE, "dither": 0.0}
    fbank = kaldi.fbank(samples, **settings, snip_edges=False, high_freq=-400.0)[None]
    return fbank - fbank.mean(dim=1, keepdim=True)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
