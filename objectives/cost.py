"""What an operating point costs to run: the one timed region, in a process of its own.

The cost plane runs the real loop: one update at a time, batch 1, a fixed number of threads, warmed up, nothing cached,
under the machine-wide lock, and in turns with the FP32 baseline. The offline mode, which hears everything first, is the
whole pipeline at once, its windows batched.

Inside the region nothing runs but the loop and, where a stage ends, one reading of the clock: four an update, under a
microsecond together.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from objectives.clustering import ClusteringSettings
from objectives.contract import SAMPLE_RATE
from objectives.deployed import Runtime
from objectives.offline import STEP_SAMPLES, diarize_offline
from objectives.operating_point import OperatingPoint
from objectives.schedule import Schedule
from objectives.speaker_embedding import SpeakerEmbedding
from objectives.stages import STAGES, Stage
from objectives.streaming import LiveLoop
from objectives.window_classes import WindowClasses
from objectives.window_features import fresh_window_features

# Seconds of audio in a timed section: 40 updates' worth, within these bounds. The lower one holds a whole block of
# embedding features, so that their cost is always paid for in proportion.
SECTION_UPDATES = 40
SECTION_BOUNDS = (2.0, 10.0)
WARM_UP_UPDATES = 3
# Of audio, from the middle of a recording, that a timing process is given: of hours, it would hear half again for every
# run
TIMED_SECONDS = 120.0
OFFLINE_SECONDS = 60.0  # of audio at most that the offline mode is timed on
OFFLINE_WARM_UP_SECONDS = 12.0


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
    peak_memory: bytes, see `objectives.peak_memory`; None where the system does not tell.
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
class Section:
    """Updates first … last - 1 of a schedule: the part of a recording that is timed."""

    first: int
    last: int

    def seconds(self, schedule: Schedule) -> float:
        """Audio emitted by these updates."""
        return (schedule.block(self.last - 1)[1] - schedule.block(self.first)[0]) / SAMPLE_RATE


def section_of(schedule: Schedule) -> Section:
    """The middle of a recording, long enough to be timed and no longer; all of a recording that is short."""
    low, high = SECTION_BOUNDS
    wanted = min(max(SECTION_UPDATES * schedule.chunk_length, low), high)
    updates = min(len(schedule), max(1, math.ceil(wanted / schedule.chunk_length)))
    first = (len(schedule) - updates) // 2 + 1
    return Section(first, first + updates)


class Laps:
    """A clock, and what it showed when each stage ended."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._stages: list[Stage] = []
        self._readings: list[float] = []

    def start(self) -> None:
        """The first reading."""
        self._readings.append(self._clock())

    def end(self, stage: Stage) -> None:
        """The next reading, a stage having ended."""
        self._readings.append(self._clock())
        self._stages.append(stage)

    @property
    def latest(self) -> float:
        """The latest reading."""
        return self._readings[-1]

    @property
    def elapsed(self) -> float:
        """From the first reading to the latest."""
        return self._readings[-1] - self._readings[0]

    def by_stage(self) -> dict[Stage, float]:
        """Seconds that ended in each stage."""
        seconds = dict.fromkeys(STAGES, 0.0)
        for stage, lap in zip(self._stages, np.diff(self._readings).tolist(), strict=True):
            seconds[stage] += lap
        return seconds


def time_loop(
    waveform: np.ndarray,
    point: OperatingPoint,
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    updates: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Time the real loop over a section of a recording: segmentation, embedding features, pooling and the final
    clustering.

    waveform: (samples,) float32. updates: at most so many, to warm up. Nothing but the loop lies between the clock's
    first and last readings; what was heard before the section is prepared outside.
    """
    schedule = Schedule(len(waveform), point.chunk_length, point.right_context)
    section = section_of(schedule)
    if updates is not None:
        section = Section(section.first, min(section.last, section.first + updates))
    laps = Laps(clock)
    loop = LiveLoop(schedule, runtime, embedding, clustering, laps.end, point.tracking)
    before, _ = schedule.news(section.first)
    loop.hear(waveform[:before])

    laps.start()
    ends = [laps.latest]
    for update in range(section.first, section.last):
        start, end = schedule.news(update)
        loop.update(update, waveform[start:end])
        ends.append(laps.latest)
    loop.finish(last=section.last > len(schedule))

    return Run(section.seconds(schedule), laps.elapsed, laps.by_stage(), tuple(np.diff(ends).tolist()))


def time_offline(
    waveform: np.ndarray,
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    seconds: float = OFFLINE_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Time the offline mode: embedding features, segmentation in batches, clustering and all that the released
    pipeline does besides.

    waveform: (samples,) float32. seconds: at most so many, from its middle. Nothing but the pipeline lies between the
    clock's first and last readings, and nothing that it needs was made before.
    """
    heard = middle(waveform, seconds)
    laps = Laps(clock)

    laps.start()
    windows = WindowClasses(heard, runtime)
    features_of = fresh_window_features(embedding, heard, runtime.contract.window, STEP_SAMPLES)
    diarize_offline(windows, features_of, embedding, clustering, on_stage=laps.end)
    laps.end("other")

    return Run(len(heard) / SAMPLE_RATE, laps.elapsed, laps.by_stage())


def middle(waveform: np.ndarray, seconds: float) -> np.ndarray:
    """At most so many seconds from the middle of a recording: (samples,) → (samples,), a view."""
    samples = min(len(waveform), round(seconds * SAMPLE_RATE))
    first = (len(waveform) - samples) // 2
    return waveform[first : first + samples]
