"""The streaming step: audio in, a block of speech out, one update at a time.

`LiveLoop.update` is the step itself. objectives/streaming/schedule.py says which audio each update hears. Nothing here
sees a reference.
"""

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
from objectives.streaming.incremental.online import OnlineSession
from objectives.streaming.reclustering import ReclusteringSession
from objectives.streaming.schedule import Schedule
from objectives.streaming.session import Session

# Seconds of audio and features that the real loop keeps: one window, plus the audio of the first update (C + R, at most
# 10 s), plus the audio that waits for a block of features
KEPT_SECONDS = 24.0


def stream_live(
    waveform: np.ndarray,
    point: OperatingPoint,
    runtime: Runtime,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
) -> Hypothesis:
    """Diarize a recording with the real loop: one update at a time, batch 1, each feature computed once its audio has
    been heard.

    waveform: (samples,) float32, mono, 16 kHz.
    """
    schedule = Schedule(len(waveform), point.chunk_length, point.right_context)
    loop = LiveLoop(schedule, runtime, embedding, clustering, online=point.tracking)
    for update in range(1, len(schedule) + 1):
        start, end = schedule.news(update)
        loop.update(update, waveform[start:end])
    return loop.finish()


class LiveLoop:
    """The real loop: audio in, a block out, one update at a time.

    Nothing is computed twice and no window is copied. Audio and features are kept only as far back as the loop needs
    them.

    on_stage: called with each stage when it ends.
    online: how to track speakers if names must be final when a block is emitted; None in the chunk-wise mode.
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
        self.centroids = np.zeros((0, embedding.dimension), np.float32)  # (speakers, dimension), set by `finish`
        self._audio = Recent(round(KEPT_SECONDS * SAMPLE_RATE), first=-window)
        self._audio.append(np.zeros(window, np.float32))  # silence before the recording

    @property
    def session(self) -> Session:
        """The state of the recording: the blocks emitted so far and their speakers."""
        return self._session

    @property
    def features(self) -> Recent:
        """(frames, channels): the embedding features that are ready."""
        return self._stream.hear(self._audio)

    def hear(self, samples: np.ndarray) -> None:
        """Take in audio without running an update: (samples,) float32, mono, 16 kHz."""
        for start in range(0, len(samples), SAMPLE_RATE):
            self._audio.append(samples[start : start + SAMPLE_RATE])
            self._stream.hear(self._audio)

    def update(self, update: int, samples: np.ndarray) -> np.ndarray:
        """Run update k, one streaming step, and return the local speakers of the block that it emits, (cells, speakers)
        bool.

        samples: (samples,) float32, the audio heard since update k - 1.
        """
        # Hear: the window is the last W seconds of the audio heard so far, which ends at e = min(kC + R, T)
        self._audio.append(samples)
        heard = len(self._audio)
        window = self._audio.between(heard - self._runtime.contract.window, heard)  # (window samples,)
        self._on_stage("other")

        # Segment: find the local speakers of the window by the powerset argmax
        activity = local_activity(self._runtime, window[None])[0]  # (frames, speakers) bool
        self._on_stage("segmentation")

        # Emit: cut the block [(k-1)C, kC) out of the window; its speech is final
        emitted = self._session.emit(update, activity)  # (cells, speakers) bool, one cell a frame
        self._on_stage("other")

        # Embed: compute the features whose audio has now been heard, and pool them by local speaker
        features = self._stream.hear(self._audio)  # (frames, channels)
        self._session.pool(features)  # keeps (speakers, dimension) for each second, NaN if there is too little speech
        self._on_stage("embedding")

        # Name: the online mode names the block now, for good; the chunk-wise mode names all blocks in `finish`
        self._session.name_block()  # gives each local speaker a name, (speakers,) int
        self._on_stage("clustering")
        return emitted

    def end(self, total: int) -> Schedule:
        """Set the length of the recording in samples, which its schedule could not know, and return the schedule."""
        self._session.schedule = replace(self._session.schedule, total=total)
        return self._session.schedule

    def finish(self, last: bool = True) -> Hypothesis:
        """Return everything that was emitted, with its speakers' names.

        last: the recording ends here, so nothing waits for more context.
        """
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
    """Return what `stream_live` returns, as fast as the machine allows: windows are batched and shared, features are
    given.

    windows: of the recording.
    features: (frames, channels), of the whole recording.
    """
    schedule = Schedule(len(windows.waveform), point.chunk_length, point.right_context)
    session = _session(schedule, windows.contract, embedding, clustering, point.tracking)
    for updates in batches(len(schedule)):
        activities = windows.activity_ending_at(schedule.heard(update) for update in updates)
        for update, activity in zip(updates, activities, strict=True):
            session.emit(update, activity)
            session.pool(features)
            session.name_block()
        on_progress(updates[-1] / len(schedule))
    session.pool(features, last=True)
    return session.name(session.centroids())


def _session(
    schedule: Schedule,
    contract: Contract,
    embedding: SpeakerEmbedding,
    clustering: ClusteringSettings,
    online: OnlineTracking | None,
) -> Session:
    if online is None:
        return ChunkwiseSession(schedule, contract, embedding, clustering)
    if online.by_clusters:
        return ReclusteringSession(schedule, contract, embedding, clustering, online.min_duration_off)
    most = clustering.speakers[1] if clustering.speakers else None
    return OnlineSession(schedule, contract, embedding, online, most)


def batches(updates: int) -> Iterator[range]:
    """Yield the updates 1 … `updates` in batches of as many as are run at once."""
    for first in range(1, updates + 1, BATCH):
        yield range(first, min(first + BATCH, updates + 1))
