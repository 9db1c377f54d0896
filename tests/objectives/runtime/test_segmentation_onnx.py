"""The file that is deployed is the one that was measured, small, and says what the model said before it was small."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from objectives.backends.onnx_export import Graph, trace
from objectives.backends.onnxruntime import open_session
from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.compression.compressor import Compressor, FinishedModel, load_network
from objectives.compression.quantization import QuantizedWeight
from objectives.compression.settings import CompressionSettings, QuantizationOptions
from objectives.compression.training_data import CalibrationData
from objectives.corpora.sources import load_corpus
from objectives.models.contract import SAMPLE_RATE
from objectives.models.windows import sliding_windows
from objectives.operating_point import UNPRUNED, Precision
from objectives.runtime import low_bit_onnx, segmentation_onnx
from objectives.runtime.segmentation_onnx import Kind, kept_onnx, kind_of, portable_onnx, write_onnx
from objectives.runtime.torch_runtime import open_runtime
from tests.support.onnx_sessions import as_run, operators
from tests.support.sherpa_metadata import checked_metadata

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8_ptq", "int4_ptq")
GRAPH = 30_000  # bytes for all but the weights
ALL_ROUNDED = QuantizationOptions(group_size=32, clipping="mse", sincnet="int8")


@pytest.fixture(scope="module")
def compressor() -> Compressor:
    return Compressor(fetch("segmentation-3.0"), calibration=CalibrationData(load_corpus("ami-excerpts")))


@pytest.fixture(scope="module")
def models(compressor: Compressor) -> Mapping[Precision, FinishedModel]:
    return {precision: compressor.finish(UNPRUNED, precision) for precision in PRECISIONS}


@pytest.fixture(scope="module")
def windows(excerpt: np.ndarray) -> np.ndarray:
    """(8, samples) of real audio."""
    return sliding_windows(excerpt, 10 * SAMPLE_RATE, 5 * SAMPLE_RATE // 2)[:8]


def scores(path: Path, windows: np.ndarray) -> np.ndarray:
    (name,) = (one.name for one in open_session(path, 1).get_inputs())
    (found,) = open_session(path, 1).run(None, {name: windows[:, None]})
    return found


def assert_same(one: Path, other: Path, windows: np.ndarray) -> None:
    """The same bits in any batch, by the same kernels."""
    for batch in (1, len(windows)):
        np.testing.assert_array_equal(scores(one, windows[:batch]), scores(other, windows[:batch]))
    assert operators(as_run(one)) == operators(as_run(other))


def traced(network: PyanNet, path: Path) -> Path:
    """As the file was before it could be deployed: 32 bits, a fixed number of samples."""
    free = {0: "batch"}
    trace(network, torch.zeros(1, 1, 10 * SAMPLE_RATE), path, {"waveform": free}, {"scores": free})
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_floating_point_says_what_32_bits_say(
    models: Mapping[Precision, FinishedModel], windows: np.ndarray, tmp_path: Path, precision: Precision
) -> None:
    assert len(windows) == 8
    write_onnx(models[precision], tmp_path / "model.onnx")
    assert_same(tmp_path / "model.onnx", traced(load_network(models[precision]), tmp_path / "wide.onnx"), windows)


def wide_integers(graph: Graph, codes: np.ndarray, multipliers: np.ndarray | None, weight: QuantizedWeight) -> str:
    """What the kernel multiplies, made here and stored as it is."""
    kind, zero = low_bit_onnx._kind_and_zero(graph, weight)
    integers = codes.astype(int)
    if multipliers is not None:
        integers = integers * multipliers.repeat(weight.group_size, axis=1)[:, : codes.shape[1]]
    return graph.constant((integers + zero).astype(kind))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("precision", "options"),
    [("int8_ptq", QuantizationOptions()), ("int4_ptq", QuantizationOptions()), ("int4_ptq", ALL_ROUNDED)],
    ids=str,
)
def test_packed_weights_say_what_wide_ones_say(
    compressor: Compressor,
    windows: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    options: QuantizationOptions,
    signed: bool,
) -> None:
    kind: Kind = "signed" if signed else "unsigned"
    model = replace(compressor, settings=CompressionSettings(quantization=options)).finish(UNPRUNED, precision)
    write_onnx(model, tmp_path / "model.onnx", kind)
    monkeypatch.setattr(low_bit_onnx, "_integers", wide_integers)
    monkeypatch.setattr(Graph, "widened", lambda graph, value: graph.constant(value.astype(np.float32)))
    monkeypatch.setattr(low_bit_onnx, "_store_sincnet", lambda *_: None)
    write_onnx(model, tmp_path / "wide.onnx", kind)
    assert_same(tmp_path / "model.onnx", tmp_path / "wide.onnx", windows[::2])


def test_kernels_get_constants_and_nothing_is_unpacked_while_they_run(
    models: Mapping[Precision, FinishedModel], tmp_path: Path
) -> None:
    write_onnx(models["int4_ptq"], tmp_path / "model.onnx")
    stored, run = onnx.load(tmp_path / "model.onnx"), as_run(tmp_path / "model.onnx")
    assert operators(stored).keys() > {"Pad", "Mod", "Div", "Sub"}
    assert not operators(run).keys() & {"Pad", "Mod", "Div", "Sub"}
    constants = {tensor.name: tensor for tensor in run.graph.initializer}
    layers = [node for node in run.graph.node if node.op_type == "DynamicQuantizeLSTM"]
    assert len(layers) == 4
    for node in layers:
        weights = [constants[node.input[index]] for index in (1, 2, 3, 8, 9, 10, 11)]
        assert [tuple(one.dims) for one in weights[1:3]] == [(2, 130, 520), (2, 1040)]
        assert all(one.data_type in (TensorProto.INT8, TensorProto.UINT8) for one in weights[:2])
    products = [node for node in run.graph.node if node.op_type == "MatMulInteger"]
    assert [tuple(constants[node.input[1]].dims) for node in products] == [(256, 128), (128, 128), (128, 7)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_take_as_many_bytes_as_in_the_models_own_file(
    models: Mapping[Precision, FinishedModel], tmp_path: Path, precision: Precision
) -> None:
    model, path = models[precision], tmp_path / "model.onnx"
    write_onnx(model, path)
    assert path.stat().st_size < model.size_bytes + GRAPH
    write_onnx(model, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_what_16_bits_cannot_hold_keeps_32(models: Mapping[Precision, FinishedModel], tmp_path: Path) -> None:
    write_onnx(models["fp16"], tmp_path / "model.onnx")
    state = torch.load(models["fp16"].checkpoint, weights_only=False)["state_dict"]
    stored = {one.name: one for one in onnx.load(tmp_path / "model.onnx").graph.initializer}
    for name, value in state.items():
        if "filterbank" in name and name in stored:
            assert stored[name].data_type == TensorProto.FLOAT
            np.testing.assert_array_equal(numpy_helper.to_array(stored[name]), value.numpy())
    assert "sincnet.conv1d.0.filterbank.low_hz_" in stored
    weight = stored["sincnet.conv1d.1.weight/float16"]
    np.testing.assert_array_equal(numpy_helper.to_array(weight), state["sincnet.conv1d.1.weight"].numpy())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_runtime_runs_the_file_that_a_user_takes_home(
    models: Mapping[Precision, FinishedModel], windows: np.ndarray, tmp_path: Path, precision: Precision
) -> None:
    model = models[precision]
    runtime = open_runtime(model, 1)
    write_onnx(model, tmp_path / "model.onnx")
    assert kept_onnx(model).read_bytes() == (tmp_path / "model.onnx").read_bytes()
    np.testing.assert_array_equal(runtime.scores(windows[:2]), scores(tmp_path / "model.onnx", windows[:2]))
    found = checked_metadata(tmp_path / "model.onnx")
    assert (found["window_size"], found["receptive_field_size"], found["receptive_field_shift"]) == (
        "160000",
        "991",
        "270",
    )
    assert (found["precision"], found["arithmetic"], found["model_key"]) == (precision, kind_of(model), model.key)


@torch.inference_mode()
@pytest.mark.parametrize("samples", [50_000, 1_261, 160_123])
def test_windows_of_any_length(models: Mapping[Precision, FinishedModel], excerpt: np.ndarray, samples: int) -> None:
    waveform = excerpt[None, :samples].copy()
    expected = load_network(models["fp32"])(torch.from_numpy(waveform)[:, None]).numpy()
    found = scores(kept_onnx(models["fp32"]), waveform)
    assert found.shape == expected.shape == (1, (samples - 721) // 270, 7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    assert scores(kept_onnx(models["int8_ptq"]), waveform).shape == found.shape


def test_what_is_handed_out_is_exact_on_every_processor(
    models: Mapping[Precision, FinishedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose kernels multiply signed codes exactly runs those, and hands out unsigned ones."""
    model = models["int8_ptq"]
    monkeypatch.setattr(segmentation_onnx, "signed_products_are_exact", lambda: True)
    assert kind_of(model) == "signed"
    portable_onnx(model, tmp_path / "portable.onnx")
    write_onnx(model, tmp_path / "unsigned.onnx", "unsigned")
    assert (tmp_path / "portable.onnx").read_bytes() == (tmp_path / "unsigned.onnx").read_bytes()
    monkeypatch.setattr(segmentation_onnx, "signed_products_are_exact", lambda: False)
    portable_onnx(model, tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == kept_onnx(model).read_bytes()
