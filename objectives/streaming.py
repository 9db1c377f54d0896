"""Audio → Hypothesis, chunk by chunk. Never sees a reference. When what is heard: objectives/schedule.py."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from objectives.clustering import ClusteringSettings, name_local_speakers, speaker_centroids
from objectives.contract import SAMPLE_RATE, Contract
from objectives.deployed import BATCH, Runtime, local_activity
from objectives.hypothesis import Hypothesis
from objectives.online import OnlineSession
from objectives.operating_point import OnlineTracking, OperatingPoint
from objectives.recent import Recent
from objectives.schedule import Schedule, cut_block
from objectives.speaker_embedding import Features, FeatureStream, SpeakerEmbedding
from objectives.stages import OnStage, unheeded

if TYPE_CHECKING:
    from objectives.window_classes import WindowClasses

# Of audio and features that the real loop keeps: a window and, besides, what it hears at once (C + R, 10 s at most) and
# what waits for a block of features
KEPT_SECONDS = 24.0


@dataclass
class _Update:
    """What an update leaves behind: its emitted block and, until its features are ready, its local speakers."""

    frames: np.ndarray  # (cells, speakers) bool, of the block
    starts: np.ndarray  # (cells,) first sample of each cell
    active: np.ndarray  # (speakers,) bool, in the window
    embeddings: np.ndarray  # (speakers, dimension), NaN until pooled
    anchor: np.ndarray | None  # (frames, speakers) bool of the window, where the update is an anchor


@dataclass(frozen=True)
class Emitted:
    """A block as it was emitted, and whose speech it may be. starts: (cells,) first sample of each. frames: (cells,
    speakers) bool. active: (speakers,) bool, in the window. embeddings: (speakers, dimension), NaN where not known."""

    starts: np.ndarray
    frames: np.ndarray
    active: np.ndarray
    embeddings: np.ndarray


@dataclass
class ChunkwiseSession:
    """Chunk-wise streaming of one recording: blocks as they come, names when all is heard (paper, Sec. 4.2, 6).

    Both planes drive it, update by update; they differ in nothing but how windows are batched and features shared.
    """

    schedule: Schedule
    contract: Contract
    embedding: SpeakerEmbedding
    clustering: ClusteringSettings
    _updates: list[_Update] = field(default_factory=list)
    _pending: deque[tuple[_Update, int, list[np.ndarray]]] = field(default_factory=deque)
    _anchors: int = 0

    def update(self, update: int, activity: np.ndarray, features: Features) -> np.ndarray:
        """Take in what the model said of an update's window, (frames, speakers) bool, and the features that are ready.

        Returns the emitted block's local speakers, (cells, speakers) bool: final but for the speakers' names.
        """
        emitted = self.emit(update, activity)
        self.pool(features)
        return emitted

    def emit(self, update: int, activity: np.ndarray) -> np.ndarray:
        """The first half of `update`, which needs no features."""
        block = cut_block(self.schedule, self.contract, update, activity)
        anchor = self.schedule.is_anchor(update)
        state = _Update(
            frames=block.frames,
            starts=block.starts,
            active=np.any(activity, axis=0),
            embeddings=np.full((self.contract.speakers, self.embedding.dimension), np.nan, np.float32),
            anchor=activity if anchor else None,
        )
        self._updates.append(state)
        self._anchors += anchor
        if anchor or block.frames.any():
            # a block without speech needs no names
            window_start = self.schedule.heard(update) - self.contract.window
            self._pending.append((state, *self.embedding.features_of_speakers(self.contract, activity, window_start)))
        return block.frames

    def pool(self, features: Features, last: bool = False) -> None:
        """The second half of `update`: embeddings of the local speakers whose features are ready, (frames, channels).

        last: there will be no more features, so those that are there must do.
        """
        while self._pending and (last or self._pending[0][1] <= len(features)):
            update, _, chosen = self._pending.popleft()
            update.embeddings = self._pooled(update, chosen, features)

    def finish(self, features: np.ndarray) -> Hypothesis:
        """Cluster, name and return what was emitted. `features` are all that the recording has."""
        self.pool(features, last=True)
        return self.name(self.centroids())

    def centroids(self) -> np.ndarray:
        """(clusters, dimension): speakers as far as anchors are pooled, by the clustering."""
        anchors = [update for update in self._updates if update.anchor is not None]
        embeddings = np.array([update.embeddings for update in anchors])
        # (anchors, speakers, dimension)
        activity = np.array([update.anchor for update in anchors])
        # (anchors, frames, speakers)
        return speaker_centroids(embeddings, activity, self.clustering, self.schedule.anchor_seconds)

    def name(self, centroids: np.ndarray) -> Hypothesis:
        """What was emitted, its local speakers named by the nearest centroids."""
        active = np.array([update.active for update in self._updates])
        # (updates, speakers)
        embeddings = np.array([update.embeddings for update in self._updates])
        # (updates, speakers, dimension)
        names = name_local_speakers(embeddings, active, centroids)
        cells = np.concatenate([update.starts for update in self._updates])
        speaking = [
            tuple(row[cell]) for update, row in zip(self._updates, names, strict=True) for cell in update.frames
        ]
        return Hypothesis.from_cells(cells, self.schedule.total, speaking)

    @property
    def anchors(self) -> int:
        """Number of anchors so far."""
        return self._anchors

    def latest(self, features: Features) -> Emitted:
        """The latest block, its local speakers' embeddings pooled from what is ready now."""
        update = self._updates[-1]
        embeddings = update.embeddings
        if self._pending and self._pending[-1][0] is update:
            embeddings = self._pooled(update, self._pending[-1][2], features)
        return Emitted(update.starts, update.frames, update.active, embeddings)

    def _pooled(self, update: _Update, chosen: list[np.ndarray], features: Features) -> np.ndarray:
        pooled = update.embeddings.copy()
        for speaker, frames in enumerate(chosen):
            if update.active[speaker]:
                pooled[speaker] = self.embedding.pool(features[frames[frames < len(features)]])
        return pooled


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
    windows: "WindowClasses",
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
    for updates in _batches(len(schedule)):
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


def _batches(updates: int) -> Iterator[range]:
    for first in range(1, updates + 1, BATCH):
        yield range(first, min(first + BATCH, updates + 1))
