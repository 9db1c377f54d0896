"""OperatingPoint × recordings → Measurement."""

from collections.abc import Mapping
from dataclasses import dataclass

from objectives.cost import Timing
from objectives.operating_point import OperatingPoint
from objectives.scoring import ErrorCounts, pool


@dataclass(frozen=True)
class Measurement:
    """The three objectives of one operating point, and what they were made of.

    counts: errors by recording (URI). size_bytes: of the segmentation checkpoint on disk. params: its parameters.
    execution: `native` where the machine has a kernel for the precision, else `emulated`: then the RTF is no gain.
    model_key: hash of everything that made the model. machine: what was measured on.
    """

    operating_point: OperatingPoint
    counts: Mapping[str, ErrorCounts]
    size_bytes: int
    params: int
    timing: Timing
    execution: str
    model_key: str
    machine: Mapping[str, str]

    @property
    def pooled(self) -> ErrorCounts:
        """Errors over all recordings."""
        return pool(self.counts.values())

    @property
    def size_mib(self) -> float:
        """Checkpoint size in MiB, the "MB" of the paper's tables."""
        return self.size_bytes / 2**20
