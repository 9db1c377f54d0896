"""Low-bit files: what is in them, that they come back as they were, and what is said of those that do not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.compression.low_bit import (
    METADATA,
    SINCNET_WEIGHTS,
    Bits,
    LowBitModel,
    Ranges,
    faked_weights,
    load,
    observe_ranges,
    quantize,
    run_low_bit,
    save,
)
from objectives.compression.pyannet_head import features_of, head_weights, run_head
from objectives.compression.quantization import ActivationRange
from objectives.compression.settings import QuantizationOptions
from objectives.errors import ModelError
from objectives.models.segmentation import contract_of, load_segmentation
from tests.support.checkpoints import seconds_apart
from tests.support.networks import log_probabilities, prune_once, random_features, small_network

PLAIN = QuantizationOptions()
OPTIONS = [
    PLAIN,
    QuantizationOptions(clipping="mse"),
    QuantizationOptions(sincnet="int8"),
    QuantizationOptions(group_size=32, clipping="mse", sincnet="int8"),
    QuantizationOptions(group_size=7),  # of which no width is a multiple
]


@pytest.fixture(scope="module")
def real() -> PyanNet:
    """segmentation-3.0 with 84 of its 128 linear outputs, as in the paper's Table 2, not recovered."""
    return prune_once(load_segmentation(fetch("segmentation-3.0")), linear=84)


@pytest.fixture(scope="module")
def waveforms(excerpt: np.ndarray) -> torch.Tensor:
    """(4, 1, samples) of real audio."""
    return torch.from_numpy(seconds_apart(excerpt, 4).copy())[:, None]


@pytest.fixture(scope="module")
def features(real: PyanNet, waveforms: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return features_of(real, waveforms).contiguous()


@pytest.fixture(scope="module")
def ranges(real: PyanNet, features: torch.Tensor) -> Ranges:
    return observe_ranges(real, features)


def small_model(bits: Bits = 4, options: QuantizationOptions = PLAIN, **sizes: int) -> LowBitModel:
    network = small_network(**sizes)
    return quantize(network, bits, options, observe_ranges(network, random_features(4)))


def test_ranges_hold_what_enters_each_layer(real: PyanNet, features: torch.Tensor, ranges: Ranges) -> None:
    assert list(ranges) == ["lstm.0", "lstm.1", "lstm.2", "lstm.3", "linear.0", "linear.1", "classifier"]
    assert ranges["lstm.0"].low == pytest.approx(features.min().item())
    assert ranges["lstm.0"].high == pytest.approx(features.max().item())
    answers, _ = real.lstm(features)
    assert ranges["linear.0"].low == pytest.approx(answers.min().item(), abs=1e-4)
    assert all(-1 <= ranges[f"lstm.{layer}"].low < 0 < ranges[f"lstm.{layer}"].high <= 1 for layer in (1, 2, 3))
    # more audio may widen a range and never narrows one
    fewer = observe_ranges(real, features[:1])
    narrower = [(ranges[name].low - one.low, one.high - ranges[name].high) for name, one in fewer.items()]
    assert np.max(narrower) < 1e-4  # but for what depends on how windows are batched
    assert np.min(narrower) < -0.01


def test_weights_have_their_bits_and_the_classifier_keeps_8(real: PyanNet, ranges: Ranges) -> None:
    for bits in (8, 4):
        model = quantize(real, bits, PLAIN, ranges)
        assert set(model.weights) == set(head_weights(real))
        told = {name: weight.bits for name, weight in model.weights.items()}
        assert told.pop("classifier.weight") == 8
        assert set(told.values()) == {bits}
        assert all(weight.multipliers is None for weight in model.weights.values())


def test_everything_else_is_as_it_was(real: PyanNet, ranges: Ranges) -> None:
    before, after = real.state_dict(), quantize(real, 4, PLAIN, ranges).network.state_dict()
    assert before.keys() == after.keys()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("sincnet.")} <= same
    assert {"linear.0.bias", "linear.1.bias", "classifier.bias"} <= same
    assert not {name for name in same if name.endswith("weight") or "weight_" in name} - {
        name for name in before if name.startswith("sincnet.")
    }
    for layer in range(4):
        for end in (f"l{layer}", f"l{layer}_reverse"):
            both = [sum(state[f"lstm.bias_{kind}_{end}"] for kind in ("ih", "hh")) for state in (before, after)]
            assert torch.equal(both[0], both[1])


def test_the_network_has_the_values_of_the_stored_weights(real: PyanNet, ranges: Ranges) -> None:
    model = quantize(real, 4, QuantizationOptions(group_size=32), ranges)
    own = head_weights(model.network)
    assert all(torch.equal(own[name], weight.values) for name, weight in model.weights.items())


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_training_sees_what_the_finished_model_says(
    real: PyanNet, features: torch.Tensor, ranges: Ranges, bits: Bits, options: QuantizationOptions
) -> None:
    model = quantize(real, bits, options, ranges)
    with torch.no_grad():
        seen = run_low_bit(real, features[:1, :50], faked_weights(real, bits, options), ranges)
    # the file has an LSTM's two biases as their sum, which is what training adds up as well
    assert torch.equal(seen, log_probabilities(model, features[:1, :50]).detach())


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.inference_mode()
def test_a_file_comes_back_as_it_was(
    real: PyanNet,
    waveforms: torch.Tensor,
    ranges: Ranges,
    tmp_path: Path,
    bits: Bits,
    options: QuantizationOptions,
) -> None:
    model = quantize(real, bits, options, ranges)
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.bits == bits
    assert again.ranges == ranges
    assert contract_of(again.network) == contract_of(real)
    assert again.weights.keys() == model.weights.keys()
    for name, weight in model.weights.items():
        other = again.weights[name]
        assert (other.bits, other.group_size) == (weight.bits, weight.group_size)
        assert torch.equal(other.codes, weight.codes)
        assert torch.equal(other.integers, weight.integers)
        assert torch.equal(other.scale, weight.scale)
    state, state_again = model.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(value, state_again[name]) for name, value in state.items())
    answers = [
        log_probabilities(one, features_of(one.network, waveforms[:1])[:, :100].contiguous()) for one in (model, again)
    ]
    assert torch.equal(*answers)


@pytest.mark.parametrize(
    "sizes", [{"layers": 1, "linears": 0}, {"hidden": 1, "width": 1}, {"layers": 3, "linears": 1, "hidden": 5}], ids=str
)
@pytest.mark.parametrize("bits", [8, 4])
def test_other_sizes_come_back_too(tmp_path: Path, sizes: dict[str, int], bits: Bits) -> None:
    model = small_model(bits, QuantizationOptions(group_size=4), **sizes)
    save(model, tmp_path / "model.safetensors")
    features = random_features(2, seed=1)
    with torch.inference_mode():
        again = load(tmp_path / "model.safetensors")
        assert torch.equal(log_probabilities(again, features), log_probabilities(model, features))


def test_the_same_model_is_the_same_bytes(tmp_path: Path) -> None:
    """Several times, as what depends on the order of a hash table may come out the same by chance."""
    written = set()
    for name in "abcdef":
        save(small_model(), tmp_path / f"{name}.safetensors")
        written.add((tmp_path / f"{name}.safetensors").read_bytes())
    assert len(written) == 1


def test_what_the_file_holds(real: PyanNet, ranges: Ranges, tmp_path: Path) -> None:
    """Two 4-bit codes a byte, scales in 16 bits, SincNet and biases in 32."""
    sizes = {}
    for bits in (8, 4):
        path = tmp_path / f"{bits}.safetensors"
        save(quantize(real, bits, PLAIN, ranges), path)
        stored, sizes[bits] = load_file(path), path.stat().st_size
        for name, weight in head_weights(real).items():
            halves = 2 if bits == 4 and name != "classifier.weight" else 1
            assert stored[f"{name}.codes"].nbytes == weight.numel() // halves
            assert stored[f"{name}.scale"].dtype == torch.float16
            assert stored[f"{name}.scale"].shape == (len(weight),)
        others = {name: value for name, value in stored.items() if not name.endswith((".codes", ".scale"))}
        assert {value.dtype for value in others.values()} == {torch.float32}
        of_sincnet = {name: value for name, value in others.items() if name.startswith("sincnet.")}
        assert sum(value.numel() for value in of_sincnet.values()) >= 42_602  # what training may change, and buffers
        biases = set(others) - set(of_sincnet)
        assert biases == {f"lstm.{layer}.bias" for layer in range(4)} | {
            f"{layer}.bias" for layer in ("linear.0", "linear.1", "classifier")
        }
    wide = sum(weight.numel() for name, weight in head_weights(real).items() if name != "classifier.weight")
    assert sizes[8] - sizes[4] == pytest.approx(wide / 2, abs=64)


def test_groups_cost_half_a_byte_each_and_sincnet_in_8_bits_saves_three_of_four(
    real: PyanNet, ranges: Ranges, tmp_path: Path
) -> None:
    def size(options: QuantizationOptions) -> int:
        save(quantize(real, 4, options, ranges), tmp_path / "model.safetensors")
        return (tmp_path / "model.safetensors").stat().st_size

    plain = size(PLAIN)
    grouped = sum(len(one) * -(-one.shape[1] // 32) for name, one in head_weights(real).items() if "class" not in name)
    assert size(QuantizationOptions(group_size=32)) - plain == pytest.approx(grouped / 2, abs=2000)  # and their names
    saved = sum(real.get_parameter(name).numel() * 3 - 2 * len(real.get_parameter(name)) for name in SINCNET_WEIGHTS)
    assert plain - size(QuantizationOptions(sincnet="int8")) == pytest.approx(saved, abs=500)


@torch.inference_mode()
def test_8_bits_say_nearly_what_32_say_and_4_bits_less_so(
    real: PyanNet, features: torch.Tensor, ranges: Ranges
) -> None:
    expected = run_head(real, features, head_weights(real)).argmax(-1)
    same = [
        (log_probabilities(quantize(real, bits, PLAIN, ranges), features).argmax(-1) == expected).float().mean()
        for bits in (8, 4)
    ]
    assert same[0] > 0.97
    assert 0.8 < same[1] < same[0]


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(10_000))


def truncated(path: Path) -> None:
    save(small_model(), path)
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_pickled_checkpoint(path: Path) -> None:
    path.write_bytes(fetch("segmentation-3.0").read_bytes())


def somebody_elses_safetensors(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})


def without_metadata(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def rewritten(path: Path, drop: str = "", **changes: Any) -> None:
    """A small model's file with one tensor less, or with something else in its description."""
    save(small_model(), path)
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()[METADATA])
    stored = {name: value for name, value in load_file(path).items() if name != drop}
    save_file(stored, path, {METADATA: json.dumps(described | changes)})


def without_a_scale(path: Path) -> None:
    rewritten(path, drop="lstm.0.input.scale")


def without_a_bias(path: Path) -> None:
    rewritten(path, drop="linear.0.bias")


def without_sincnet(path: Path) -> None:
    rewritten(path, drop="sincnet.conv1d.1.weight")


def with_weights_in_a_list(path: Path) -> None:
    rewritten(path, weights=["lstm.0.input"])


def with_no_network(path: Path) -> None:
    rewritten(path, network=None)


def with_other_sizes(path: Path) -> None:
    save(small_model(), path)
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()[METADATA])
    described["network"]["hyper_parameters"]["lstm"]["hidden_size"] = 7
    rewritten(path, **described)


def with_broken_json(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {METADATA: '{"bits": 4,'})


def with_no_object(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {METADATA: "[4]"})


@pytest.mark.parametrize("write", [random_bytes, truncated, empty, a_pickled_checkpoint])
def test_what_is_no_safetensors_is_refused_by_name(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=rf"^{tmp_path / 'model.safetensors'}: not readable .*make the model again"):
        load(tmp_path / "model.safetensors")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"^{tmp_path / 'gone.safetensors'}: not readable"):
        load(tmp_path / "gone.safetensors")


def of_another_version(path: Path) -> None:
    rewritten(path, format="explorer low-bit segmentation 0")


@pytest.mark.parametrize("write", [somebody_elses_safetensors, without_metadata, of_another_version])
def test_safetensors_of_others_are_refused_by_name(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=rf"^{tmp_path / 'model.safetensors'}: its format is .*make the model again"):
        load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "write",
    [
        with_no_object,
        without_a_scale,
        without_a_bias,
        without_sincnet,
        with_weights_in_a_list,
        with_no_network,
        with_other_sizes,
        with_broken_json,
    ],
)
def test_a_file_that_lacks_something_is_refused_by_name(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=rf"^{tmp_path / 'model.safetensors'}: incomplete .*make the model again"):
        load(tmp_path / "model.safetensors")


def test_ranges_survive_as_they_were(tmp_path: Path) -> None:
    model = small_model()
    odd = {name: ActivationRange(-1 / 3, 0.1 + index / 7) for index, name in enumerate(model.ranges)}
    save(LowBitModel(model.network, model.weights, odd, model.bits), tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").ranges == odd


def test_nobodys_seed_notices(tmp_path: Path) -> None:
    save(small_model(), tmp_path / "model.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load(tmp_path / "model.safetensors")
    assert torch.equal(torch.rand(1), expected)
