"""The embedding's file: its features are those of the network to the bit, its embedding is that of `pool`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from objectives.backends.onnx_export import trace
from objectives.backends.onnxruntime import open_session
from objectives.backends.pyannote import WeSpeakerResNet34
from objectives.cache.assets import fetch
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding_loading import (
    SpeakerEmbedding,
    _CAMPPlusFrames,
    _WeSpeakerFrames,
    load_campplus,
    load_embedding,
    wespeaker_embedding,
)
from objectives.models.embedding_onnx import CAMPPLUS_CARD, WESPEAKER_CARD, Card
from tests.support.sherpa_metadata import checked_metadata
from tests.support.stock_campplus import StockCAMPPlus


class Case(NamedTuple):
    """A speaker embedding, and what its file is made from."""

    embedding: SpeakerEmbedding
    frames: torch.nn.Module
    affine: tuple[torch.Tensor, torch.Tensor]
    card: Card
    fbank: Callable[[torch.Tensor], torch.Tensor]


def campplus() -> Case:
    model = load_campplus(fetch("campplus"))
    embedding, affine = load_embedding("campplus"), model.xvector.projection()
    return Case(embedding, _CAMPPlusFrames(model), affine, CAMPPLUS_CARD, StockCAMPPlus(model).compute_fbank)


def wespeaker() -> Case:
    """Random weights: the real ones want a token."""
    torch.manual_seed(0)
    model = WeSpeakerResNet34().eval()
    affine = (model.resnet.seg_1.weight, model.resnet.seg_1.bias)
    embedding = wespeaker_embedding(model, "random", 1)
    return Case(embedding, _WeSpeakerFrames(model), affine, WESPEAKER_CARD, model.compute_fbank)


@pytest.mark.parametrize("make", [campplus, wespeaker])
def test_features_and_embedding_are_the_networks(excerpt: np.ndarray, tmp_path: Path, make: Callable[[], Case]) -> None:
    case = make()
    trace(case.frames, torch.zeros(1, 300, 80), tmp_path / "frames.onnx", {"fbank": {1: "time"}}, {"features": {}})
    session, frames = (open_session(path, 1) for path in (case.embedding.network, tmp_path / "frames.onnx"))
    assert [one.name for one in session.get_outputs()] == ["embedding", "features"]
    heard = torch.from_numpy(np.stack([excerpt[: 3 * SAMPLE_RATE], excerpt[-3 * SAMPLE_RATE :]]))
    fbank = case.fbank(heard[:, None])
    fbank = (fbank - fbank.mean(dim=1, keepdim=True)).numpy()
    both, _ = session.run(None, {"x": fbank})
    for index in range(2):
        (expected,) = frames.run(None, {"fbank": fbank[index : index + 1]})
        (features,) = session.run(["features"], {"x": fbank[index : index + 1]})
        np.testing.assert_array_equal(features, expected)
        pooled = case.embedding.pool(features[0].T)
        np.testing.assert_allclose(both[index], pooled, rtol=1e-4, atol=1e-4 * np.abs(pooled).max())
    found = checked_metadata(case.embedding.network, "embedding")
    assert found["output_dim"] == str(case.embedding.dimension) == str(both.shape[1])
    assert found["normalize_samples"] == {campplus: "1", wespeaker: "0"}[make]
    assert found["framework"] == {campplus: "3d-speaker", wespeaker: "wespeaker"}[make]


def test_one_frame_has_no_embedding() -> None:
    network = load_embedding("campplus").network
    embedding, features = open_session(network, 1).run(None, {"x": np.ones((1, 2, 80), np.float32)})
    assert features.shape == (1, 512, 1)
    assert np.isnan(embedding).all()
