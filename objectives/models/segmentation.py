"""The segmentation model: any stock PyanNet with a powerset output."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from objectives.backends.checkpoint import build_network, from_hub, read_checkpoint
from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.errors import ModelError
from objectives.models.contract import SAMPLE_RATE, Contract

DEFAULT_SEGMENTATION = "pyannote/segmentation-3.0"
SIMSAMU_SEGMENTATION = "medkit/simsamu-segmentation"


def contract_of(model: PyanNet) -> Contract:
    """Read the contract from a loaded model."""
    specifications: Any = model.specifications
    window = round(specifications.duration * SAMPLE_RATE)
    centre = model.receptive_field_center(0)
    return Contract(
        window=window,
        frames=model.num_frames(window),
        field=model.receptive_field_size(1),
        centre=centre,
        step=model.receptive_field_center(1) - centre,
        speakers=len(specifications.classes),
        max_at_once=specifications.powerset_max_classes,
    )


def segmentation_checkpoint(source: str) -> Path:
    """Return the path of the checkpoint that `source` names.

    source: a local file, `pyannote/segmentation-3.0` (a pinned asset), or `medkit/simsamu-segmentation` (Hugging Face).

    Raises ModelError if there is no such file, AssetError if a pinned one is not available.
    """
    if source == DEFAULT_SEGMENTATION:
        return fetch("segmentation-3.0")
    if source == SIMSAMU_SEGMENTATION:
        return from_hub(source)
    path = Path(source).expanduser()
    if not path.is_file():
        raise ModelError(
            f"segmentation model {source!r}: no such file. Give a PyanNet checkpoint, "
            f"{DEFAULT_SEGMENTATION} or {SIMSAMU_SEGMENTATION}."
        )
    return path


def load_segmentation(path: Path, trusted: Collection[str] = ()) -> PyanNet:
    """Load a stock PyanNet checkpoint, in evaluation mode.

    trusted: SHA-256 of the files that may run code when they are read (objectives/backends/checkpoint.py); no others
    may.

    Raises ModelError if the file is not a PyanNet with a powerset output at 16 kHz.
    """
    model = build_network(path, read_checkpoint(path, trusted), PyanNet)
    specifications = model.specifications
    if isinstance(specifications, tuple) or not specifications.powerset:
        raise ModelError(f"{path}: this PyanNet has no powerset output. Give one trained like {DEFAULT_SEGMENTATION}.")
    rate, channels = model.hparams["sample_rate"], model.hparams["num_channels"]
    if rate != SAMPLE_RATE or channels != 1:
        raise ModelError(f"{path}: expects {channels} channels at {rate} Hz. Give a mono {SAMPLE_RATE} Hz model.")
    if specifications.duration < 10.0:
        raise ModelError(f"{path}: its window of {specifications.duration:g} s is too short: C + R may reach 10 s.")
    return model


def parameter_count(model: torch.nn.Module) -> int:
    """Return the number of trainable values of a model, as the paper's tables count them."""
    return sum(parameter.numel() for parameter in model.parameters())


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
