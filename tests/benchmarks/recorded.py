"""A recorded table: a dense grid of operating points that were really measured, as a small CSV.

One line for each operating point and recording: chunk_length, right_context (seconds), pruning, precision, size_mib,
rtf, rtf_measured, baseline_rtf, recording, duration, false_alarm, missed_detection, confusion, total (the last five in
seconds). A JSON file beside it, of the same name, says how it came about.

Three figures of time, since a table takes an hour and a machine drifts meanwhile: rtf_measured is what the clock said,
in CPU seconds per second of audio; baseline_rtf is what it said of the FP32 baseline (C = 1 s, R = 0) in the same
breath; rtf is their ratio times the median baseline_rtf of the table, and so compares across it.
"""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

from objectives.measurement import ErrorCounts, pool
from objectives.operating_point import BASELINE, UNPRUNED, OperatingPoint, Precision, Pruning
from studies.fixed_points import pruning_of

COLUMNS = (
    "chunk_length",
    "right_context",
    "pruning",
    "precision",
    "size_mib",
    "rtf",
    "rtf_measured",
    "baseline_rtf",
    "recording",
    "duration",
    "false_alarm",
    "missed_detection",
    "confusion",
    "total",
)


@dataclass(frozen=True)
class RecordedPoint:
    """What was measured of one operating point. counts: errors by recording (URI). size_mib: of its model."""

    point: OperatingPoint
    size_mib: float
    rtf_measured: float
    baseline_rtf: float
    counts: Mapping[str, ErrorCounts]

    @property
    def der(self) -> float:
        """Diarization error rate in percent, pooled."""
        return pool(self.counts.values()).der


@dataclass(frozen=True)
class RecordedTable:
    """Points by what they are; durations: seconds of audio by recording (URI)."""

    points: Mapping[OperatingPoint, RecordedPoint]
    durations: Mapping[str, float]

    def rtf(self, recorded: RecordedPoint) -> float:
        """Measured RTF over the baseline's of the same breath, times the median of those: drift cancels out."""
        reference = median(point.baseline_rtf for point in self.points.values())
        return recorded.rtf_measured / recorded.baseline_rtf * reference

    def objectives(self) -> dict[OperatingPoint, tuple[float, float, float]]:
        """DER in percent, size in MiB and RTF of every point."""
        return {point: (known.der, known.size_mib, self.rtf(known)) for point, known in self.points.items()}


def pruning_named(name: str) -> Pruning:
    """`none`, `Hidden-40`: the inverse of `str(pruning)`. Raises OperatingPointError."""
    return UNPRUNED if name == str(UNPRUNED) else pruning_of(name)


def about_path(path: Path) -> Path:
    """The JSON file beside a table."""
    return path.with_suffix(".json")


def read(path: Path) -> RecordedTable:
    """Raises ValueError where the baseline or a line is missing, OSError where the file cannot be read."""
    points: dict[OperatingPoint, list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            points.setdefault(_point(line), []).append(line)
    if BASELINE not in points:
        raise ValueError(f"{path}: no line of the baseline (C = 1 s, R = 0, pruning none, precision fp32)")
    durations = {line["recording"]: float(line["duration"]) for line in points[BASELINE]}
    for point, lines in points.items():
        if sorted(line["recording"] for line in lines) != sorted(durations):
            raise ValueError(f"{path}: {point} has {len(lines)} lines, not one for each of {len(durations)} recordings")
    return RecordedTable({point: _recorded(point, lines) for point, lines in points.items()}, durations)


def _point(line: Mapping[str, str]) -> OperatingPoint:
    return OperatingPoint(
        float(line["chunk_length"]),
        float(line["right_context"]),
        pruning_named(line["pruning"]),
        cast("Precision", line["precision"]),
    )


def _recorded(point: OperatingPoint, lines: Sequence[Mapping[str, str]]) -> RecordedPoint:
    counts = {
        line["recording"]: ErrorCounts(
            float(line["false_alarm"]),
            float(line["missed_detection"]),
            float(line["confusion"]),
            float(line["total"]),
        )
        for line in lines
    }
    size, own, baseline = (float(lines[0][name]) for name in ("size_mib", "rtf_measured", "baseline_rtf"))
    return RecordedPoint(point, size, own, baseline, counts)


def write(path: Path, table: RecordedTable, about: Mapping[str, Any]) -> None:
    """Write a table and what is to be known about it; a file that is there is replaced at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for point, known in table.points.items():
            own = (point.chunk_length, point.right_context, point.pruning, point.precision, known.size_mib)
            times = (f"{value:.4f}" for value in (table.rtf(known), known.rtf_measured, known.baseline_rtf))
            shared = [*(f"{value:.6g}" if isinstance(value, float) else str(value) for value in own), *times]
            for uri, errors in known.counts.items():
                parts = (errors.false_alarm, errors.missed_detection, errors.confusion, errors.total)
                seconds = (f"{round(value, 3):g}" for value in (table.durations[uri], *parts))
                writer.writerow([*shared, uri, *seconds])
    os.replace(partial, path)
    about_path(path).write_text(json.dumps(about, indent=2) + "\n")
