"""Weights without a pickle: the file holds the values of the checkpoint and what rebuilds the network."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.compression.compressor import load_network
from objectives.compression.low_bit import METADATA, PLAIN_FORMAT, network_like, save_plain
from objectives.models.segmentation import contract_of
from objectives.operating_point import Precision
from tests.support.networks import finish, small_network


def load_plain(path: Path) -> PyanNet:
    """Build the network of the metadata and load the values, 16-bit ones widened."""
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()[METADATA])
    assert described["format"] == PLAIN_FORMAT
    network = network_like(described["network"])
    network.load_state_dict(load_file(path), strict=True)
    return network.eval()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_models_values_come_back(tmp_path: Path, precision: Precision) -> None:
    model = finish(fetch("segmentation-3.0"), precision)
    network, path = load_network(model), tmp_path / "model.safetensors"
    state = torch.load(model.checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    save_plain(network, state, path)
    again = load_plain(path)
    assert not again.training
    assert contract_of(again) == contract_of(network)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    # what has 16 bits takes 16 bits, and no more
    assert path.stat().st_size == pytest.approx(model.size_bytes, rel=0.02)


def test_a_small_network_is_built_again(tmp_path: Path) -> None:
    network = small_network(hidden=4, layers=3, width=7, linears=1)
    save_plain(network, network.state_dict(), tmp_path / "model.safetensors")
    again = load_plain(tmp_path / "model.safetensors")
    heard = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(again(heard), network(heard))
