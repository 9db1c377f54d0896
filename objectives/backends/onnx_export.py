"""Write ONNX files: trace a module, or build a graph node by node."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import DTypeLike
from onnx import TensorProto, helper, numpy_helper

from objectives.backends.onnxruntime import IR_VERSION, OPSET

Names = Mapping[str, Mapping[int, str]]


def trace(network: torch.nn.Module, example: torch.Tensor, path: Path, inputs: Names, outputs: Names) -> None:
    """Write a network in evaluation mode as ONNX. inputs, outputs: name → names of its free dimensions, in order."""
    with warnings.catch_warnings():
        # the tracing exporter is deprecated, but the new one fails inside SincNet's filters (asteroid_filterbanks)
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example,),
            str(path),
            input_names=[*inputs],
            output_names=[*outputs],
            dynamic_axes={name: dict(free) for name, free in {**inputs, **outputs}.items()},
            opset_version=OPSET,
            dynamo=False,
        )


NODE = 200  # bytes that a Cast node and its names take in a file, at most


class Graph:
    """An ONNX model to which nodes are appended.

    prefix: of all added names; no other name in the model may start with it. Keep it short: names take room in the
    file. signed: whether wide 8-bit codes are multiplied as signed ones.
    """

    def __init__(self, model: onnx.ModelProto, prefix: str, signed: bool = False):
        self.signed = signed
        self._model = model
        self._prefix = prefix
        self._names = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(
        self, operator: str, inputs: Sequence[str], domain: str = "", output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node with one output, and return the output's name."""
        name = output or self._name()
        self._model.graph.node.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """Add an initializer and return its name. Equal values share one."""
        value = np.asarray(value)
        known = (value.dtype.str, value.shape, value.tobytes())
        if known not in self._constants:
            self._constants[known] = self._name()
            tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), self._constants[known])
            self._model.graph.initializer.append(tensor)
        return self._constants[known]

    def whole(self, *values: int) -> str:
        """Add integers as an initializer, (values,) int64."""
        return self.constant(np.array(values, np.int64))

    def slice(self, of: str, first: int, last: int, axis: int) -> str:
        """Take entries first … last - 1 along an axis."""
        return self.add("Slice", [of, self.whole(first), self.whole(last), self.whole(axis)])

    def padded(self, of: str, before: Sequence[int], after: Sequence[int], value: float, kind: DTypeLike) -> str:
        """Pad each axis with that many entries of a value. kind: type of the padded tensor."""
        return self.add("Pad", [of, self.whole(*before, *after), self.constant(np.array(value, kind))])

    def widened(self, value: np.ndarray) -> str:
        """Store values as float16 and cast them to float32."""
        return self.add("Cast", [self.constant(value.astype(np.float16, casting="equiv"))], to=TensorProto.FLOAT)

    def four_bits(self, values: np.ndarray) -> str:
        """Store values from 0 to 15, any shape, two per byte, the first in the lower half; unpack them to int32."""
        flat = values.astype(np.uint8).ravel()
        even = np.pad(flat, (0, len(flat) % 2))
        packed = self.constant((even[0::2] | even[1::2] << 4)[:, None])  # (bytes, 1)
        packed = self.add("Cast", [packed], to=TensorProto.INT32)
        shifted = self.add("Div", [packed, self.constant(np.array([1, 16], np.int32))])  # (bytes, 2)
        pairs = self.add("Mod", [shifted, self.constant(np.array(16, np.int32))])
        if len(flat) % 2:
            pairs = self.slice(self.add("Reshape", [pairs, self.whole(-1)]), 0, len(flat), 0)
        return self.add("Reshape", [pairs, self.whole(*values.shape)])

    def as_model(self, output: onnx.ValueInfoProto) -> onnx.ModelProto:
        """Return the model with another output."""
        del self._model.graph.output[:]
        self._model.graph.output.append(output)
        self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        self._model.ir_version = IR_VERSION
        return self._model

    def _name(self) -> str:
        self._names += 1
        return f"{self._prefix}{self._names}"


def store_in_16_bits(model: onnx.ModelProto) -> None:
    """Store float32 constants as float16 if that is exact and saves bytes."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if halves.nbytes > NODE and np.array_equal(halves.astype(np.float32), values):
            wide = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(halves, f"{wide}/float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [wide], to=TensorProto.FLOAT))
    put_first(model, casts)


def put_first(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Insert nodes before all others, since an ONNX graph lists a node after those that it depends on."""
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
