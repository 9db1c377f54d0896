"""Finished segmentation models as ONNX files: what a study runs on a CPU, byte for byte the same as in an exported
bundle.

Input `x` (N, 1, T) float32, output `y` (N, frames, classes) float32 log-probabilities, N and T free. The weights take
as many bytes as in the finished model's own file. The metadata are those that sherpa-onnx needs.
"""

import shutil
from pathlib import Path
from typing import Literal

import onnx
import torch

from objectives.backends.onnx_export import store_in_16_bits, trace
from objectives.backends.pyannote import PyanNet
from objectives.cache.files import kept_file
from objectives.compression.compressor import FinishedModel, load_network
from objectives.compression.low_bit import load
from objectives.models.segmentation import contract_of
from objectives.models.sherpa_metadata import segmentation_metadata
from objectives.runtime.low_bit_onnx import export_low_bit, signed_products_are_exact

FORM = 2  # of the files: raise it whenever a file would be written differently

Kind = Literal["float", "signed", "unsigned"]


def kind_of(model: FinishedModel) -> Kind:
    """Return what this machine multiplies: floating-point numbers, or integers of the kind for which its kernels are
    exact."""
    if model.bits is None:
        return "float"
    # depends on the processor, and a cache may be moved to another machine
    return "signed" if signed_products_are_exact() else "unsigned"


def kept_onnx(model: FinishedModel) -> Path:
    """Return the model's ONNX file for this machine, written once and kept next to the model.

    Raises ModelError if the model cannot be read, AssetError if the cache cannot be written.
    """
    name = f"{model.key}.{kind_of(model)}.v{FORM}.onnx"
    return kept_file("models", name, lambda path: write_onnx(model, path))


def portable_onnx(model: FinishedModel, path: Path) -> None:
    """Write the ONNX file that is exact on every processor.

    This is the file that this machine runs, unless it runs signed codes. In that case the file has unsigned codes and
    gives the same answers.
    """
    if kind_of(model) == "signed":
        write_onnx(model, path, "unsigned")
    else:
        shutil.copyfile(kept_onnx(model), path)


def write_onnx(model: FinishedModel, path: Path, kind: Kind | None = None) -> None:
    """Write a finished model as ONNX. The same model and kind give the same bytes.

    In fp16 models, the weights that the checkpoint has in 16 bits are stored that way and widened by the graph. For
    low-bit modes, see objectives/runtime/low_bit_onnx.py.

    kind: this machine's by default.

    Raises ModelError if the model cannot be read.
    """
    kind = kind or kind_of(model)
    network: PyanNet
    if model.bits is None:
        network = load_network(model)
        example = torch.zeros(1, 1, contract_of(network).window)
        trace(network, example, path, {"x": {0: "N", 2: "T"}}, {"y": {0: "N", 1: "frames"}})
    else:
        low_bit = load(model.checkpoint)
        network = low_bit.network
        export_low_bit(low_bit, path, signed=kind == "signed")
    written = onnx.load(path)
    if model.precision == "fp16":
        store_in_16_bits(written)
    details = {"precision": model.precision, "arithmetic": kind, "model_key": model.key}
    onnx.helper.set_model_props(written, {**segmentation_metadata(contract_of(network)), **details})
    onnx.save(written, path)
