"""torch modules traced into ONNX files."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from objectives._onnx import OPSET

Names = Mapping[str, Mapping[int, str]]


def trace(network: torch.nn.Module, example: torch.Tensor, path: Path, inputs: Names, outputs: Names) -> None:
    """Write a network in evaluation mode as ONNX. inputs, outputs: of each, in order, its free dimensions by name."""
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
