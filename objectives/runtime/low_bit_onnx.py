"""A low-bit segmentation model as ONNX: integer LSTM and matrix products of ONNX Runtime, static activation ranges.

ONNX Runtime's DynamicQuantizeLSTM takes the range of what it rounds from the data of each call, so that a window's
answer would depend on its neighbours in the batch. Here two columns with weight zero are added to its input, always at
the ends of the static range, and two units to its state, always at -1 and 1. The ranges that it finds are then those
that were calibrated, and the answer of a window is its own, whatever it is batched with.

Weights are stored as in objectives/compression/low_bit.py, 4-bit codes two a byte and scales in 16 bits. The graph
widens them to
what the kernels take, 8 bits and 32, once, when a session is opened (objectives/backends/onnx_export.py): no CPU kernel
multiplies 4-bit codes as they are.
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

PEGS = 2  # values at the ends of a range, to hold it there
CERTAIN = 40.0  # a gate's input that opens it for good; its negative shuts it
OPEN_CELL = 20.0  # a cell whose tanh is 1
GATE_ORDER = [0, 3, 1, 2]  # torch's input, forget, cell, output as ONNX has them: input, output, forget, cell
SATURATING = 64  # codes up to here fit 16 bits in pairs, times 255, even where a processor adds them up there


def export_low_bit(model: LowBitModel, path: Path, signed: bool) -> None:
    """Write (N, 1, T) `x` → (N, frames, classes) `y` as ONNX, N and T free.

    signed: multiply 8-bit codes as signed ones, which not every processor does exactly (signed_products_are_exact).
    """
    front = _Front(model.network)
    example = torch.zeros(1, 1, contract_of(model.network).window)
    trace(front, example, path, {"x": {0: "N", 2: "T"}}, {"features": {0: "N", 1: "frames"}})
    written = onnx.load(path)
    graph = Graph(written, "q", signed)
    _store_sincnet(written, graph, model)
    frames_first = graph.add("Transpose", ["features"], perm=[1, 0, 2])
    scores = _tail(graph, model, frames_first)
    graph.add("Transpose", [scores], output="y", perm=[1, 0, 2])
    shape = ("N", "frames", int(model.network.classifier.out_features))
    onnx.save(graph.as_model(helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)), path)


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
    probe = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
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


def _tail(graph: Graph, model: LowBitModel, features: str) -> str:
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
    """(2, 1, hidden + 2): what the units that hold the range start with, after zeros for all others."""
    ends = graph.constant(np.full((2, 1, PEGS), (-end, end), np.float32))
    return graph.padded(ends, (0, 0, hidden), (0, 0, 0), 0.0, np.float32)


def _bias(graph: Graph, model: LowBitModel, layer: int) -> str:
    """(2, 8 · (hidden + 2)): the layer's, and of the kernel's second one, which is added to it, nothing."""
    hidden = model.network.lstm.hidden_size
    bias = lstm_bias(model.network, layer).detach().reshape(2, 4, hidden)[:, GATE_ORDER].numpy()
    pegs = np.full((2, 4, PEGS), CERTAIN, np.float32)  # everything stays and leaves
    pegs[:, 0], pegs[:, 3] = -CERTAIN, 0  # nothing enters
    pegged = graph.add("Concat", [graph.constant(bias), graph.constant(pegs)], axis=2)
    both = graph.padded(pegged, (0, 0, 0), (0, 4, 0), 0.0, np.float32)
    return graph.add("Reshape", [both, graph.whole(2, -1)])


def _pegged_input(graph: Graph, model: LowBitModel, layer: str, features: str) -> str:
    """(frames, batch, inputs) → (frames, batch, inputs + 2), within the layer's range and reaching both of its ends."""
    ends = np.array([model.ranges[layer].low, model.ranges[layer].high], np.float32)
    within = graph.add("Clip", [features, graph.constant(ends[0]), graph.constant(ends[1])])
    leading = graph.slice(graph.add("Shape", [features]), 0, 2, 0)
    shape = graph.add("Concat", [leading, graph.whole(PEGS)], axis=0)
    return graph.add("Concat", [within, graph.add("Expand", [graph.constant(ends), shape])], axis=2)


def _kernel_weight(graph: Graph, weight: QuantizedWeight, hidden: int) -> tuple[str, str, str]:
    """(2 · 4 · hidden, inputs) → (2, inputs + 2, 4 · (hidden + 2)) as the kernel takes it, its scales and zero points.
    What was added is zero."""

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
    """Type and zero point of a weight's codes."""
    if int(weight.integers.abs().max()) <= SATURATING or graph.signed:
        return np.dtype(np.int8), 0
    return np.dtype(np.uint8), 128


def _integers(graph: Graph, codes: np.ndarray, multipliers: np.ndarray | None, weight: QuantizedWeight) -> str:
    """What the kernel multiplies, in its type and with its zero point, of the shape of the codes: (n, columns, …).

    multipliers: (n, groups, …), where columns have any.
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
    """Where SincNet's weights are 8-bit codes, store these instead of their values."""
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
