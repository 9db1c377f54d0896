"""The paper's fixed points: the sweeps of Sec. 4.2 and 5.1, the tables of Sec. 5.2 and 5.3.

Figure 1 sweeps the right context R at C = 1 s, Figure 2 the chunk length C at R = 0, both over "log-spaced values". The
text gives only the ranges of the x values, so the points here are ours: the 1-2-5 series over each range, which is
log-spaced and easy to read. An origin such as `paper:figure1:R=0.5` therefore means "on the curve of Figure 1", not "a
value printed in the paper".

Table 1 prunes the model in FP32, Table 2 quantizes one pruned model. The paper ran both offline; a chunk-wise study has
the same models at C = 1 s, R = 0. `paper:table1:Linear-40` means "the model of that row", measured here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from objectives.errors import OperatingPointError
from objectives.operating_point import (
    AS_TUNED,
    BASELINE,
    UNPRUNED,
    Mode,
    OnlineTracking,
    OperatingPoint,
    Precision,
    Pruning,
    Structure,
)
from studies.paper_results import BASELINE_VARIANT, TABLE1

Sweep = Literal["figure1", "figure2"]
SWEEPS: tuple[Sweep, ...] = get_args(Sweep)

FIGURE1_CHUNK_LENGTH = 1.0  # seconds, fixed while R varies
FIGURE1_RIGHT_CONTEXTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds
FIGURE2_RIGHT_CONTEXT = 0.0  # seconds, fixed while C varies
FIGURE2_CHUNK_LENGTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds

_CURVES: Mapping[Sweep, tuple[str, tuple[float, ...]]] = {  # what varies, and its values
    "figure1": ("R", FIGURE1_RIGHT_CONTEXTS),
    "figure2": ("C", FIGURE2_CHUNK_LENGTHS),
}


@dataclass(frozen=True)
class FixedPoint:
    """An operating point that every run of a study measures, and where it comes from.

    origin: `baseline`, `paper:figure1:R=0.5`, `paper:table1:Linear-40`, `fixed:C=0.3`; unique in a study.
    """

    origin: str
    point: OperatingPoint


def baseline_point(mode: Mode = "chunk-wise", online: OnlineTracking = AS_TUNED) -> FixedPoint:
    """Return the unpruned FP32 model: at C = 1 s and R = 0, or offline."""
    return FixedPoint("baseline", replace(BASELINE, mode=mode, online=_online(mode, online)))


def swept_point(figure: Sweep, value: float) -> FixedPoint:
    """Return a point of a figure's curve: the baseline with another R or C, in seconds. Raises OperatingPointError."""
    symbol, values = _CURVES[figure]
    source = f"paper:{figure}" if value in values else "fixed"
    point = (
        OperatingPoint(FIGURE1_CHUNK_LENGTH, value) if symbol == "R" else OperatingPoint(value, FIGURE2_RIGHT_CONTEXT)
    )
    return FixedPoint(f"{source}:{symbol}={value:.12g}", point)


def online_twin(fixed: FixedPoint, online: OnlineTracking = AS_TUNED) -> FixedPoint:
    """Return a streaming point of the paper with speakers tracked online, which the paper did not do."""
    _, _, rest = fixed.origin.partition(":")
    return FixedPoint(f"online:{rest or fixed.origin}", replace(fixed.point, mode="online", online=online))


def _online(mode: Mode, online: OnlineTracking) -> OnlineTracking:
    return online if mode == "online" else AS_TUNED


def sweep(figure: Sweep) -> tuple[FixedPoint, ...]:
    """Return every point of one figure's sweep, in ascending order."""
    return tuple(swept_point(figure, value) for value in _CURVES[figure][1])


def pruning_of(variant: str) -> Pruning:
    """Return what a variant of Table 1 prunes: `Hidden-40`, `Linear-20`, also `Both-60`; nothing for `Baseline`.

    Raises OperatingPointError for any other name.
    """
    if variant == BASELINE_VARIANT:
        return UNPRUNED
    structure, _, percent = variant.partition("-")
    if structure in ("Hidden", "Linear", "Both") and percent.isdecimal():
        return Pruning(cast("Structure", structure.lower()), round(int(percent) / 100, 2))
    raise OperatingPointError(
        f"the variant {variant!r} is unknown: use Baseline, or Hidden, Linear or Both with a percentage: Hidden-40"
    )


def variant_point(variant: str, mode: Mode = "chunk-wise", online: OnlineTracking = AS_TUNED) -> FixedPoint:
    """Return a variant of Table 1, in FP32: offline, or at C = 1 s and R = 0. Raises OperatingPointError."""
    source = "paper:table1" if variant in TABLE1 else "fixed"
    point = OperatingPoint(pruning=pruning_of(variant), mode=mode, online=_online(mode, online))
    return FixedPoint(f"{source}:{variant}", point)


def precision_point(
    precision: Precision, variant: str, mode: Mode = "chunk-wise", online: OnlineTracking = AS_TUNED
) -> FixedPoint:
    """Return a precision mode of Table 2 on the pruned variant chosen for it, offline or at C = 1 s and R = 0.

    Raises OperatingPointError.
    """
    point = OperatingPoint(pruning=pruning_of(variant), precision=precision, mode=mode, online=_online(mode, online))
    return FixedPoint(f"paper:table2:{precision.upper()}", point)
