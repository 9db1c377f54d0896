"""What an operating point costs to run: the one timed region, in a process of its own.

The cost plane runs the real loop: one update at a time, batch 1, a fixed number of threads, warmed up, nothing cached,
under the machine-wide lock, and in turns with the FP32 baseline. The offline mode, which hears everything first, is the
whole pipeline at once, its windows batched.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from objectives.clustering import ClusteringSettings
from objectives.embedding import FeatureStream, SpeakerEmbedding
from objectives.offline import diarize_offline
from objectives.operating_point import OperatingPoint
from objectives.runtime import Runtime
from objectives.segmentation import SAMPLE_RATE
from objectives.streaming import ChunkwiseSession, Schedule, live_update
from objectives.window_classes import WindowClasses

# Seconds of audio in a timed section: 40 updates' worth, within these bounds. The lower one holds a whole block of
# embedding features, so that their cost is always paid for in proportion.
SECTION_UPDATES = 40
SECTION_BOUNDS = (2.0, 10.0)
WARM_UP_UPDATES = 3
OFFLINE_SECONDS = 60.0  # of audio at most that the offline mode is timed on
OFFLINE_WARM_UP_SECONDS = 12.0


@dataclass(frozen=True)
class Timing:
    """Real-time factors of one operating point, repeat by repeat, each beside the FP32 baseline's of the same breath.

    rtf, baseline_rtf: seconds of compute per second of audio, one value a repeat, in the order of measuring.
    """

    rtf: tuple[float, ...]
    baseline_rtf: tuple[float, ...]
    threads: int

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


def real_time_factor(
    waveform: np.ndarray,
    point: OperatingPoint,
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    updates: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of compute per second of audio of the real loop, over a section of a recording: segmentation, embedding
    features, pooling and the final clustering.

    waveform: (samples,) float32. updates: at most so many, to warm up. Nothing but the loop lies between the clock's
    two readings; what was heard before the section is prepared outside.
    """
    schedule = Schedule(len(waveform), point.chunk_length, point.right_context)
    section = section_of(schedule)
    if updates is not None:
        section = Section(section.first, min(section.last, section.first + updates))
    session = ChunkwiseSession(schedule, runtime.contract, embedding, clustering)
    stream = FeatureStream(embedding)
    if section.first > 1:
        stream.hear(waveform[: schedule.heard(section.first - 1)])

    start = clock()
    for update in range(section.first, section.last):
        live_update(waveform, update, runtime, session, stream)
    session.finish(stream.hear(waveform[: schedule.heard(section.last - 1)]))
    elapsed = clock() - start

    return elapsed / section.seconds(schedule)


def offline_real_time_factor(
    waveform: np.ndarray,
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    seconds: float = OFFLINE_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of compute per second of audio of the offline mode: embedding features, segmentation in batches,
    clustering and all that the released pipeline does besides.

    waveform: (samples,) float32. seconds: at most so many, from its middle. Nothing but the pipeline lies between the
    clock's two readings, and nothing that it needs was made before.
    """
    heard = _middle(waveform, seconds)

    start = clock()
    features = FeatureStream(embedding).hear(heard, last=True)
    diarize_offline(WindowClasses(heard, runtime), features, embedding, clustering)
    elapsed = clock() - start

    return elapsed / (len(heard) / SAMPLE_RATE)


def _middle(waveform: np.ndarray, seconds: float) -> np.ndarray:
    samples = min(len(waveform), round(seconds * SAMPLE_RATE))
    first = (len(waveform) - samples) // 2
    return waveform[first : first + samples]
