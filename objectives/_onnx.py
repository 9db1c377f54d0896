"""Networks as ONNX files."""

import warnings
from pathlib import Path

import torch

OPSET = 17


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
