"""Weights without a pickle: the values of the checkpoint, and what is no such file is said."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from objectives.cache.assets import fetch
from objectives.compression.compressor import finish, load_network
from objectives.compression.low_bit import METADATA, describe_network
from objectives.compression.plain_safetensors import FORMAT, load_plain, save_plain
from objectives.errors import ModelError
from objectives.models.segmentation import contract_of
from objectives.operating_point import Precision
from tests.support.networks import small_network


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


@pytest.mark.parametrize("content", [None, b"", b"noise" * 100])
def test_what_is_no_safetensors_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: not readable as safetensors"):
        load_plain(path)


@pytest.mark.parametrize("metadata", [None, {METADATA: "{}"}, {METADATA: '{"format": "explorer plain 9"}'}])
def test_safetensors_of_another_kind_are_said(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata)
    with pytest.raises(ModelError, match="its format is"):
        load_plain(tmp_path / "model.safetensors")


@pytest.mark.parametrize("text", ["no json", "[]", "7"])
def test_metadata_that_are_none_of_ours_are_said(tmp_path: Path, text: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", {METADATA: text})
    with pytest.raises(ModelError, match=r"model\.safetensors: "):
        load_plain(tmp_path / "model.safetensors")


@pytest.mark.parametrize("damage", ["a tensor less", "a tensor more", "another shape", "no network", "half a network"])
def test_what_is_incomplete_is_said(tmp_path: Path, damage: str) -> None:
    network, path = small_network(), tmp_path / "model.safetensors"
    save_plain(network, network.state_dict(), path)
    state, told = load_file(path), {"format": FORMAT, "network": describe_network(network)}
    if damage == "a tensor less":
        del state["classifier.bias"]
    elif damage == "a tensor more":
        state["x"] = torch.zeros(1)
    elif damage == "another shape":
        state["classifier.bias"] = torch.zeros(3)
    elif damage == "no network":
        del told["network"]
    else:
        del told["network"]["specifications"]["problem"]
    save_file(state, path, {METADATA: json.dumps(told)})
    with pytest.raises(ModelError, match=r"model\.safetensors: incomplete"):
        load_plain(path)
