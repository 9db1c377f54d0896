"""Audio → Hypothesis, chunk by chunk. Never sees a reference. When what is heard: objectives/schedule.py."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from objectives.clustering import ClusteringSettings, speaks_enough
from objectives.contract import SAMPLE_RATE, Contract
from objectives.deployed import BATCH, Runtime, local_activity
from objectives.hypothesis import Hypothesis
from objectives.kept_updates import KeptUpdates
from objectives.online import OnlineSession
from objectives.operating_point import OnlineTracking, OperatingPoint
from objectives.recent import Recent
from objectives.schedule import Schedule, cut_block
from objectives.speaker_embedding import Features, FeatureStream, SpeakerEmbedding
from objectives.stages import OnStage, unheeded
from objectives.windows import LocalSpeakers

# Of audio and features that the real loop keeps: a window and, besides, what it hears at once (C + R, 10 s at most) and
# what waits for a block of features
KEPT_SECONDS = 24.0


@dataclass(frozen=True)
class Emitted:
    """A block as it was emitted, and whose speech it may be. starts: (cells,) first sample of each. frames: (cells,
    speakers) bool. active: (speakers,) bool, in the window. embeddings: (speakers, dimension), NaN where not known."""

    starts: np.ndarray
    frames: np.ndarray
    active: np.ndarray
    embeddings: np.ndarray


@dataclass
class _Pending:
    """An update whose features are not ready. needed: number of them. chosen: for each local speaker, which ones.
    anchor: its number, where it is one. enough: (speakers,) bool, who speak enough to found clusters."""

    block: Emitted
    needed: int
    chosen: list[np.ndarray]
    anchor: int | None
    enough: np.ndarray


@dataclass
class ChunkwiseSession:
    """Chunk-wise streaming of one recording: blocks as they come, names when all is heard (paper, Sec. 4.2, 6).

    Both planes drive it, update by update; they differ in nothing but how windows are batched and features shared.
    """

    schedule: Schedule
    contract: Contract
    embedding: SpeakerEmbedding
    clustering: ClusteringSettings
    _kept: KeptUpdates = field(init=False)
    _latest: Emitted = field(init=False)
    _pending: deque[_Pending] = field(default_factory=deque)
    _anchors: int = 0

    def __post_init__(self) -> None:
        self._kept = KeptUpdates(self.contract.speakers, self.embedding.dimension)

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
        unknown = np.full((self.contract.speakers, self.embedding.dimension), np.nan, np.float32)
        emitted = Emitted(block.starts, block.frames, np.any(activity, axis=0), unknown)
        anchor = self.schedule.is_anchor(update)
        wanted = anchor or bool(block.frames.any())  # a block without speech needs no names
        self._kept.add(block.starts, block.frames, emitted.active & wanted)
        if wanted:
            window_start = self.schedule.heard(update) - self.contract.window
            needed, chosen = self.embedding.features_of_speakers(self.contract, activity, window_start)
            number = self._anchors if anchor else None
            self._pending.append(_Pending(emitted, needed, chosen, number, speaks_enough(activity)))
        self._anchors += anchor
        self._latest = emitted
        return block.frames

    def pool(self, features: Features, last: bool = False) -> None:
        """The second half of `update`: embeddings of the local speakers whose features are ready, (frames, channels).

        last: there will be no more features, so those that are there must do.
        """
        while self._pending and (last or self._pending[0].needed <= len(features)):
            update = self._pending.popleft()
            active, pooled = update.block.active, self._pooled(update, features)
            self._kept.embed(pooled.embeddings[active], update.anchor, update.enough[active])
            if update.block is self._latest:
                self._latest = pooled

    def finish(self, features: np.ndarray) -> Hypothesis:
        """Cluster, name and return what was emitted. `features` are all that the recording has."""
        self.pool(features, last=True)
        return self.name(self.centroids())

    def centroids(self) -> np.ndarray:
        """(clusters, dimension): speakers as far as anchors are pooled, by the clustering."""
        return self._kept.centroids(self.clustering, self.schedule.anchor_seconds)

    def name(self, centroids: np.ndarray) -> Hypothesis:
        """What was emitted, its local speakers named by the nearest centroids."""
        return Hypothesis.from_cells(self._kept.starts(), self.schedule.total, self._kept.speaking(centroids))

    @property
    def anchors(self) -> int:
        """Number of anchors so far."""
        return self._anchors

    def latest(self, features: Features) -> Emitted:
        """The latest block, its local speakers' embeddings pooled from what is ready now."""
        if self._pending and self._pending[-1].block is self._latest:
            return self._pooled(self._pending[-1], features)
        return self._latest

    def _pooled(self, update: _Pending, features: Features) -> Emitted:
        embeddings = update.block.embeddings.copy()
        for speaker, frames in enumerate(update.chosen):
            if update.block.active[speaker]:
                embeddings[speaker] = self.embedding.pool(features[frames[frames < len(features)]])
        return replace(update.block, embeddings=embeddings)


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
