"""ONNX Runtime sessions on a CPU, without torch."""

from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

if TYPE_CHECKING:
    import torch

OPSET = 17
IR_VERSION = 8  # of that opset; newer ones shut out older runtimes


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def export_network(
    network: "torch.nn.Module", example: "torch.Tensor", path: Path, inputs: str, outputs: str, dynamic: dict[int, str]
) -> None:
    """Write a network in evaluation mode as ONNX. `dynamic` names the free dimensions of the input; the first is also
    free in the output."""
    from objectives.onnx_trace import trace  # brings torch

    trace(network, example, path, {inputs: dynamic}, {outputs: {0: "batch"}})
