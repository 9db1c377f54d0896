"""A segmentation model in 32 or 16 bits as safetensors: the checkpoint's values without a pickle."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from objectives.backends.pyannote import PyanNet
from objectives.compression.low_bit import METADATA, describe_network, network_like
from objectives.errors import ModelError, reason_of

FORMAT = "explorer plain 1"


def save_plain(network: PyanNet, state: dict[str, torch.Tensor], path: Path) -> None:
    """Write what a checkpoint stores of a network, `state`, with what it takes to build the network again."""
    described = {"format": FORMAT, "network": describe_network(network)}
    values = {name: value.contiguous().clone() for name, value in state.items()}
    save_file(values, path, metadata={METADATA: json.dumps(described)})


def load_plain(path: Path) -> PyanNet:
    """The network in evaluation mode, 16-bit values widened. Raises ModelError where the file is not one of these."""
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — it is no mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(
            f"{path}: not readable as safetensors ({reason_of(error)}): export the operating point again"
        ) from error
    found = described.get("format") if isinstance(described, dict) else described
    if found != FORMAT:
        raise ModelError(f"{path}: its format is {found!r}, not {FORMAT!r}: export the operating point again")
    try:
        network = network_like(described["network"])
        network.load_state_dict(state, strict=True)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{path}: incomplete ({type(error).__name__}: {reason_of(error)}): export it again") from error
    return network.eval()
