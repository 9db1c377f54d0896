"""What an operating point costs to run: the one timed region, in a process of its own.

The cost plane runs the real loop: one update at a time, batch 1, a fixed number of threads, warmed up, nothing cached,
under the machine-wide lock, and in turns with the FP32 baseline. The offline mode, which hears everything first, is the
whole pipeline at once, its windows batched.

Inside the region nothing runs but the loop and, where a stage ends, one reading of the clock: four an update, under a
microsecond together.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from objectives.measurement import STAGES, Run, Stage
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import SpeakerEmbedding
from objectives.models.embedding_features import fresh_window_features
from objectives.operating_point import OperatingPoint
from objectives.runtime.runtime import Runtime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.loop import LiveLoop
from objectives.streaming.offline import STEP_SAMPLES, diarize_offline
from objectives.streaming.schedule import Schedule

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
