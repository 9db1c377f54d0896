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

    Counts of several recordings are added. A rate is derived from the sum, and rates are never averaged.

    >>> short = ErrorCounts(false_alarm=1.0, missed_detection=2.0, confusion=3.0, total=10.0)
    >>> long = ErrorCounts(confusion=9.0, total=90.0)
    >>> short.der, long.der, (short + long).der
    (60.0, 10.0, 15.0)
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
        """Return `seconds` as a percentage of the scored reference speech.

        Raises ZeroDivisionError if no reference speech was scored.
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
# clustering: clustering and naming the recording's speakers. other: everything else.
Stage = Literal["segmentation", "embedding", "clustering", "other"]


@dataclass(frozen=True)
class Run:
    """One timed run of a section.

    audio: seconds of audio.
    compute: seconds from the first reading of the clock to the last.
    stages: the same seconds, by stage.
    updates: the same seconds, by update, except those spent after the last update (in the chunk-wise mode, on
    clustering). Empty in the offline mode, which has no updates.
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
    """Seconds of compute that an update takes, segmentation and embedding together, over this many `updates`.

    This comes on top of the algorithmic latency C + R. Percentiles are interpolated linearly between updates. The
    clustering of the chunk-wise mode is not included: it runs once, when the whole recording has been heard.
    """

    median: float
    p95: float
    p99: float
    updates: int


@dataclass(frozen=True)
class Timing:
    """How long one operating point took, repeat by repeat, each next to the FP32 baseline timed just before it.

    rtf, baseline_rtf: seconds of compute per second of audio, one value for each repeat, in the order measured.
    updates: seconds of each update of all repeats. Empty in the offline mode.
    stages: seconds by stage, of all repeats.
    peak_memory: bytes, see `objectives.evaluation.timing_process`. None if the system does not report it.
    """

    rtf: tuple[float, ...]
    baseline_rtf: tuple[float, ...]
    threads: int
    updates: tuple[float, ...] = ()
    stages: Mapping[Stage, float] = field(default_factory=dict)
    peak_memory: int | None = None

    @classmethod
    def of(cls, runs: Sequence[Run], baseline: Sequence[Run], threads: int, peak_memory: int | None) -> "Timing":
        """Combine the runs of an operating point and of the baseline, measured in turns."""
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
        """Median of RTF over the baseline's RTF in the same repeat, so that a drift of the machine's speed cancels
        out."""
        return median(own / base for own, base in zip(self.rtf, self.baseline_rtf, strict=True))

    @property
    def update_latency(self) -> UpdateLatency | None:
        """Compute of an update. None in the offline mode."""
        if not self.updates:
            return None
        middle, p95, p99 = np.percentile(self.updates, (50, 95, 99)).tolist()
        return UpdateLatency(middle, p95, p99, len(self.updates))

    @property
    def stage_shares(self) -> Mapping[Stage, float] | None:
        """Share of each stage in the compute that RTF counts, adding up to 1. None if stages were not timed
        separately."""
        total = sum(self.stages.values())
        return {stage: seconds / total for stage, seconds in self.stages.items()} if total > 0 else None

    @property
    def peak_memory_mib(self) -> float | None:
        """Peak memory in MiB."""
        return None if self.peak_memory is None else self.peak_memory / 2**20


@dataclass(frozen=True)
class Measured:
    """What is known of one operating point, measured to the end or not, and what it was derived from.

    counts: errors by recording (URI).
    size_bytes: size of the segmentation checkpoint on disk.
    params: number of its parameters.
    execution: `native` if the machine has a kernel for the precision, else `emulated`. The RTF of an emulated precision
    is never a gain.
    kernel: what computed the classes that the errors come from. On a GPU, the RTF comes from another kernel.
    model_key: hash of everything that made the model.
    machine: the machine that was measured on.
    kept: units that stay in the model, {"hidden": 84, "linear": 128}.
    story: how the model was made, as JSON.
    model_sha256: of the checkpoint.
    data: what it was measured with and on, by content: corpus, split, weights, settings.
    versions: of packages.
    """

    operating_point: OperatingPoint
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


@dataclass(frozen=True)
class Measurement(Measured):
    """The three objectives of one operating point."""

    timing: Timing

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
    """Why the measurement of an operating point was stopped early.

    kind: `limit` if it exceeds a hard budget, `raced` if another operating point beats it.
    reason: in words.
    details: the figures that led to it, as JSON.
    """

    kind: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stopped(Measured):
    """An operating point that a judge stopped, and what was measured until then.

    timing: None if the model alone was reason enough.
    counts: errors of the recordings that were scored. No DER is derived from a part of the recordings.
    """

    stop: Stop = field(kw_only=True)


class Judge(Protocol):
    """Decides, as results come in, whether an operating point is worth measuring further.

    It is sent to the process that measures, so it is plain data.
    """

    def order(self, size: float, rtf: float, durations: Mapping[str, float]) -> tuple[str, ...]:
        """Return the URIs of the recordings in the order in which to score them. Empty if the order does not matter.

        Called once, before the first recording is scored. durations: seconds of audio by recording.
        """
        ...

    def look(self, size: float, rtf: float | None, counts: Mapping[str, ErrorCounts]) -> Stop | None:
        """Return why to stop, or None to continue.

        Called when the size (MiB) is known, when the RTF is known, and after each recording that is scored.
        """
        ...


class Unhurried:
    """The judge that never stops a measurement."""

    def order(self, size: float, rtf: float, durations: Mapping[str, float]) -> tuple[str, ...]:
        """See Judge.order."""
        return ()

    def look(self, size: float, rtf: float | None, counts: Mapping[str, ErrorCounts]) -> None:
        """See Judge.look."""


UNHURRIED = Unhurried()


def pool(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Return the sum of the counts of several recordings."""
    return sum(counts, ErrorCounts())


STAGES: tuple[Stage, ...] = get_args(Stage)
OnStage = Callable[[Stage], None]  # called when a stage has just ended


def unheeded(stage: Stage) -> None:
    """Ignore the end of a stage, when nothing is being timed."""


# The parts of an evaluator's identity that errors depend on. Errors can be compared only if all of these are equal
DATA = ("corpus", "split", "segmentation", "embedding", "clustering", "tracking", "code")
