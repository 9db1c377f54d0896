"""Chunk-wise streaming (the paper's): blocks are emitted at once, and named when the recording ends."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from objectives.models.contract import Contract
from objectives.models.embedding import Features, SpeakerEmbedding
from objectives.streaming.clustering import ClusteringSettings, name_local_speakers, speaker_centroids, speaks_enough
from objectives.streaming.hypothesis import Hypothesis
from objectives.streaming.schedule import Schedule, cut_block

AT_ONCE = 1024  # updates that are named together
NO_ANCHOR = -1


class KeptUpdates:
    """Updates in their order; their embeddings, which come later, in the same order.

    speakers: local speakers of a window. dimension: of an embedding.
    """

    def __init__(self, speakers: int, dimension: int):
        self._starts = Pile((), np.int64)  # of each cell, its first sample
        self._frames = Pile((speakers,), bool)  # of each cell
        self._cells = Pile((), np.int32)  # of each update, their number
        self._active = Pile((speakers,), bool)  # of each update that gets embeddings, else nobody
        self._embeddings = Pile((dimension,), np.float32, piece=1024)  # of each of those local speakers
        self._anchor = Pile((), np.int32)  # of each embedding, the number of its anchor
        self._enough = Pile((), bool)  # of each embedding, whether it is of much speech
        self._speakers, self._dimension = speakers, dimension

    @property
    def nbytes(self) -> int:
        """Memory of all of it."""
        piles = (self._starts, self._frames, self._cells, self._active, self._embeddings, self._anchor, self._enough)
        return sum(pile.nbytes for pile in piles)

    def add(self, starts: np.ndarray, frames: np.ndarray, embedded: np.ndarray) -> None:
        """An update: starts: (cells,) first samples. frames: (cells, speakers) bool. embedded: (speakers,) bool, whose
        embeddings will come: all who are active in its window, or nobody where none are needed."""
        self._starts.append(starts)
        self._frames.append(frames)
        self._cells.append(np.array([len(starts)]))
        self._active.append(embedded[None])

    def embed(self, embeddings: np.ndarray, anchor: int | None, enough: np.ndarray) -> None:
        """Embeddings of the next update that gets some: (speakers, dimension) of those who were to come, NaN for those
        with too little speech. anchor: its number. enough: (speakers,) bool, by `speaks_enough`."""
        self._embeddings.append(embeddings)
        self._anchor.append(np.full(len(embeddings), NO_ANCHOR if anchor is None else anchor))
        self._enough.append(enough)

    def centroids(self, settings: ClusteringSettings, anchor_seconds: float) -> np.ndarray:
        """(clusters, dimension): speakers as far as embeddings of anchors have come."""
        anchor = self._anchor.between(0, len(self._anchor))
        of_anchors = np.flatnonzero(anchor != NO_ANCHOR)
        embeddings, enough = self._embeddings.at(of_anchors), self._enough.at(of_anchors)
        return speaker_centroids(embeddings, anchor[of_anchors], enough, settings, anchor_seconds)

    def starts(self) -> np.ndarray:
        """(cells,) first sample of each cell."""
        return self._starts.between(0, len(self._starts))

    def speaking(self, centroids: np.ndarray) -> Iterator[tuple[int, ...]]:
        """Who speaks in each cell, by the nearest of (clusters, dimension). All embeddings must have come."""
        cell = row = 0
        for first in range(0, len(self._active), AT_ONCE):
            last = min(first + AT_ONCE, len(self._active))
            active = self._active.between(first, last)
            # (updates, speakers)
            embeddings = np.full((*active.shape, self._dimension), np.nan, np.float32)
            count = int(active.sum())
            embeddings[active] = self._embeddings.between(row, row + count)
            row += count
            names = name_local_speakers(embeddings, active, centroids)
            for cells, named in zip(self._cells.between(first, last).tolist(), names, strict=True):
                yield from (tuple(named[frame]) for frame in self._frames.between(cell, cell + cells))
                cell += cells


PIECE = 4096  # rows that room is made for at once


class Pile:
    """Rows by their position since the beginning. shape: of a row. piece: rows that room is made for at once."""

    def __init__(self, shape: tuple[int, ...], dtype: type, piece: int = PIECE):
        self._shape, self._dtype, self._piece = shape, dtype, piece
        self._pieces: list[np.ndarray] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory of all of it, the room that is left included."""
        return sum(piece.nbytes for piece in self._pieces)

    def append(self, rows: np.ndarray) -> None:
        """Add rows: (rows, …)."""
        while len(rows):
            used = self._count % self._piece
            if used == 0:
                self._pieces.append(np.empty((self._piece, *self._shape), self._dtype))
            fitting = rows[: self._piece - used]
            self._pieces[-1][used : used + len(fitting)] = fitting
            self._count += len(fitting)
            rows = rows[len(fitting) :]

    def between(self, start: int, end: int) -> np.ndarray:
        """Rows start … end - 1, copied: (end - start, …)."""
        rows: np.ndarray = np.empty((end - start, *self._shape), self._dtype)
        for index in range(start // self._piece, -(-end // self._piece)):
            first = index * self._piece
            low, high = max(start, first), min(end, first + self._piece)
            rows[low - start : high - start] = self._pieces[index][low - first : high - first]
        return rows

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The rows at these positions, copied: (positions,) → (positions, …)."""
        rows: np.ndarray = np.empty((len(positions), *self._shape), self._dtype)
        of = positions // self._piece
        for index in np.unique(of):
            rows[of == index] = self._pieces[index][positions[of == index] % self._piece]
        return rows


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
