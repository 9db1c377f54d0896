"""Export a low-bit segmentation model to ONNX: integer LSTM and matrix products of ONNX Runtime, static activation
ranges.

ONNX Runtime's DynamicQuantizeLSTM finds the range of the values that it rounds in the data of each call, so the result
for a window would depend on the other windows of its batch. To prevent this, two columns with zero weight are added to
its input and always hold the ends of the static range. Two units are added to its state and always hold -1 and 1. The
ranges that it finds are then the calibrated ones, and the result for a window does not depend on its batch.

Weights are stored as in objectives/compression/low_bit.py: two 4-bit codes in each byte, and scales in 16 bits. No CPU
kernel multiplies 4-bit codes directly, so the graph widens codes to 8 bits and scales to 32 bits, once, when a session
is opened (objectives/backends/onnx_export.py).
"""

import functools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from objectives.backends.onnx_export import Graph, put_first, trace
from objectives.backends.onnxruntime import IR_VERSION, OPSET
from objectives.backends.pyannote import PyanNet
from objectives.compression.low_bit import SINCNET_WEIGHTS, LowBitModel
from objectives.compression.pyannet_head import features_of, linears, lstm_bias
from objectives.compression.quantization import QuantizedWeight
from objectives.models.segmentation import contract_of

PEGS = 2  # added values, one for each end of a range, that fix the range
CERTAIN = 40.0  # input that keeps a gate open; its negative keeps it shut
OPEN_CELL = 20.0  # value of a cell whose tanh is 1
GATE_ORDER = [0, 3, 1, 2]  # torch's input, forget, cell, output as ONNX has them: input, output, forget, cell
SATURATING = 64  # pairs of codes up to this, times 255, fit in 16 bits, so every processor adds them exactly


def export_low_bit(model: LowBitModel, path: Path, signed: bool) -> None:
    """Write (N, 1, T) `x` → (N, frames, classes) `y` as ONNX, N and T free.

    signed: multiply 8-bit codes as signed integers, which is not exact on every processor (see
    signed_products_are_exact).
    """
    front = _Front(model.network)
    example = torch.zeros(1, 1, contract_of(model.network).window)
    trace(front, example, path, {"x": {0: "N", 2: "T"}}, {"features": {0: "N", 1: "frames"}})
    written = onnx.load(path)
    graph = Graph(written, "q", signed)
    _store_sincnet(written, graph, model)
    frames_first = graph.add("Transpose", ["features"], perm=[1, 0, 2])
    scores = _head(graph, model, frames_first)
    graph.add("Transpose", [scores], output="y", perm=[1, 0, 2])
    shape = ("N", "frames", int(model.network.classifier.out_features))
    onnx.save(graph.as_model(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)), path)


@functools.cache
def signed_products_are_exact() -> bool:
    """Return whether this processor's kernel for unsigned by signed 8-bit products is exact.

    Processors without VNNI add pairs of products in 16 bits, which overflows. Unsigned by unsigned is exact on all.
    """
    left, right = np.full((1, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "probe",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, left.shape)],
        [helper.make_tensor_value_info("product", TensorProto.INT32, None)],
        [numpy_helper.from_array(right, "right")],
    )
    probe = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"left": left})
    return bool((product == 64 * 255 * 127).all())


class _Front(torch.nn.Module):
    """SincNet with channels last."""

    def __init__(self, network: PyanNet):
        super().__init__()
        self._network = network

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return features_of(self._network, waveforms)


def _head(graph: Graph, model: LowBitModel, features: str) -> str:
    """(frames, batch, 60) → (frames, batch, classes)."""
    for layer in range(model.network.lstm.num_layers):
        features = _lstm(graph, model, layer, features)
    for layer, linear in enumerate(linears(model.network)):
        name = f"linear.{layer}"
        features = _linear(graph, model, name, linear.bias, features)
        features = graph.add("LeakyRelu", [features], alpha=0.01)
    scores = _linear(graph, model, "classifier", model.network.classifier.bias, features)
    return graph.add("LogSoftmax", [scores], axis=-1)


def _lstm(graph: Graph, model: LowBitModel, layer: int, features: str) -> str:
    """(frames, batch, inputs) → (frames, batch, 2 · hidden)."""
    hidden = model.network.lstm.hidden_size
    inputs = _kernel_weight(graph, model.weights[f"lstm.{layer}.input"], hidden)
    states = _kernel_weight(graph, model.weights[f"lstm.{layer}.state"], hidden)
    batch = graph.slice(graph.add("Shape", [features]), 1, 2, 0)
    shape = graph.add("Concat", [graph.whole(2), batch, graph.whole(hidden + PEGS)], axis=0)
    state, cell = (graph.add("Expand", [_pegs(graph, end, hidden), shape]) for end in (1.0, OPEN_CELL))

    entering = _pegged_input(graph, model, f"lstm.{layer}", features)
    output = graph.add(
        "DynamicQuantizeLSTM",
        [entering, inputs[0], states[0], _bias(graph, model, layer), "", state, cell, "", *inputs[1:], *states[1:]],
        domain="com.microsoft", direction="bidirectional", hidden_size=hidden + PEGS,
    )  # (frames, 2, batch, hidden + 2)  # fmt: skip
    output = graph.slice(output, 0, hidden, 3)
    output = graph.add("Transpose", [output], perm=[0, 2, 1, 3])
    return graph.add("Reshape", [output, graph.whole(0, 0, 2 * hidden)])


def _pegs(graph: Graph, end: float, hidden: int) -> str:
    """Return the initial values of the state: (2, 1, hidden + 2), zeros, then the ends of the range for the two added
    units."""
    ends = graph.constant(np.full((2, 1, PEGS), (-end, end), np.float32))
    return graph.padded(ends, (0, 0, hidden), (0, 0, 0), 0.0, np.float32)


def _bias(graph: Graph, model: LowBitModel, layer: int) -> str:
    """Return (2, 8 · (hidden + 2)): the layer's bias, then zeros for the kernel's second bias, which is added to it."""
    hidden = model.network.lstm.hidden_size
    bias = lstm_bias(model.network, layer).detach().reshape(2, 4, hidden)[:, GATE_ORDER].numpy()
    # forget and output gates open, input gate shut: the cell keeps its value and outputs it
    pegs = np.full((2, 4, PEGS), CERTAIN, np.float32)
    pegs[:, 0], pegs[:, 3] = -CERTAIN, 0
    pegged = graph.add("Concat", [graph.constant(bias), graph.constant(pegs)], axis=2)
    both = graph.padded(pegged, (0, 0, 0), (0, 4, 0), 0.0, np.float32)
    return graph.add("Reshape", [both, graph.whole(2, -1)])


def _pegged_input(graph: Graph, model: LowBitModel, layer: str, features: str) -> str:
    """Clip to the layer's range and add both of its ends: (frames, batch, inputs) → (frames, batch, inputs + 2)."""
    ends = np.array([model.ranges[layer].low, model.ranges[layer].high], np.float32)
    within = graph.add("Clip", [features, graph.constant(ends[0]), graph.constant(ends[1])])
    leading = graph.slice(graph.add("Shape", [features]), 0, 2, 0)
    shape = graph.add("Concat", [leading, graph.whole(PEGS)], axis=0)
    return graph.add("Concat", [within, graph.add("Expand", [graph.constant(ends), shape])], axis=2)


def _kernel_weight(graph: Graph, weight: QuantizedWeight, hidden: int) -> tuple[str, str, str]:
    """Return a weight as the kernel takes it, with its scales and zero points.

    (2 · 4 · hidden, inputs) → (2, inputs + 2, 4 · (hidden + 2)). The weights of the added columns and units are zero.
    """

    def by_gate(rows: torch.Tensor) -> np.ndarray:
        """(2 · 4 · hidden, columns) → (2, columns, 4, hidden)."""
        return rows.reshape(2, 4, hidden, -1)[:, GATE_ORDER].permute(0, 3, 1, 2).contiguous().numpy()

    kind, zero = _kind_and_zero(graph, weight)
    multipliers = None if weight.multipliers is None else by_gate(weight.multipliers)
    codes = _integers(graph, by_gate(weight.codes), multipliers, weight)  # (2, inputs, 4, hidden)
    codes = graph.padded(codes, (0, 0, 0, 0), (0, PEGS, 0, PEGS), zero, kind)
    codes = graph.add("Reshape", [codes, graph.whole(2, weight.codes.shape[1] + PEGS, -1)])
    scale = graph.widened(by_gate(weight.scale)[:, 0])  # (2, 4, hidden)
    scale = graph.padded(scale, (0, 0, 0), (0, 0, PEGS), 1.0, np.float32)
    scale = graph.add("Reshape", [scale, graph.whole(2, -1)])
    zeros = graph.add("Expand", [graph.constant(np.array(zero, kind)), graph.whole(2, 4 * (hidden + PEGS))])
    return codes, scale, zeros


def _linear(graph: Graph, model: LowBitModel, layer: str, bias: torch.Tensor, features: str) -> str:
    """(frames, batch, inputs) → (frames, batch, outputs)."""
    weight, entering = model.weights[f"{layer}.weight"], model.ranges[layer]
    step, zero = np.float32(entering.step), np.uint8(entering.zero_point)
    kind, weight_zero = _kind_and_zero(graph, weight)
    multipliers = None if weight.multipliers is None else weight.multipliers.numpy().T[None]
    codes = _integers(graph, weight.codes.numpy().T[None], multipliers, weight)  # (1, inputs, outputs)
    codes = graph.add("Reshape", [codes, graph.whole(*weight.codes.T.shape)])
    zero_name = graph.constant(np.array(zero))
    rounded = graph.add("QuantizeLinear", [features, graph.constant(np.array(step)), zero_name])
    products = graph.add("MatMulInteger", [rounded, codes, zero_name, graph.constant(np.array(weight_zero, kind))])
    scale = graph.constant(weight.scale.float().numpy() * step)
    scaled = graph.add("Mul", [graph.add("Cast", [products], to=TensorProto.FLOAT), scale])
    return graph.add("Add", [scaled, graph.constant(bias.detach().numpy())])


def _kind_and_zero(graph: Graph, weight: QuantizedWeight) -> tuple[np.dtype, int]:
    """Return the type and zero point of a weight's codes."""
    if int(weight.integers.abs().max()) <= SATURATING or graph.signed:
        return np.dtype(np.int8), 0
    return np.dtype(np.uint8), 128


def _integers(graph: Graph, codes: np.ndarray, multipliers: np.ndarray | None, weight: QuantizedWeight) -> str:
    """Return the integers that the kernel multiplies, in its type and with its zero point: (n, columns, …), the shape
    of the codes.

    multipliers: (n, groups, …), if the weight has any.
    """
    kind, zero = _kind_and_zero(graph, weight)
    if weight.bits == 8:
        return graph.constant((codes.astype(np.int16) + zero).astype(kind))
    integers = graph.add("Sub", [graph.four_bits(codes + 8), graph.constant(np.array(8, np.int32))])
    if multipliers is not None:
        number, groups, *rest = multipliers.shape
        less_one = graph.four_bits(multipliers[:, :, None] - 1)  # (n, groups, 1, …)
        spread = graph.add("Expand", [less_one, graph.whole(number, groups, weight.group_size, *rest)])
        spread = graph.add("Reshape", [spread, graph.whole(number, -1, *rest)])
        spread = graph.slice(spread, 0, codes.shape[1], 1)
        spread = graph.add("Add", [spread, graph.constant(np.array(1, np.int32))])
        integers = graph.add("Mul", [integers, spread])
    if zero:
        integers = graph.add("Add", [integers, graph.constant(np.array(zero, np.int32))])
    return graph.add("Cast", [integers], to=helper.np_dtype_to_tensor_dtype(kind))


def _store_sincnet(written: onnx.ModelProto, graph: Graph, model: LowBitModel) -> None:
    """Store the 8-bit codes of SincNet's weights, for those weights that have them, in place of their values."""
    stored = {tensor.name.removeprefix("_network."): tensor for tensor in written.graph.initializer}
    before = len(written.graph.node)
    for name in SINCNET_WEIGHTS:
        if name not in model.weights:
            continue
        weight, tensor = model.weights[name], stored[name]
        codes = graph.constant(weight.codes.numpy().reshape(tuple(tensor.dims)))
        values = graph.add("Cast", [codes], to=TensorProto.FLOAT)
        graph.add("Mul", [values, graph.widened(weight.scale.numpy()[:, None, None])], output=tensor.name)
        written.graph.initializer.remove(tensor)
    widening = list(written.graph.node)[before:]
    del written.graph.node[before:]
    put_first(written, widening)
