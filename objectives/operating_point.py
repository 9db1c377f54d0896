"""The unit of the search: one way to run streaming diarization."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from objectives.errors import OperatingPointError

Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

CHUNK_LENGTH_RANGE = (0.02, 5.0)  # seconds
RIGHT_CONTEXT_RANGE = (0.01, 5.0)  # seconds; 0 is allowed besides


@dataclass(frozen=True)
class OperatingPoint:
    """One point of the design space (notation of the paper, Sec. 4.2).

    chunk_length: C in seconds, the update period, in [0.02, 5].
    right_context: R in seconds, the look-ahead, 0 or in [0.01, 5].
    precision: numeric precision of the segmentation model.

    Raises OperatingPointError when a value lies outside its range: C and R of at most 5 s keep a block inside the
    model's 10 s window.
    """

    chunk_length: float = 1.0
    right_context: float = 0.0
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        _check_range("chunk length C", self.chunk_length, CHUNK_LENGTH_RANGE)
        if self.right_context != 0.0:
            _check_range("right context R", self.right_context, RIGHT_CONTEXT_RANGE, or_zero=True)
        if self.precision not in PRECISIONS:
            raise OperatingPointError(f"precision {self.precision!r} is unknown: use one of {', '.join(PRECISIONS)}")

    @property
    def latency(self) -> float:
        """Algorithmic latency C + R in seconds."""
        return self.chunk_length + self.right_context


def _check_range(name: str, value: float, bounds: tuple[float, float], or_zero: bool = False) -> None:
    low, high = bounds
    if not (math.isfinite(value) and low <= value <= high):
        raise OperatingPointError(
            f"{name} = {value:g} s is outside the design space: use a value in [{low:g}, {high:g}] s"
            + (", or 0" if or_zero else "")
        )


BASELINE = OperatingPoint(chunk_length=1.0, right_context=0.0, precision="fp32")
