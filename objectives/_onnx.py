"""Networks as ONNX files, and sessions that run them on a CPU."""

import warnings
from pathlib import Path

import onnxruntime
import torch

OPSET = 17


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def export_network(
    network: torch.nn.Module, example: torch.Tensor, path: Path, inputs: str, outputs: str, dynamic: dict[int, str]
) -> None:
    """Write a network in evaluation mode as ONNX. `dynamic` names the free dimensions of the input; the first is also
    free in the output."""
    with warnings.catch_warnings():
        # the tracing exporter is deprecated, but the new one fails inside SincNet's filters (asteroid_filterbanks)
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example,),
            str(path),
            input_names=[inputs],
            output_names=[outputs],
            dynamic_axes={inputs: dynamic, outputs: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
