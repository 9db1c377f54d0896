"""The cost plane: time what an operating point costs to run, in one timed region, in a process of its own.

The real loop is timed: one update at a time, batch 1, a fixed number of threads, warmed up, nothing cached, under the
machine-wide lock, and in turns with the FP32 baseline. The offline mode, which hears the whole recording first, is
timed as one run of the whole pipeline, with its windows batched.

Inside the timed region only the loop runs, plus one reading of the clock at the end of each stage: four readings for
each update, together under a microsecond.
"""

import math
import time
from collections.abc import Callable

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

# A timed section has 40 updates, but between 2 and 10 seconds of audio. The lower bound holds a whole block of
# embedding features, so that the section always pays its share of their cost.
SECTION_UPDATES = 40
SECTION_BOUNDS = (2.0, 10.0)
WARM_UP_UPDATES = 3
# Seconds of audio, from the middle of a recording, that the timing process gets. With hours of audio, each run would
# first have to take in half of them.
TIMED_SECONDS = 120.0
OFFLINE_SECONDS = 60.0  # most audio that the offline mode is timed on
OFFLINE_WARM_UP_SECONDS = 12.0


def section_of(schedule: Schedule) -> range:
    """Return the updates in the middle of a recording, enough to time and no more. A short recording is timed whole."""
    low, high = SECTION_BOUNDS
    wanted = min(max(SECTION_UPDATES * schedule.chunk_length, low), high)
    updates = min(len(schedule), max(1, math.ceil(wanted / schedule.chunk_length)))
    first = (len(schedule) - updates) // 2 + 1
    return range(first, first + updates)


def seconds_of(section: range, schedule: Schedule) -> float:
    """Return the seconds of audio that these updates emit."""
    return (schedule.block(section[-1])[1] - schedule.block(section[0])[0]) / SAMPLE_RATE


class Laps:
    """A clock, and its readings at the end of each stage."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._stages: list[Stage] = []
        self._readings: list[float] = []

    def start(self) -> None:
        """Take the first reading."""
        self._readings.append(self._clock())

    def end(self, stage: Stage) -> None:
        """Take the next reading, at the end of a stage."""
        self._readings.append(self._clock())
        self._stages.append(stage)

    @property
    def latest(self) -> float:
        """The latest reading."""
        return self._readings[-1]

    @property
    def elapsed(self) -> float:
        """Seconds from the first reading to the latest."""
        return self._readings[-1] - self._readings[0]

    def by_stage(self) -> dict[Stage, float]:
        """Return the seconds spent in each stage."""
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

    Only the loop runs between the clock's first and last readings. The audio before the section is taken in outside
    them.

    waveform: (samples,) float32.
    updates: run at most this many, to warm up.
    """
    schedule = Schedule(len(waveform), point.chunk_length, point.right_context)
    section = section_of(schedule)[:updates]
    laps = Laps(clock)
    loop = LiveLoop(schedule, runtime, embedding, clustering, laps.end, point.tracking)
    before, _ = schedule.news(section[0])
    loop.hear(waveform[:before])

    laps.start()
    ends = [laps.latest]
    for update in section:
        start, end = schedule.news(update)
        loop.update(update, waveform[start:end])
        ends.append(laps.latest)
    loop.finish(last=section[-1] == len(schedule))

    return Run(seconds_of(section, schedule), laps.elapsed, laps.by_stage(), tuple(np.diff(ends).tolist()))


def time_offline(
    waveform: np.ndarray,
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    seconds: float = OFFLINE_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Time the offline mode: embedding features, segmentation in batches, clustering and the rest of the released
    pipeline.

    Only the pipeline runs between the clock's first and last readings, and nothing that it needs is computed before.

    waveform: (samples,) float32.
    seconds: time at most this much, from the middle of the waveform.
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
    """Return a view of at most `seconds` from the middle of a recording: (samples,) → (samples,)."""
    samples = min(len(waveform), round(seconds * SAMPLE_RATE))
    first = (len(waveform) - samples) // 2
    return waveform[first : first + samples]
