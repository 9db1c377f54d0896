"""Write a segmentation model in 32 or 16 bits as safetensors: the values of the checkpoint without a pickle."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from objectives.backends.pyannote import PyanNet
from objectives.compression.low_bit import METADATA, describe_network

FORMAT = "explorer plain 1"


def save_plain(network: PyanNet, state: dict[str, torch.Tensor], path: Path) -> None:
    """Write the `state` of a network, and as metadata what is needed to build the network again."""
    described = {"format": FORMAT, "network": describe_network(network)}
    values = {name: value.contiguous().clone() for name, value in state.items()}
    save_file(values, path, metadata={METADATA: json.dumps(described)})
