"""The paper's fixed sweep points (Sec. 4.2 and 5.1).

Figure 1 sweeps the right context R at C = 1 s, Figure 2 the chunk length C at R = 0, both over "log-spaced values". The
text gives neither figure's exact x values, only their ranges, so the points here are ours: the 1-2-5 series over each
range, which is log-spaced and easy to read. An origin such as `paper:figure1:R=0.5` therefore means "on the curve of
Figure 1", not "a value printed in the paper".
"""

from dataclasses import dataclass
from typing import Literal, get_args

from objectives.operating_point import BASELINE, OperatingPoint

Sweep = Literal["figure1", "figure2"]
SWEEPS: tuple[Sweep, ...] = get_args(Sweep)

FIGURE1_CHUNK_LENGTH = 1.0  # seconds, fixed while R varies
FIGURE1_RIGHT_CONTEXTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds
FIGURE2_RIGHT_CONTEXT = 0.0  # seconds, fixed while C varies
FIGURE2_CHUNK_LENGTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds


@dataclass(frozen=True)
class FixedPoint:
    """An operating point that every run of a study measures, and where it comes from.

    origin: `baseline`, `paper:figure1:R=0.5`, `fixed:C=0.3`; unique in a study.
    """

    origin: str
    point: OperatingPoint


BASELINE_POINT = FixedPoint("baseline", BASELINE)


def right_context_point(right_context: float) -> FixedPoint:
    """A point of Figure 1's curve: C = 1 s and the R given, in seconds. Raises OperatingPointError."""
    source = "paper:figure1" if right_context in FIGURE1_RIGHT_CONTEXTS else "fixed"
    point = OperatingPoint(chunk_length=FIGURE1_CHUNK_LENGTH, right_context=right_context)
    return FixedPoint(f"{source}:R={right_context:.12g}", point)


def chunk_length_point(chunk_length: float) -> FixedPoint:
    """A point of Figure 2's curve: R = 0 and the C given, in seconds. Raises OperatingPointError."""
    source = "paper:figure2" if chunk_length in FIGURE2_CHUNK_LENGTHS else "fixed"
    point = OperatingPoint(chunk_length=chunk_length, right_context=FIGURE2_RIGHT_CONTEXT)
    return FixedPoint(f"{source}:C={chunk_length:.12g}", point)


def sweep(name: Sweep) -> tuple[FixedPoint, ...]:
    """Every point of one figure's sweep, in growing order of what it sweeps."""
    if name == "figure1":
        return tuple(right_context_point(value) for value in FIGURE1_RIGHT_CONTEXTS)
    return tuple(chunk_length_point(value) for value in FIGURE2_CHUNK_LENGTHS)
