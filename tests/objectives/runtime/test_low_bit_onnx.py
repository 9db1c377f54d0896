"""Integer kernels and their emulation: the same arithmetic, on all of the eval excerpts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import objectives.runtime.low_bit_onnx
from objectives.backends.onnxruntime import open_session
from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.compression.low_bit import Bits, LowBitModel, observe_ranges, quantize
from objectives.compression.pyannet_head import bidirectional_lstm, features_of, forward_head, lstm_bias
from objectives.compression.quantization import quantize_weight
from objectives.compression.settings import QuantizationOptions
from objectives.compression.training_data import CalibrationData
from objectives.compression.training_windows import calibration_features
from objectives.corpora.sources import load_corpus
from objectives.models.contract import SAMPLE_RATE
from objectives.models.segmentation import load_segmentation
from objectives.models.windows import sliding_windows
from objectives.runtime.low_bit_onnx import export_low_bit, signed_products_are_exact
from tests.support.kernel_agreement import agreement, unrest
from tests.support.networks import log_probabilities, random_features, small_network
from tests.support.onnx_sessions import as_run

STEP = 10 * SAMPLE_RATE
GROUPED = QuantizationOptions(group_size=32, clipping="mse")


@pytest.fixture(scope="module")
def real() -> PyanNet:
    return load_segmentation(fetch("segmentation-3.0"))


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    """(18, samples): all of the eval excerpts, every 10 s."""
    recordings = load_corpus("ami-excerpts").split("eval")
    return np.concatenate([sliding_windows(one.waveform(), 10 * SAMPLE_RATE, STEP) for one in recordings])


@pytest.fixture(scope="module")
def model_of(real: PyanNet) -> Callable[[Bits], LowBitModel]:
    """segmentation-3.0 in so many bits, with ranges from the calib excerpts."""
    ranges = observe_ranges(real, calibration_features(real, CalibrationData(load_corpus("ami-excerpts"))))
    return lambda bits: quantize(real, bits, QuantizationOptions(), ranges)


class Run(NamedTuple):
    """What the kernels made of windows: SincNet's output, and scores."""

    features: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Native:
    """A low-bit model in ONNX Runtime on one thread; what the nodes in `watched` put out can be asked for too."""

    path: Path

    def run(self, windows: np.ndarray, batch: int = 9) -> Run:
        graph = onnx.load(self.path)
        graph.graph.output.append(helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, None))
        onnx.save(graph, self.path.with_suffix(".watched.onnx"))
        session = open_session(self.path.with_suffix(".watched.onnx"), 1)
        asked = ["features", "y"]
        parts = [
            session.run(asked, {"x": windows[first : first + batch, None]}) for first in range(0, len(windows), batch)
        ]
        features, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Run(features, scores)


def native(model: LowBitModel, folder: Path) -> Native:
    export_low_bit(model, folder / "model.onnx", signed_products_are_exact())
    return Native(folder / "model.onnx")


@torch.inference_mode()
def emulated(model: LowBitModel, features: np.ndarray) -> np.ndarray:
    return torch.cat([log_probabilities(model, part) for part in torch.from_numpy(features).split(9)]).numpy()


@pytest.mark.parametrize("bits", [8, 4])
def test_kernels_and_emulation_agree_on_real_audio(
    model_of: Callable[[Bits], LowBitModel], windows: np.ndarray, tmp_path: Path, bits: Bits
) -> None:
    model = model_of(bits)
    kernels = native(model, tmp_path)
    answers = kernels.run(windows)
    expected = emulated(model, answers.features)
    own = unrest(lambda louder: kernels.run(louder).scores, windows)
    assert 1 - agreement(answers.scores, expected) <= 2 * own
    assert np.median(np.abs(answers.scores - expected)) < 0.03


def test_with_torchs_sincnet_they_agree_as_the_emulation_does_with_itself_under_noise(
    model_of: Callable[[Bits], LowBitModel], windows: np.ndarray, tmp_path: Path
) -> None:
    """The two SincNets differ by 6e-7. That rounds some of the features otherwise, and an LSTM that rounds its state
    carries each of them on: noise of a hundred thousandth does the same to the emulation alone."""
    model = model_of(8)
    kernels = native(model, tmp_path).run(windows)
    with torch.inference_mode():
        of_torch = features_of(model.network, torch.tensor(windows)[:, None]).contiguous().numpy()
    assert np.abs(of_torch - kernels.features).mean() < 2e-6
    whole, drawn = emulated(model, of_torch), np.random.default_rng(0)
    noises = [1 + 1e-5 * drawn.standard_normal(of_torch.shape, np.float32) for _ in range(3)]
    own = 1 - np.mean([agreement(emulated(model, of_torch * noise), whole) for noise in noises])
    assert own < 0.02
    assert 1 - agreement(kernels.scores, whole) <= 2 * own


@torch.inference_mode()
def test_each_layer_of_the_kernels_is_the_emulated_one(
    model_of: Callable[[Bits], LowBitModel], windows: np.ndarray, tmp_path: Path
) -> None:
    """Given what the layer before it said, each says the same but for single roundings at the edge: nothing adds up."""
    model = model_of(8)
    graph = onnx.load(native(model, tmp_path).path)
    names = [node.output[0] for node in graph.graph.node if node.op_type == "DynamicQuantizeLSTM"]
    for name in ("features", *names):
        graph.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.save(graph, tmp_path / "watched.onnx")
    session = open_session(tmp_path / "watched.onnx", 1)
    entering, *answers = session.run(["features", *names], {"x": windows[:4, None]})
    hidden = model.network.lstm.hidden_size
    for layer, answer in enumerate(answers):
        # (frames, 2, batch, hidden and what holds the range) → (batch, frames, 2 · hidden)
        said = answer[..., :hidden].transpose(2, 0, 1, 3).reshape(4, -1, 2 * hidden)
        weights = (model.weights[f"lstm.{layer}.{kind}"].values for kind in ("input", "state"))
        expected = bidirectional_lstm(
            model.ranges[f"lstm.{layer}"].rounded(torch.tensor(entering)),
            *(weight.reshape(2, 4 * hidden, -1) for weight in weights),
            lstm_bias(model.network, layer),
            round_state=True,
        ).numpy()
        moved = np.abs(said - expected)
        assert np.median(moved) < 1e-6
        assert (moved > 1e-4).mean() < 0.1
        assert moved.mean() < 1e-4
        assert moved[:, 0, :hidden].max() < 1e-5  # the first step, before any state was rounded
        assert moved[:, -1, hidden:].max() < 1e-5  # and the first of the other direction
        # what holds the range of the state at -1 and 1 does so to the end
        np.testing.assert_allclose(answer[..., hidden:], np.broadcast_to([-1.0, 1.0], answer[..., hidden:].shape))
        entering = said.copy()


@pytest.mark.parametrize("bits", [8, 4])
def test_scores_do_not_depend_on_the_batch(
    model_of: Callable[[Bits], LowBitModel], windows: np.ndarray, tmp_path: Path, bits: Bits
) -> None:
    kernels = native(model_of(bits), tmp_path)
    few = windows[:7] * np.geomspace(0.05, 1, 7, dtype=np.float32)[:, None]  # soft and loud ones side by side
    together = kernels.run(few, batch=7).scores
    assert np.array_equal(kernels.run(few, batch=1).scores, together)
    assert np.array_equal(kernels.run(few[::-1], batch=3).scores[::-1], together)


def small_model(bits: Bits, largest: int = 127) -> LowBitModel:
    """A small random one, whose codes are cut off at `largest`."""
    network = small_network(hidden=9, layers=2, width=5)
    ranges = observe_ranges(network, random_features(4))
    model = quantize(network, bits, QuantizationOptions(), ranges)
    for weight in model.weights.values():
        weight.codes.clamp_(-largest, largest)
    return model


@pytest.mark.parametrize("largest", [64, 127])
def test_signed_and_unsigned_kernels_say_the_same_where_both_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: np.ndarray, largest: int
) -> None:
    """Unsigned ones are exact everywhere; signed ones up to 64 everywhere, and beyond where the probe says so."""
    signed_are_exact = signed_products_are_exact()
    model, answers = small_model(8, largest), {}
    monkeypatch.setattr(objectives.runtime.low_bit_onnx, "SATURATING", 0)
    for signed in (True, False):
        path = tmp_path / f"{signed}.onnx"
        export_low_bit(model, path, signed)
        codes = {one.data_type for one in onnx.load(path).graph.initializer if one.dims and one.dims[-1] > 6}
        assert codes & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8} == {
            onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8
        }
        answers[signed] = Native(path).run(windows[:2])
    expected = emulated(model, answers[False].features)
    np.testing.assert_allclose(answers[False].scores, expected, rtol=0, atol=0.02)
    assert np.median(np.abs(answers[False].scores - expected)) < 1e-4
    if signed_are_exact or largest <= 64:
        assert np.array_equal(answers[True].scores, answers[False].scores)


def test_4_bit_codes_stay_signed_whatever_the_processor(tmp_path: Path) -> None:
    model = small_model(4)
    export_low_bit(model, tmp_path / "model.onnx", signed=False)
    large = [one for one in as_run(tmp_path / "model.onnx").graph.initializer if len(one.dims) >= 2]
    kinds = [one.data_type for one in large if one.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)]
    assert kinds.count(onnx.TensorProto.INT8) >= 6  # of two LSTM layers and two linear ones
    assert kinds.count(onnx.TensorProto.UINT8) <= 1  # the classifier has 8 bits


def test_the_probe_tells_whether_large_signed_products_are_exact(tmp_path: Path) -> None:
    """Where it says no, the kernel must really be wrong, and unsigned by unsigned right: that is what is used then."""
    left, right = np.full((1, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    products = {}
    for kind, codes, zero in (
        ("signed", right, np.int8(0)),
        ("unsigned", (right.astype(int) + 128).astype(np.uint8), np.uint8(128)),
    ):
        graph = helper.make_graph(
            [helper.make_node("MatMulInteger", ["left", "right", "", "zero"], ["product"])],
            kind,
            [helper.make_tensor_value_info("left", onnx.TensorProto.UINT8, left.shape)],
            [helper.make_tensor_value_info("product", onnx.TensorProto.INT32, None)],
            [onnx.numpy_helper.from_array(codes, "right"), onnx.numpy_helper.from_array(np.array(zero), "zero")],
        )
        path = tmp_path / f"{kind}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        (products[kind],) = open_session(path, 1).run(None, {"left": left})
    assert (products["unsigned"] == 64 * 255 * 127).all()
    assert (products["signed"] == 64 * 255 * 127).all() == signed_products_are_exact()


@pytest.mark.parametrize("options", [QuantizationOptions(), GROUPED], ids=str)
@pytest.mark.parametrize("sizes", [{"layers": 1, "linears": 0}, {"hidden": 1, "width": 1}, {"hidden": 11}], ids=str)
def test_networks_of_other_sizes_run_too(
    tmp_path: Path, windows: np.ndarray, sizes: dict[str, int], options: QuantizationOptions
) -> None:
    network = small_network(**sizes)
    model = quantize(network, 4, options, observe_ranges(network, random_features(4)))
    kernels = native(model, tmp_path).run(windows[:2])
    expected = emulated(model, kernels.features)
    assert kernels.scores.shape == (2, 589, 7)
    np.testing.assert_allclose(kernels.scores, expected, rtol=0, atol=0.02)
    assert np.median(np.abs(kernels.scores - expected)) < 1e-4


def test_features_beyond_the_range_are_clipped_in_both(tmp_path: Path, windows: np.ndarray) -> None:
    network = small_network(hidden=9)
    narrow = observe_ranges(network, random_features(4) / 50)
    model = quantize(network, 8, QuantizationOptions(), narrow)
    kernels = native(model, tmp_path).run(windows[:2])
    assert kernels.features.max() > 2 * narrow["lstm.0"].high
    moved = np.abs(kernels.scores - emulated(model, kernels.features)).max()
    with torch.inference_mode():
        unclipped = forward_head(network, torch.from_numpy(kernels.features)).numpy()
    assert np.abs(unclipped - kernels.scores).max() > 5 * moved


def test_sincnet_in_8_bits_runs_with_the_values_that_are_stored(real: PyanNet, tmp_path: Path) -> None:
    network = small_network()
    ranges = observe_ranges(network, random_features(4))
    model = quantize(network, 8, QuantizationOptions(sincnet="int8"), ranges)
    name = "sincnet.conv1d.1.weight"
    rounded = quantize_weight(network.get_parameter(name).flatten(1), 8).values
    assert torch.equal(model.network.get_parameter(name).flatten(1), rounded)
    random = np.random.default_rng(0).standard_normal((1, 10 * SAMPLE_RATE)).astype(np.float32)
    with torch.inference_mode():
        stored, full = (features_of(one, torch.from_numpy(random)[:, None]).numpy() for one in (model.network, network))
    found = native(model, tmp_path).run(random).features
    assert np.abs(found - stored).max() < 1e-3 < np.abs(found - full).max()
