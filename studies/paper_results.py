"""What the paper reports in its Tables 1 and 2 (Sec. 5.2 and 5.3): shown beside our figures, never mixed with them.

Published for the offline pipeline on SIMSAMU, timed on an NVIDIA L40S: other recordings and another machine than in a
study here. So compare DER and RTF within a table, not across; parameters and sizes should agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PaperTable = Literal["table1", "table2"]

BASELINE_VARIANT = "Baseline"
TABLE2_VARIANT = "Linear-40"  # the pruned model of lowest DER on the paper's eval split
CAPTION = "The paper's figures are published ones: SIMSAMU, offline, NVIDIA L40S."


@dataclass(frozen=True)
class Published:
    """One row of a table of the paper.

    params: trainable parameters in millions; Table 2 does not give them, since quantization does not change them (its
    Sec. 4.4), so Linear-40's are used there. size: MiB on disk, the paper's "MB". rtf: real-time factor. der: percent.
    """

    params: float
    size: float
    rtf: float
    der: float


# Table 1: pruning, in FP32
TABLE1: Mapping[str, Published] = {
    BASELINE_VARIANT: Published(1.47, 5.63, 0.0232, 10.70),
    "Hidden-20": Published(1.01, 3.86, 0.0225, 19.24),
    "Hidden-40": Published(0.69, 2.65, 0.0221, 27.71),
    "Hidden-60": Published(0.47, 1.82, 0.0224, 35.88),
    "Hidden-80": Published(0.33, 1.26, 0.0224, 50.47),
    "Linear-20": Published(1.46, 5.59, 0.0225, 14.94),
    "Linear-40": Published(1.45, 5.55, 0.0223, 12.66),
    "Linear-60": Published(1.45, 5.52, 0.0222, 25.97),
    "Linear-80": Published(1.44, 5.50, 0.0222, 35.86),
}
# Table 2: precision modes of Linear-40
TABLE2: Mapping[str, Published] = {
    "FP32": Published(1.45, 5.55, 0.0223, 12.66),
    "FP16": Published(1.45, 2.78, 0.0250, 15.02),
    "INT8_PTQ": Published(1.45, 1.54, 0.0227, 23.67),
    "INT8_QAT": Published(1.45, 1.54, 0.0226, 19.02),
    "INT4_PTQ": Published(1.45, 0.89, 0.0227, 47.80),
    "INT4_QAT": Published(1.45, 0.89, 0.0229, 44.93),
}

_TABLES: Mapping[PaperTable, Mapping[str, Published]] = {"table1": TABLE1, "table2": TABLE2}


@dataclass(frozen=True)
class Remark:
    """What the text says about a part of a curve. low, high: that part, in seconds of the swept value."""

    low: float
    high: float
    text: str


# The text prints no value of the curves of Figures 1 and 2 (Sec. 5.1): these remarks are all that may be shown
REMARKS: Mapping[str, Remark] = {
    "figure1": Remark(1.0, 5.0, "DER changes sharply around R ≈ 1 s and is higher beyond; stable for smaller R"),
    "figure2": Remark(0.02, 0.1, "DER changes substantially for C of 0.02 to 0.10 s; a stable plateau for larger C"),
}


def place(origin: str) -> tuple[PaperTable, str] | None:
    """Return (table, row) of `paper:table1:Linear-40`; None for an origin that is in neither table."""
    for table, rows in _TABLES.items():
        row = origin.removeprefix(f"paper:{table}:")
        if row != origin and row in rows:
            return table, row
    return None


def published(origin: str) -> Published | None:
    """Return what the paper reports for a fixed point's origin; None if it is in neither table."""
    found = place(origin)
    return None if found is None else _TABLES[found[0]][found[1]]
