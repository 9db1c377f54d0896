"""What is known of an operating point once it was measured, or once a judge has seen enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from objectives.cost import Timing
from objectives.deployed import Execution
from objectives.operating_point import OperatingPoint
from objectives.scoring import ErrorCounts, pool
from objectives.stop import Stop


@dataclass(frozen=True)
class Measurement:
    """The three objectives of one operating point, and what they were made of.

    counts: errors by recording (URI). size_bytes: of the segmentation checkpoint on disk. params: its parameters.
    execution: `native` where the machine has a kernel for the precision, else `emulated`: then the RTF is no gain.
    kernel: what computed the classes that the errors come from; on a GPU another one than the RTF is of.
    model_key: hash of everything that made the model. machine: what was measured on. kept: units that stay in the
    model, {"hidden": 84, "linear": 128}. story: how the model was made, as JSON. model_sha256: of the checkpoint.
    data: what it was measured with and on, by content: corpus, split, weights, settings. versions: of packages.
    """

    operating_point: OperatingPoint
    counts: Mapping[str, ErrorCounts]
    size_bytes: int
    params: int
    timing: Timing
    execution: Execution
    kernel: str
    model_key: str
    machine: Mapping[str, str]
    kept: Mapping[str, int] = field(default_factory=dict)
    story: Mapping[str, Any] = field(default_factory=dict)
    model_sha256: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def pooled(self) -> ErrorCounts:
        """Errors over all recordings."""
        return pool(self.counts.values())

    @property
    def size_mib(self) -> float:
        """Checkpoint size in MiB, the "MB" of the paper's tables."""
        return self.size_bytes / 2**20


@dataclass(frozen=True)
class Stopped:
    """An operating point that a judge stopped, and what was measured until then.

    timing: None where its model alone was reason enough. counts: errors of the recordings that were scored; no DER is
    derived from a part of them. The rest is as in Measurement.
    """

    operating_point: OperatingPoint
    stop: Stop
    counts: Mapping[str, ErrorCounts]
    size_bytes: int
    params: int
    timing: Timing | None
    execution: Execution
    kernel: str
    model_key: str
    machine: Mapping[str, str]
    kept: Mapping[str, int] = field(default_factory=dict)
    story: Mapping[str, Any] = field(default_factory=dict)
    model_sha256: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


class Judge(Protocol):
    """Decides, as facts come in, whether an operating point is worth measuring further. Travels to where it is
    measured, so it is plain data."""

    def order(self, size: float, rtf: float, durations: Mapping[str, float]) -> tuple[str, ...]:
        """URIs of the recordings in the order in which they are to be scored; empty where any will do. Asked once,
        before the first. durations: seconds of audio by recording."""
        ...

    def look(self, size: float, rtf: float | None, counts: Mapping[str, ErrorCounts]) -> Stop | None:
        """Asked when the size (MiB) is known, when the RTF is, and after every recording that was scored."""
        ...


class Unhurried:
    """The judge that never stops anything."""

    def order(self, size: float, rtf: float, durations: Mapping[str, float]) -> tuple[str, ...]:
        """See Judge.order."""
        return ()

    def look(self, size: float, rtf: float | None, counts: Mapping[str, ErrorCounts]) -> None:
        """See Judge.look."""


UNHURRIED = Unhurried()
