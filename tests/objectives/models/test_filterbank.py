"""The filterbank is Kaldi's, as torchaudio and pyannote.audio compute it."""

import numpy as np
import pytest
import torch

from objectives.backends.pyannote import WeSpeakerResNet34, kaldi
from objectives.cache.assets import fetch
from objectives.models.filterbank import Filterbank
from tests.support.stock_campplus import load_stock_campplus


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000, 48_640])
def test_it_is_what_cam_is_fed(excerpt: np.ndarray, samples: int) -> None:
    model = load_stock_campplus(fetch("campplus"))
    expected = model.compute_fbank(torch.from_numpy(excerpt[None, None, :samples]))[0].numpy()
    ours = Filterbank("povey")(excerpt[:samples])
    assert ours.shape == expected.shape == ((samples - 400) // 160 + 1, 80)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_it_is_what_wespeaker_is_fed(excerpt: np.ndarray) -> None:
    """pyannote.audio takes the mean of each bin off, and hears 16-bit integers."""
    expected = WeSpeakerResNet34().compute_fbank(torch.from_numpy(excerpt[None, None]))[0].numpy()
    ours = Filterbank("hamming", scale=2.0**15)(excerpt)
    np.testing.assert_allclose(ours - ours.mean(axis=0), expected, atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_silence_and_a_constant_are_floored(level: float) -> None:
    """Frames lose their mean, so both are nothing, and the logarithm of nothing is that of the floor."""
    samples = np.full(16_000, level, np.float32)
    expected = kaldi.fbank(
        torch.from_numpy(samples[None]), num_mel_bins=80, sample_frequency=16_000, dither=0.0
    ).numpy()
    ours = Filterbank("povey")(samples)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    np.testing.assert_allclose(ours, np.log(np.finfo(np.float32).eps), atol=1e-4)


def test_less_than_a_frame_is_none() -> None:
    assert Filterbank("povey")(np.zeros(399, np.float32)).shape == (0, 80)


def test_a_tone_is_loudest_in_its_own_bin() -> None:
    """1 kHz is 1000 mel by definition, nearly: of 80 triangles equally wide from 31.7 to 2840 mel, the 28th."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    assert set(Filterbank("povey")(tone).argmax(axis=1)) == {27}
