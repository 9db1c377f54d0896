"""Low-bit segmentation models: quantize a network, save and load it, run it in emulation.

The file is safetensors. Every LSTM and Linear weight is stored as integer codes (two 4-bit codes per byte) with 16-bit
scales, everything else in 32 bits. The metadata hold what is needed to build the network again. The two biases of an
LSTM are only ever added, so their sum is stored.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from objectives.backends.library_errors import ran_out_of_memory
from objectives.backends.pyannote import Problem, PyanNet, Resolution, Specifications
from objectives.compression.precisions import Bits
from objectives.compression.pyannet_head import CLASSIFIER, head_weights, lstm_bias, new_network, run_head
from objectives.compression.quantization import (
    ActivationRange,
    QuantizedWeight,
    faked_weight,
    observed_range,
    pack,
    quantize_weight,
    unpack,
)
from objectives.compression.settings import Clipping, QuantizationOptions
from objectives.errors import ModelError, reason_of

FORMAT = "explorer low-bit segmentation 2"
PLAIN_FORMAT = "explorer plain 1"
# one entry only: safetensors writes several in a random order, and equal models must give equal bytes
METADATA = "explorer"
SINCNET_WEIGHTS = ("sincnet.conv1d.1.weight", "sincnet.conv1d.2.weight")  # (outputs, inputs, taps)
SUFFIX = ".safetensors"

Ranges = Mapping[str, ActivationRange]


@dataclass(frozen=True)
class LowBitModel:
    """A low-bit model in memory.

    network: stock PyanNet whose weights have the stored values. weights: named as by `head_weights`, and those of
    SincNet if it is quantized too. ranges: of the inputs of `lstm.0`, …, `linear.0`, …, `classifier`.
    """

    network: PyanNet
    weights: Mapping[str, QuantizedWeight]
    ranges: Ranges
    bits: Bits


def run_low_bit(
    network: PyanNet, features: torch.Tensor, values: Mapping[str, torch.Tensor], ranges: Ranges
) -> torch.Tensor:
    """Run the head with 8-bit activations and states: (batch, frames, 60) → (batch, frames, classes)."""
    return run_head(network, features, values, lambda layer, activation: ranges[layer].rounded(activation), True)


def faked_weights(network: PyanNet, bits: Bits, options: QuantizationOptions) -> dict[str, torch.Tensor]:
    """Return the weights of the head rounded as by `quantize`; gradients pass straight through."""
    return {name: faked_weight(weight, *_how(name, bits, options)) for name, weight in head_weights(network).items()}


def quantize(network: PyanNet, bits: Bits, options: QuantizationOptions, ranges: Ranges) -> LowBitModel:
    """Round a network's weights to `bits`, except the classifier's: they need 8 bits to stay accurate."""
    matrices = head_weights(network)
    if options.sincnet == "int8":
        matrices |= {name: network.get_parameter(name).flatten(1) for name in SINCNET_WEIGHTS}
    weights = {name: quantize_weight(matrix, *_how(name, bits, options)) for name, matrix in matrices.items()}
    others = _unquantized(network, weights)
    return LowBitModel(_network(describe_network(network), weights, others), weights, ranges, bits)


@torch.no_grad()
def with_rounded_sincnet(network: PyanNet, options: QuantizationOptions) -> PyanNet:
    """Return the network with SincNet rounded as by `quantize`, or the network itself if SincNet stays in 32 bits."""
    if options.sincnet == "fp32":
        return network
    network = copy.deepcopy(network)
    for name in SINCNET_WEIGHTS:
        weight = network.get_parameter(name)
        weight.copy_(quantize_weight(weight.flatten(1), 8).values.reshape(weight.shape))
    return network


@torch.inference_mode()
def observe_ranges(network: PyanNet, features: torch.Tensor) -> dict[str, ActivationRange]:
    """Return the range of each layer's input. features: (windows, frames, 60) of calibration recordings."""
    seen: dict[str, list[torch.Tensor]] = {}

    def enter(layer: str, activation: torch.Tensor) -> torch.Tensor:
        seen.setdefault(layer, []).extend(activation.aminmax())
        return activation

    weights = head_weights(network)
    for batch in features.split(32):
        run_head(network, batch, weights, enter)
    return {layer: observed_range(min(extremes).item(), max(extremes).item()) for layer, extremes in seen.items()}


def values_of(model: LowBitModel) -> dict[str, torch.Tensor]:
    """Return all numbers that a model is run with, by name."""
    ranges = {f"range of {layer}": torch.tensor([each.low, each.high]) for layer, each in model.ranges.items()}
    return {**model.network.state_dict(), **ranges}


def save(model: LowBitModel, path: Path) -> None:
    """Write a model, which `load` restores exactly."""
    stored: dict[str, torch.Tensor] = {}
    layout: dict[str, dict[str, Any]] = {}
    for name, weight in model.weights.items():
        layout[name] = {"bits": weight.bits, "shape": list(weight.codes.shape), "group_size": weight.group_size}
        stored[f"{name}.codes"] = pack(weight.codes) if weight.bits == 4 else weight.codes
        stored[f"{name}.scale"] = weight.scale
        if weight.multipliers is not None:
            stored[f"{name}.multipliers"] = pack(weight.multipliers - 1)
    described = {
        "format": FORMAT,
        "bits": model.bits,
        "network": describe_network(model.network),
        "weights": layout,
        "ranges": {layer: [entering.low, entering.high] for layer, entering in model.ranges.items()},
    }
    stored |= _unquantized(model.network, model.weights)
    stored = {name: value.cpu().contiguous() for name, value in stored.items()}
    save_file(stored, path, {METADATA: json.dumps(described, separators=(",", ":"))})


def load(path: Path) -> LowBitModel:
    """Read a file that `save` wrote. Raises ModelError, naming the file, if it is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — not a mapping
    except (OSError, SafetensorError) as error:
        if ran_out_of_memory(error):
            raise
        raise ModelError(f"{path}: not readable as safetensors ({reason_of(error)}): make the model again") from error
    try:
        described = json.loads(metadata.get(METADATA, "{}"))
        if described.get("format") != FORMAT:
            found = described.get("format")
            raise ModelError(f"{path}: its format is {found!r}, not {FORMAT!r}: make the model again")
        weights = {name: _weight(name, layout, stored) for name, layout in described["weights"].items()}
        ranges = {layer: ActivationRange(low, high) for layer, (low, high) in described["ranges"].items()}
        network = _network(described["network"], weights, stored)
        return LowBitModel(network, weights, ranges, described["bits"])
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        if ran_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise ModelError(f"{path}: incomplete ({reason}): make the model again") from error


def save_plain(network: PyanNet, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a model in 32 or 16 bits as safetensors: the values of its checkpoint without a pickle.

    state: the checkpoint's values, by name. The metadata hold what is needed to build the network again.
    """
    described = {"format": PLAIN_FORMAT, "network": describe_network(network)}
    values = {name: value.contiguous().clone() for name, value in state.items()}
    save_file(values, path, metadata={METADATA: json.dumps(described)})


def _unquantized(network: PyanNet, weights: Mapping[str, QuantizedWeight]) -> dict[str, torch.Tensor]:
    """Return the values of a network that are stored in 32 bits, with the sum of each LSTM layer's biases."""
    values = {f"lstm.{layer}.bias": lstm_bias(network, layer).detach() for layer in range(network.lstm.num_layers)}
    for name, value in network.state_dict().items():
        if not name.startswith("lstm.") and name not in weights:
            values[name] = value
    return values


def _how(name: str, bits: Bits, options: QuantizationOptions) -> tuple[int, int, Clipping]:
    """Return (bits, group size, clipping) for one weight."""
    if name in (CLASSIFIER, *SINCNET_WEIGHTS):
        return 8, 0, "none"
    return bits, options.group_size if bits == 4 else 0, options.clipping


def _weight(name: str, layout: Mapping[str, Any], stored: Mapping[str, torch.Tensor]) -> QuantizedWeight:
    bits, (rows, columns), group_size = layout["bits"], layout["shape"], layout["group_size"]
    codes = stored[f"{name}.codes"]
    multipliers = None
    if group_size:
        groups = -(-columns // group_size)
        multipliers = (unpack(stored[f"{name}.multipliers"], (rows, groups)) & 0xF) + 1
    codes = unpack(codes, (rows, columns)) if bits == 4 else codes.reshape(rows, columns)
    return QuantizedWeight(bits, codes, stored[f"{name}.scale"], multipliers, group_size)


def describe_network(network: PyanNet) -> dict[str, Any]:
    """Return what `network_like` needs to build the same network, as JSON."""
    specifications: Any = network.specifications
    fields = asdict(specifications)
    fields |= {"problem": specifications.problem.name, "resolution": specifications.resolution.name}
    hparams = {name: dict(network.hparams[name]) for name in ("sincnet", "lstm", "linear")}
    return {"specifications": fields, "hyper_parameters": hparams}


def network_like(described: Mapping[str, Any]) -> PyanNet:
    """Build a stock PyanNet from a `describe_network` result. Its weights are random, to be overwritten."""
    fields = dict(described["specifications"])
    fields |= {"problem": Problem[fields["problem"]], "resolution": Resolution[fields["resolution"]]}
    return new_network(described["hyper_parameters"], Specifications(**fields))


def _network(
    described: Mapping[str, Any], weights: Mapping[str, QuantizedWeight], others: Mapping[str, torch.Tensor]
) -> PyanNet:
    """Build a stock PyanNet with the values of the low-bit weights. Of torch's two LSTM biases the second is zero."""
    network = network_like(described)
    state = {name: value for name, value in others.items() if name in network.state_dict()}
    for name, weight in weights.items():
        values = weight.values
        if not name.startswith("lstm."):
            state[name] = values.reshape(network.get_parameter(name).shape)
            continue
        _, number, kind = name.split(".")
        short = {"input": "ih", "state": "hh"}[kind]
        for end, direction in zip(("", "_reverse"), values.chunk(2), strict=True):
            state[f"lstm.weight_{short}_l{number}{end}"] = direction
    for layer in range(network.lstm.num_layers):
        for end, bias in zip(("", "_reverse"), others[f"lstm.{layer}.bias"], strict=True):
            state[f"lstm.bias_ih_l{layer}{end}"] = bias
            state[f"lstm.bias_hh_l{layer}{end}"] = torch.zeros_like(bias)
    network.load_state_dict(state, strict=True)
    return network.eval()
