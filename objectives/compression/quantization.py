"""Quantize weights and activations, and emulate the rounding in training.

Weights are quantized symmetrically, with one 16-bit scale per row. At 4 bits a row may be cut into groups, each with a
small integer multiplier of the row's scale (progressive group quantization, arXiv 2405.04532). An integer kernel that
supports one scale per row then computes exactly with the stored values. Activations are quantized asymmetrically to
8 bits, with static ranges. torchao's primitives do the arithmetic; torchao itself does not support LSTMs.
"""

from dataclasses import dataclass

import torch

from objectives.backends.torchao import (
    MappingType,
    choose_qparams_affine,
    choose_qparams_affine_with_min_max,
    quantize_affine,
)
from objectives.compression.settings import Clipping

LIMITS = {8: 127, 4: 7}  # largest code by number of bits; the smallest is its negative
LARGEST_MULTIPLIER = 16  # 16 · 7 still fits an 8-bit code
SMALLEST_SCALE = 2.0**-14  # the smallest normal number in 16 bits
CLIPPINGS_TRIED = tuple(1.0 - 0.05 * step for step in range(11))  # shares of a row's largest value
ACTIVATION_LEVELS = 255


@dataclass(frozen=True)
class QuantizedWeight:
    """A quantized weight matrix.

    codes: (rows, columns) int8, within ± LIMITS[bits]. scale: (rows,) float16. multipliers: (rows, groups) int8 from 1
    to 16, or None. group_size: columns that share a multiplier; the last group may be shorter.
    """

    bits: int
    codes: torch.Tensor
    scale: torch.Tensor
    multipliers: torch.Tensor | None = None
    group_size: int = 0

    @property
    def integers(self) -> torch.Tensor:
        """(rows, columns) int8: the operands of an integer kernel. Times the row's scale they are the weights."""
        if self.multipliers is None:
            return self.codes
        spread = self.multipliers.repeat_interleave(self.group_size, dim=1)[:, : self.codes.shape[1]]
        return self.codes * spread

    @property
    def values(self) -> torch.Tensor:
        """(rows, columns) float32 weights."""
        return self.integers.float() * self.scale.float()[:, None]


@dataclass(frozen=True)
class ActivationRange:
    """Static range of a layer's input. It contains 0; values outside are clipped."""

    low: float
    high: float

    @property
    def step(self) -> float:
        """Distance between adjacent 8-bit values, computed in 32 bits."""
        return self._parameters()[0]

    @property
    def zero_point(self) -> int:
        """Code of 0, from 0 to 255."""
        return self._parameters()[1]

    def rounded(self, activation: torch.Tensor) -> torch.Tensor:
        """Round to the nearest 8-bit values, any shape. Gradients pass straight through where nothing was clipped."""
        step, zero = self._parameters()
        clipped = activation.clamp(self.low, self.high)
        values = ((clipped.detach() / step).round_() + zero).clamp_(0, ACTIVATION_LEVELS).sub_(zero).mul_(step)
        return clipped + (values - clipped).detach() if activation.requires_grad else values

    def _parameters(self) -> tuple[float, int]:
        low, high = (torch.tensor(value, dtype=torch.float32) for value in (self.low, self.high))
        step, zero = choose_qparams_affine_with_min_max(
            low, high, MappingType.ASYMMETRIC, (), torch.uint8, 0, ACTIVATION_LEVELS, eps=1e-8
        )
        return step.item(), int(zero.item())


def observed_range(low: float, high: float) -> ActivationRange:
    """Return the range that contains the observed values and 0."""
    return ActivationRange(min(low, 0.0), max(high, 0.0))


def quantize_weight(
    weight: torch.Tensor, bits: int, group_size: int = 0, clipping: Clipping = "none"
) -> QuantizedWeight:
    """Quantize a (rows, columns) float32 matrix. group_size: 0 for no groups.

    clipping: `mse` tries eleven clippings for each row (or every multiplier for each group) and keeps the one with the
    smallest squared error."""
    weight = weight.detach()
    if group_size:
        return _grouped(weight, bits, group_size, clipping)
    if clipping == "none":
        return _by_row(weight, bits, _scale(weight, bits))
    full = _scale(weight, bits).float()
    tried = [_by_row(weight, bits, (full * share).to(torch.float16)) for share in CLIPPINGS_TRIED]
    errors = torch.stack([(one.values - weight).square().sum(1) for one in tried])  # (tried, rows)
    best = errors.argmin(0)
    scale = torch.stack([one.scale for one in tried])[best, torch.arange(len(weight), device=weight.device)]
    return _by_row(weight, bits, scale)


def faked_weight(weight: torch.Tensor, bits: int, group_size: int = 0, clipping: Clipping = "none") -> torch.Tensor:
    """Round a weight in training as `quantize_weight` would; gradients pass straight through."""
    return weight + (quantize_weight(weight, bits, group_size, clipping).values - weight).detach()


def pack(codes: torch.Tensor) -> torch.Tensor:
    """Pack codes from -8 to 7, any shape, two per byte: (ceil(number / 2),) uint8, the first in the lower half.

    >>> pack(torch.tensor([[1, 2], [-1, 7]]))
    tensor([ 33, 127], dtype=torch.uint8)
    """
    flat = codes.flatten().to(torch.int16) & 0xF
    if len(flat) % 2:
        flat = torch.cat([flat, flat.new_zeros(1)])
    return (flat[0::2] | flat[1::2] << 4).to(torch.uint8)


def unpack(packed: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Unpack what `pack` packed: int8 of that shape.

    >>> unpack(torch.tensor([33, 127], dtype=torch.uint8), (2, 2)).tolist()
    [[1, 2], [-1, 7]]
    """
    pairs = torch.stack([packed & 0xF, packed >> 4], dim=1).flatten()[: torch.Size(shape).numel()].to(torch.int8)
    return torch.where(pairs > 7, pairs - 16, pairs).reshape(shape)


def _scale(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the scale at which a row's largest value gets the largest code, (rows,) float16."""
    limit = LIMITS[bits]
    weight = torch.nn.functional.pad(weight, (0, 1))  # torchao would compute one scale for all rows of a single column
    scale, _ = choose_qparams_affine(
        weight, MappingType.SYMMETRIC, (1, weight.shape[1]), torch.int8, -limit, limit, eps=SMALLEST_SCALE
    )
    return scale.to(torch.float16)


def _by_row(weight: torch.Tensor, bits: int, scale: torch.Tensor) -> QuantizedWeight:
    scale = scale.clamp_min(SMALLEST_SCALE)
    return QuantizedWeight(bits, _codes(weight, scale.float(), LIMITS[bits]), scale)


def _codes(weight: torch.Tensor, scale: torch.Tensor, limit: int) -> torch.Tensor:
    block = (1, weight.shape[1])
    return quantize_affine(weight, block, scale, torch.zeros_like(scale), torch.int8, -limit, limit)


def _grouped(weight: torch.Tensor, bits: int, group_size: int, clipping: Clipping) -> QuantizedWeight:
    rows, columns = weight.shape
    limit = LIMITS[bits]
    groups = -(-columns // group_size)
    padded = torch.nn.functional.pad(weight, (0, groups * group_size - columns))
    grouped = padded.reshape(rows, groups, group_size)
    scale = (_scale(weight, bits).float() / LARGEST_MULTIPLIER).to(torch.float16).clamp_min(SMALLEST_SCALE)
    unit = scale.float()[:, None]  # (rows, 1)
    if clipping == "none":
        multipliers = (grouped.abs().amax(2) / (limit * unit)).ceil().clamp(1, LARGEST_MULTIPLIER)
    else:
        multipliers = _least_squares_multipliers(grouped, limit, unit)
    steps = (unit * multipliers).flatten()  # one per group
    codes = _codes(padded.reshape(rows * groups, group_size), steps, limit).reshape(rows, -1)[:, :columns]
    return QuantizedWeight(bits, codes, scale, multipliers.to(torch.int8), group_size)


def _least_squares_multipliers(grouped: torch.Tensor, limit: int, unit: torch.Tensor) -> torch.Tensor:
    """Return the multiplier with the smallest squared error for each group, (rows, groups)."""
    errors = []
    for multiplier in range(1, LARGEST_MULTIPLIER + 1):
        step = (unit * multiplier)[..., None]
        rounded = (grouped / step).round().clamp(-limit, limit) * step
        errors.append((rounded - grouped).square().sum(2))
    return torch.stack(errors).argmin(0) + 1.0
