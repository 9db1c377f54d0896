"""The answer to an operating point: errors, sizes, timings. Plain values, which need NumPy only."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, Protocol, get_args

import numpy as np

from objectives.operating_point import OperatingPoint


@dataclass(frozen=True)
class ErrorCounts:
    """Seconds of false alarm, missed detection and confusion, and of scored reference speech (`total`).

    Counts of several recordings are added; a rate is derived from the sum and never averaged.
    """

    false_alarm: float = 0.0
    missed_detection: float = 0.0
    confusion: float = 0.0
    total: float = 0.0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.false_alarm + other.false_alarm,
            self.missed_detection + other.missed_detection,
            self.confusion + other.confusion,
            self.total + other.total,
        )

    def percent(self, seconds: float) -> float:
        """`seconds` as a percentage of the scored reference speech.

        Raises ZeroDivisionError where nothing was scored: there is no rate of nothing.
        """
        return 100.0 * seconds / self.total

    @property
    def seconds(self) -> float:
        """Seconds of error of any kind."""
        return self.false_alarm + self.missed_detection + self.confusion

    @property
    def der(self) -> float:
        """Diarization error rate in percent."""
        return self.percent(self.seconds)


Execution = Literal["native", "emulated"]
# segmentation: the model and the powerset argmax. embedding: filterbank, frame-level features and their pooling.
# clustering: of the recording's speakers, and the naming of everybody. other: all the rest.
Stage = Literal["segmentation", "embedding", "clustering", "other"]


@dataclass(frozen=True)
class Run:
    """One timed run of a section.

    audio: seconds of it. compute: seconds from the first reading of the clock to the last. stages: the same seconds by
    stage. updates: the same seconds by update, but for what comes when all updates are done (chunk-wise: the
    clustering); none in the offline mode, which has no updates.
    """

    audio: float
    compute: float
    stages: Mapping[Stage, float]
    updates: tuple[float, ...] = ()

    @property
    def rtf(self) -> float:
        """Seconds of compute per second of audio."""
        return self.compute / self.audio


@dataclass(frozen=True)
class UpdateLatency:
    """Seconds of compute that an update takes, segmentation and embedding together, over so many `updates`.

    This is on top of the algorithmic latency C + R. Percentiles are interpolated linearly between updates. The
    clustering of the chunk-wise mode is not in it: it comes once, when everything is heard.
    """

    median: float
    p95: float
    p99: float
    updates: int


@dataclass(frozen=True)
class Timing:
    """What one operating point took, repeat by repeat, each beside the FP32 baseline's of the same breath.

    rtf, baseline_rtf: seconds of compute per second of audio, one value a repeat, in the order of measuring.
    updates: seconds of each update of all repeats; none in the offline mode. stages: seconds by stage, of all repeats.
    peak_memory: bytes, see `objectives.evaluation.timing_process`; None where the system does not tell.
    """

    rtf: tuple[float, ...]
    baseline_rtf: tuple[float, ...]
    threads: int
    updates: tuple[float, ...] = ()
    stages: Mapping[Stage, float] = field(default_factory=dict)
    peak_memory: int | None = None

    @classmethod
    def of(cls, runs: Sequence[Run], baseline: Sequence[Run], threads: int, peak_memory: int | None) -> "Timing":
        """From the runs of an operating point and of the baseline, in turns."""
        return cls(
            rtf=tuple(run.rtf for run in runs),
            baseline_rtf=tuple(run.rtf for run in baseline),
            threads=threads,
            updates=tuple(seconds for run in runs for seconds in run.updates),
            stages={stage: sum(run.stages[stage] for run in runs) for stage in STAGES},
            peak_memory=peak_memory,
        )

    @property
    def median(self) -> float:
        """Median RTF."""
        return median(self.rtf)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest RTF of the repeats."""
        return min(self.rtf), max(self.rtf)

    @property
    def ratio(self) -> float:
        """Median of RTF over the baseline's RTF of the same repeat: a machine that drifts cancels out."""
        return median(own / base for own, base in zip(self.rtf, self.baseline_rtf, strict=True))

    @property
    def update_latency(self) -> UpdateLatency | None:
        """Compute of an update; None in the offline mode."""
        if not self.updates:
            return None
        middle, p95, p99 = np.percentile(self.updates, (50, 95, 99)).tolist()
        return UpdateLatency(middle, p95, p99, len(self.updates))

    @property
    def stage_shares(self) -> Mapping[Stage, float] | None:
        """Share of each stage in all the compute of RTF, adding up to 1; None where no stages were told apart."""
        total = sum(self.stages.values())
        return {stage: seconds / total for stage, seconds in self.stages.items()} if total > 0 else None

    @property
    def peak_memory_mib(self) -> float | None:
        """Peak memory in MiB."""
        return None if self.peak_memory is None else self.peak_memory / 2**20


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
class Stop:
    """Why an operating point is not measured to the end. reason: in words. kind: `limit` where it passes a hard budget,
    `raced` where another one beats it. told: the figures behind it, as JSON."""

    kind: str
    reason: str
    told: Mapping[str, Any] = field(default_factory=dict)


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


def pool(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Sum of the counts of several recordings."""
    return sum(counts, ErrorCounts())


STAGES: tuple[Stage, ...] = get_args(Stage)
OnStage = Callable[[Stage], None]  # called when a stage has just ended


def unheeded(stage: Stage) -> None:
    """Nobody takes the time."""


# Of an evaluator's identity: what the errors of a point are of. Those of others cannot be compared with them
DATA = ("corpus", "split", "segmentation", "embedding", "clustering", "tracking", "code")
