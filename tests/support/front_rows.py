"""Rows of a front from the flat names of their values."""

from dataclasses import fields, replace
from typing import Any

from explorer.front.rows import Figures, FrontRow
from objectives.operating_point import OnlineTracking, OperatingPoint, Pruning

PLAIN = Figures(
    der=20.0, false_alarm=1.0, missed_detection=2.0, confusion=3.0, size=5.6, rtf=0.1, rtf_low=0.09, rtf_high=0.12,
    rtf_ratio=1.0, params=1_450_000, kept={"hidden": 84}, execution="native",
)  # fmt: skip


def front_row(trial: int | None = 1, **values: Any) -> FrontRow:
    """A row of the front at C = 1 s, R = 0, unpruned in FP32, measured, but for `values`. der: None if unmeasured."""
    return vary(FrontRow(trial, "search", OperatingPoint(), "front", measurement=PLAIN), **values)


def vary(row: FrontRow, **values: Any) -> FrontRow:
    """The row with other values. pruning: as in `Linear-40`. online: settings that are not as tuned."""
    if "pruning" in values:
        structure, _, percent = values["pruning"].partition("-")
        values["pruning"] = Pruning(structure.lower(), float(percent or 0) / 100)
    if "online" in values:
        values["online"] = OnlineTracking(**values["online"])
    point, figures, own = (
        {field.name: values.pop(field.name) for field in fields(kind) if field.name in values}
        for kind in (OperatingPoint, Figures, FrontRow)
    )
    assert not values, values
    measured = None if figures.get("der", 0.0) is None else replace(row.measurement or PLAIN, **figures)
    if row.measurement is None and not figures:
        measured = None
    return replace(row, **{"measurement": measured, "point": replace(row.point, **point), **own})
