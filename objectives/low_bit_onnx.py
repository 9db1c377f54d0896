"""A low-bit segmentation model as ONNX: integer LSTM and matrix products of ONNX Runtime, static activation ranges.

ONNX Runtime's DynamicQuantizeLSTM takes the range of what it rounds from the data of each call, so that a window's
answer would depend on its neighbours in the batch. Here two columns with weight zero are added to its input, always at
the ends of the static range, and two units to its state, always at -1 and 1. The ranges that it finds are then those
that were calibrated, and the answer of a window is its own, whatever it is batched with.

4-bit codes are widened to 8 bits: no CPU kernel multiplies them as they are.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from objectives._onnx import OPSET, export_network
from objectives.backend import PyanNet
from objectives.low_bit import LowBitModel
from objectives.quantization import QuantizedWeight
from objectives.segmentation import contract_of
from objectives.tail import features_of, linears, lstm_bias

PEGS = 2  # values at the ends of a range, to hold it there
CERTAIN = 40.0  # a gate's input that opens it for good; its negative shuts it
OPEN_CELL = 20.0  # a cell whose tanh is 1
GATE_ORDER = [0, 3, 1, 2]  # torch's input, forget, cell, output as ONNX has them: input, output, forget, cell
SATURATING = 64  # codes up to here fit 16 bits in pairs, times 255, even where a processor adds them up there


def export_low_bit(model: LowBitModel, path: Path) -> None:
    """Write (batch, 1, samples) → (batch, frames, classes) as ONNX, batch dynamic."""
    example = torch.zeros(1, 1, contract_of(model.network).window)
    export_network(_Front(model.network), example, path, inputs="waveform", outputs="features", dynamic={0: "batch"})
    graph = _Graph(onnx.load(path))
    frames_first = graph.add("Transpose", ["features"], perm=[1, 0, 2])
    scores = _tail(graph, model, frames_first)
    graph.add("Transpose", [scores], output="scores", perm=[1, 0, 2])
    onnx.save(graph.finished("scores"), path)


@functools.cache
def signed_products_are_exact() -> bool:
    """Whether this processor's kernel for unsigned by signed 8-bit products is exact.

    Those without VNNI add pairs of products up in 16 bits, which overflows; unsigned by unsigned is exact everywhere.
    """
    left, right = np.full((1, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "probe",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, left.shape)],
        [helper.make_tensor_value_info("product", TensorProto.INT32, None)],
        [numpy_helper.from_array(right, "right")],
    )
    probe = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"left": left})
    return bool((product == 64 * 255 * 127).all())


class _Front(torch.nn.Module):
    """SincNet with its channels last."""

    def __init__(self, network: PyanNet):
        super().__init__()
        self._network = network

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return features_of(self._network, waveforms)


class _Graph:
    """An ONNX model to which nodes are added at the end."""

    def __init__(self, model: onnx.ModelProto):
        self._model = model
        self._names = 0

    def add(
        self, operator: str, inputs: Sequence[str], domain: str = "", output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node with one output, and return the output's name."""
        name = output or self._name(operator)
        self._model.graph.node.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """Add an initializer, and return its name."""
        name = self._name("constant")
        self._model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def finished(self, output: str) -> onnx.ModelProto:
        """The model with another output."""
        del self._model.graph.output[:]
        shape = ["batch", "frames", "classes"]
        self._model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
        self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return self._model

    def _name(self, of: str) -> str:
        self._names += 1
        return f"low_bit/{of}_{self._names}"


def _tail(graph: _Graph, model: LowBitModel, features: str) -> str:
    """(frames, batch, 60) → (frames, batch, classes)."""
    for layer in range(model.network.lstm.num_layers):
        features = _lstm(graph, model, layer, features)
    for layer, linear in enumerate(linears(model.network)):
        name = f"linear.{layer}"
        features = _linear(graph, model, name, linear.bias, features)
        features = graph.add("LeakyRelu", [features], alpha=0.01)
    scores = _linear(graph, model, "classifier", model.network.classifier.bias, features)
    return graph.add("LogSoftmax", [scores], axis=-1)


def _lstm(graph: _Graph, model: LowBitModel, layer: int, features: str) -> str:
    """(frames, batch, inputs) → (frames, batch, 2 · hidden)."""
    hidden = model.network.lstm.hidden_size
    inputs = _kernel_weight(graph, model.weights[f"lstm.{layer}.input"], hidden)
    states = _kernel_weight(graph, model.weights[f"lstm.{layer}.state"], hidden)
    bias = lstm_bias(model.network, layer).detach().reshape(2, 4, hidden)[:, GATE_ORDER].numpy()
    pegged = np.zeros((2, 8, hidden + PEGS), np.float32)
    pegged[:, :4, :hidden] = bias
    pegged[:, 0, hidden:], pegged[:, 1:3, hidden:] = -CERTAIN, CERTAIN  # nothing enters, everything stays and leaves

    batch = graph.add("Slice", [graph.add("Shape", [features]), _whole(graph, 1), _whole(graph, 2)])
    start = np.zeros((2, 2, 1, hidden + PEGS), np.float32)  # state, cell
    start[0, ..., hidden:], start[1, ..., hidden:] = (-1.0, 1.0), (-OPEN_CELL, OPEN_CELL)
    shape = graph.add("Concat", [_whole(graph, 2), batch, _whole(graph, hidden + PEGS)], axis=0)
    state, cell = (graph.add("Expand", [graph.constant(value), shape]) for value in start)

    entering = _pegged_input(graph, model, f"lstm.{layer}", features)
    output = graph.add(
        "DynamicQuantizeLSTM",
        [entering, inputs[0], states[0], graph.constant(pegged.reshape(2, -1)), "", state, cell, "", *inputs[1:],
         *states[1:]],
        domain="com.microsoft", direction="bidirectional", hidden_size=hidden + PEGS,
    )  # (frames, 2, batch, hidden + 2)  # fmt: skip
    output = graph.add("Slice", [output, _whole(graph, 0), _whole(graph, hidden), _whole(graph, 3)])
    output = graph.add("Transpose", [output], perm=[0, 2, 1, 3])
    return graph.add("Reshape", [output, graph.constant(np.array([0, 0, 2 * hidden]))])


def _pegged_input(graph: _Graph, model: LowBitModel, layer: str, features: str) -> str:
    """(frames, batch, inputs) → (frames, batch, inputs + 2), within the layer's range and reaching both of its ends."""
    ends = np.array([model.ranges[layer].low, model.ranges[layer].high], np.float32)
    within = graph.add("Clip", [features, graph.constant(ends[0]), graph.constant(ends[1])])
    leading = graph.add("Slice", [graph.add("Shape", [features]), _whole(graph, 0), _whole(graph, 2)])
    shape = graph.add("Concat", [leading, _whole(graph, PEGS)], axis=0)
    return graph.add("Concat", [within, graph.add("Expand", [graph.constant(ends), shape])], axis=2)


def _kernel_weight(graph: _Graph, weight: QuantizedWeight, hidden: int) -> tuple[str, str, str]:
    """(2 · 4 · hidden, inputs) → (2, inputs + 2, 4 · (hidden + 2)) as the kernel takes it, its scales and zero points.
    What was added is zero."""
    integers = weight.integers.reshape(2, 4, hidden, -1)[:, GATE_ORDER].numpy()
    scale = weight.scale.float().reshape(2, 4, hidden)[:, GATE_ORDER].numpy()
    integers = np.pad(integers, ((0, 0), (0, 0), (0, PEGS), (0, PEGS)))
    scale = np.pad(scale, ((0, 0), (0, 0), (0, PEGS)), constant_values=1.0).reshape(2, -1)
    codes, zero = _unsigned_where_needed(integers.reshape(2, 4 * (hidden + PEGS), -1).transpose(0, 2, 1))
    zeros = np.full(scale.shape, zero, codes.dtype)
    return graph.constant(codes), graph.constant(scale), graph.constant(zeros)


def _linear(graph: _Graph, model: LowBitModel, layer: str, bias: torch.Tensor, features: str) -> str:
    """(frames, batch, inputs) → (frames, batch, outputs)."""
    weight, entering = model.weights[f"{layer}.weight"], model.ranges[layer]
    step, zero = np.float32(entering.step), np.uint8(entering.zero_point)
    codes, weight_zero = _unsigned_where_needed(weight.integers.numpy().T)
    zero_name = graph.constant(np.array(zero))
    rounded = graph.add("QuantizeLinear", [features, graph.constant(np.array(step)), zero_name])
    products = graph.add(
        "MatMulInteger", [rounded, graph.constant(codes), zero_name, graph.constant(np.array(weight_zero, codes.dtype))]
    )
    scale = graph.constant(weight.scale.float().numpy() * step)
    scaled = graph.add("Mul", [graph.add("Cast", [products], to=TensorProto.FLOAT), scale])
    return graph.add("Add", [scaled, graph.constant(bias.detach().numpy())])


def _unsigned_where_needed(integers: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes as this processor multiplies them exactly, and their zero point."""
    if np.abs(integers).max() <= SATURATING or signed_products_are_exact():
        return integers.astype(np.int8), 0
    return (integers.astype(np.int16) + 128).astype(np.uint8), 128


def _whole(graph: _Graph, value: int) -> str:
    return graph.constant(np.array([value]))
