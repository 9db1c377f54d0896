"""Audio → Hypothesis, chunk by chunk. Never sees a reference. When what is heard: objectives/streaming/schedule.py."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from objectives.measurement import OnStage, unheeded
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import FeatureStream, SpeakerEmbedding
from objectives.models.sliding_buffer import Recent
from objectives.models.windows import LocalSpeakers
from objectives.operating_point import OnlineTracking, OperatingPoint
from objectives.runtime.runtime import BATCH, Runtime, local_activity
from objectives.streaming.chunkwise import ChunkwiseSession
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.hypothesis import Hypothesis
from objectives.streaming.online import OnlineSession
from objectives.streaming.schedule import Schedule

# Of audio and features that the real loop keeps: a window and, besides, what it hears at once (C + R, 10 s at most) and
# what waits for a block of features
KEPT_SECONDS = 24.0


def stream_live(
    waveform: np.ndarray,
    point: OperatingPoint,
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
) -> Hypothesis:
    """The real loop: one update at a time, batch 1, every feature computed when its audio has been heard.

    waveform: (samples,) float32, mono, 16 kHz.
    """
    schedule = Schedule(len(waveform), point.chunk_length, point.right_context)
    loop = LiveLoop(schedule, runtime, embedding, clustering, online=point.tracking)
    for update in range(1, len(schedule) + 1):
        start, end = schedule.news(update)
        loop.update(update, waveform[start:end])
    return loop.finish()


class LiveLoop:
    """The real loop: audio in, a block out, one update at a time. Nothing is made twice, and no window is copied. Audio
    and features are kept as far as it looks back.

    on_stage: told of each stage of an update when it has ended. online: how speakers are tracked where names are to be
    final when they are emitted; None for the chunk-wise mode.
    """

    def __init__(
        self,
        schedule: Schedule,
        runtime: Runtime,
        embedding: SpeakerEmbedding,
        clustering: ClusteringSettings,
        on_stage: OnStage = unheeded,
        online: OnlineTracking | None = None,
    ):
        window = runtime.contract.window
        self._runtime = runtime
        self._session = _session(schedule, runtime.contract, embedding, clustering, online)
        self._stream = FeatureStream(embedding, KEPT_SECONDS)
        self._on_stage = on_stage
        self.centroids = np.zeros((0, embedding.dimension), np.float32)  # of the speakers, once it is finished
        self._audio = Recent(round(KEPT_SECONDS * SAMPLE_RATE), first=-window)
        self._audio.append(np.zeros(window, np.float32))  # before the recording

    @property
    def session(self) -> ChunkwiseSession | OnlineSession:
        """What was emitted so far."""
        return self._session

    @property
    def features(self) -> Recent:
        """(frames, channels): those that are ready."""
        return self._stream.hear(self._audio)

    def hear(self, samples: np.ndarray) -> None:
        """Take in audio without an update: (samples,) float32, mono, 16 kHz."""
        for start in range(0, len(samples), SAMPLE_RATE):
            self._audio.append(samples[start : start + SAMPLE_RATE])
            self._stream.hear(self._audio)

    def update(self, update: int, samples: np.ndarray) -> np.ndarray:
        """One update, its news being (samples,) float32. Returns the emitted block, (cells, speakers) bool."""
        self._audio.append(samples)
        heard = len(self._audio)
        window = self._audio.between(heard - self._runtime.contract.window, heard)
        self._on_stage("other")
        activity = local_activity(self._runtime, window[None])[0]
        # (frames, speakers)
        self._on_stage("segmentation")
        emitted = self._session.emit(update, activity)
        self._on_stage("other")
        self._session.pool(self._stream.hear(self._audio))
        self._on_stage("embedding")
        if isinstance(self._session, OnlineSession):
            self._session.name_block()
            self._on_stage("clustering")
        return emitted

    def end(self, total: int) -> Schedule:
        """The recording will have so many samples, which its schedule could not know. Returns the schedule."""
        self._session.schedule = replace(self._session.schedule, total=total)
        return self._session.schedule

    def finish(self, last: bool = True) -> Hypothesis:
        """Everybody's names in what was emitted. last: the recording ends here, and so does waiting for context."""
        if isinstance(self._session, OnlineSession):
            return self._session.hypothesis()
        self._session.pool(self._stream.hear(self._audio, last), last=True)
        self._on_stage("embedding")
        self.centroids = self._session.centroids()
        hypothesis = self._session.name(self.centroids)
        self._on_stage("clustering")
        return hypothesis


def stream_batched(
    windows: LocalSpeakers,
    features: np.ndarray,
    point: OperatingPoint,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Hypothesis:
    """What `stream_live` returns, as fast as the machine allows: windows batched and shared, features given.

    windows: of the recording. features: (frames, channels), of the whole recording.
    """
    schedule = Schedule(len(windows.waveform), point.chunk_length, point.right_context)
    session = _session(schedule, windows.contract, embedding, clustering, point.tracking)
    for updates in batches(len(schedule)):
        activities = windows.activity_ending_at(schedule.heard(update) for update in updates)
        for update, activity in zip(updates, activities, strict=True):
            session.update(update, activity, features)
        on_progress(updates[-1] / len(schedule))
    return session.finish(features)


def _session(
    schedule: Schedule,
    contract: Contract,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    online: OnlineTracking | None,
) -> ChunkwiseSession | OnlineSession:
    if online is None:
        return ChunkwiseSession(schedule, contract, embedding, clustering)
    return OnlineSession(schedule, contract, embedding, online)


def batches(updates: int) -> Iterator[range]:
    """Updates 1 … `updates`, as many at once as windows are run at once."""
    for first in range(1, updates + 1, BATCH):
        yield range(first, min(first + BATCH, updates + 1))
