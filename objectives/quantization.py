"""Model → low-bit model: W8A8 and W4A8 of LSTM and Linear layers."""

from dataclasses import dataclass
from typing import Literal, get_args

Clipping = Literal["none", "mse"]
CLIPPINGS: tuple[Clipping, ...] = get_args(Clipping)
SincnetPrecision = Literal["fp32", "int8"]
SINCNET_PRECISIONS: tuple[SincnetPrecision, ...] = get_args(SincnetPrecision)


@dataclass(frozen=True)
class QuantizationOptions:
    """What the low-bit modes do beyond the paper, which does none of it.

    group_size: weights of a row that share a scale, at 4 bits; 0 for one scale a row. clipping: `mse` searches, for
    each row, the clipping of its weights with the smallest squared error. sincnet: `int8` stores its convolutions in
    8 bits.
    """

    group_size: int = 0
    clipping: Clipping = "none"
    sincnet: SincnetPrecision = "fp32"
