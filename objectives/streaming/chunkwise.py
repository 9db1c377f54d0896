"""Chunk-wise streaming (the paper's): blocks are emitted at once, and their speakers named when the recording ends."""

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
    """The updates of a recording in order, and their embeddings, which are added later but in the same order.

    speakers: number of local speakers in a window.
    dimension: length of an embedding.
    """

    def __init__(self, speakers: int, dimension: int):
        self._starts = GrowingRows((), np.int64)  # first sample of each cell
        self._frames = GrowingRows((speakers,), bool)  # who speaks in each cell
        self._cells = GrowingRows((), np.int32)  # number of cells of each update
        self._active = GrowingRows((speakers,), bool)  # local speakers of each update that get an embedding
        self._embeddings = GrowingRows((dimension,), np.float32, piece=1024)  # of those local speakers, in order
        self._anchor = GrowingRows((), np.int32)  # for each embedding, the number of its anchor
        self._enough = GrowingRows((), bool)  # for each embedding, whether its speaker speaks enough
        self._speakers, self._dimension = speakers, dimension

    @property
    def nbytes(self) -> int:
        """Memory that this takes, in bytes."""
        arrays = (self._starts, self._frames, self._cells, self._active, self._embeddings, self._anchor, self._enough)
        return sum(each.nbytes for each in arrays)

    def add(self, starts: np.ndarray, frames: np.ndarray, embedded: np.ndarray) -> None:
        """Add an update.

        starts: (cells,) first sample of each cell.
        frames: (cells, speakers) bool.
        embedded: (speakers,) bool, the local speakers whose embeddings will be added later: all who are active in the
        window, or nobody if the update needs no embeddings.
        """
        self._starts.append(starts)
        self._frames.append(frames)
        self._cells.append(np.array([len(starts)]))
        self._active.append(embedded[None])

    def embed(self, embeddings: np.ndarray, anchor: int | None, enough: np.ndarray) -> None:
        """Add the embeddings of the next update that has any.

        embeddings: (speakers, dimension), of the local speakers announced to `add`; NaN for those with too little
        speech.
        anchor: number of the anchor, None if the update is not one.
        enough: (speakers,) bool, by `speaks_enough`.
        """
        self._embeddings.append(embeddings)
        self._anchor.append(np.full(len(embeddings), NO_ANCHOR if anchor is None else anchor))
        self._enough.append(enough)

    def centroids(self, settings: ClusteringSettings, anchor_seconds: float) -> np.ndarray:
        """Cluster the anchors whose embeddings have been added → (clusters, dimension)."""
        anchor = self._anchor.between(0, len(self._anchor))
        of_anchors = np.flatnonzero(anchor != NO_ANCHOR)
        embeddings, enough = self._embeddings.at(of_anchors), self._enough.at(of_anchors)
        return speaker_centroids(embeddings, anchor[of_anchors], enough, settings, anchor_seconds)

    def starts(self) -> np.ndarray:
        """Return the first sample of each cell: (cells,)."""
        return self._starts.between(0, len(self._starts))

    def speaking(self, centroids: np.ndarray) -> Iterator[tuple[int, ...]]:
        """Yield who speaks in each cell, by the nearest of the centroids, (clusters, dimension). All embeddings must
        have been added."""
        cell = row = 0
        for first in range(0, len(self._active), AT_ONCE):
            last = min(first + AT_ONCE, len(self._active))
            active = self._active.between(first, last)  # (updates, speakers)
            embeddings = np.full((*active.shape, self._dimension), np.nan, np.float32)
            count = int(active.sum())
            embeddings[active] = self._embeddings.between(row, row + count)
            row += count
            names = name_local_speakers(embeddings, active, centroids)  # (updates, speakers)
            for cells, named in zip(self._cells.between(first, last).tolist(), names, strict=True):
                yield from (tuple(named[frame]) for frame in self._frames.between(cell, cell + cells))
                cell += cells


PIECE = 4096  # rows for which memory is allocated at once


class GrowingRows:
    """An array that grows by whole rows and never moves them.

    shape: of a row.
    piece: number of rows for which memory is allocated at once.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type, piece: int = PIECE):
        self._shape, self._dtype, self._piece = shape, dtype, piece
        self._pieces: list[np.ndarray] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory that this takes in bytes, including rows that are allocated but not yet used."""
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
        """Return a copy of rows start … end - 1: (end - start, …)."""
        rows: np.ndarray = np.empty((end - start, *self._shape), self._dtype)
        for index in range(start // self._piece, -(-end // self._piece)):
            first = index * self._piece
            low, high = max(start, first), min(end, first + self._piece)
            rows[low - start : high - start] = self._pieces[index][low - first : high - first]
        return rows

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return a copy of the rows at these positions: (positions,) → (positions, …)."""
        rows: np.ndarray = np.empty((len(positions), *self._shape), self._dtype)
        of = positions // self._piece
        for index in np.unique(of):
            rows[of == index] = self._pieces[index][positions[of == index] % self._piece]
        return rows


@dataclass(frozen=True)
class Emitted:
    """A block as it was emitted, and the embeddings of its window.

    starts: (cells,) first sample of each cell.
    frames: (cells, speakers) bool, who speaks in each cell.
    active: (speakers,) bool, who speaks anywhere in the window.
    embeddings: (speakers, dimension), NaN if not known.
    """

    starts: np.ndarray
    frames: np.ndarray
    active: np.ndarray
    embeddings: np.ndarray


@dataclass
class _Pending:
    """An update whose features are not ready.

    needed: number of features that must be ready.
    chosen: for each local speaker, the indices of the features to pool.
    anchor: number of the anchor, None if the update is not one.
    enough: (speakers,) bool, who speaks enough to found a cluster.
    """

    block: Emitted
    needed: int
    chosen: list[np.ndarray]
    anchor: int | None
    enough: np.ndarray


@dataclass
class ChunkwiseSession:
    """Chunk-wise streaming of one recording: blocks as they come, names once everything is heard (paper, Sec. 4.2, 6).

    Both planes drive it, update by update. They differ only in how windows are batched and features are shared.
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
        """Take in the segmentation of an update's window, (frames, speakers) bool, and the features that are ready.

        Return the local speakers of the emitted block, (cells, speakers) bool. They are final, except for the speakers'
        names.
        """
        emitted = self.emit(update, activity)
        self.pool(features)
        return emitted

    def emit(self, update: int, activity: np.ndarray) -> np.ndarray:
        """Run the first half of `update`, which needs no features."""
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
        """Run the second half of `update`: pool the embeddings of the local speakers whose features are ready.

        features: (frames, channels).
        last: no more features will come, so pool every pending update from those that are there.
        """
        while self._pending and (last or self._pending[0].needed <= len(features)):
            update = self._pending.popleft()
            active, pooled = update.block.active, self._pooled(update, features)
            self._kept.embed(pooled.embeddings[active], update.anchor, update.enough[active])
            if update.block is self._latest:
                self._latest = pooled

    def finish(self, features: np.ndarray) -> Hypothesis:
        """Cluster, name and return everything that was emitted. features: all features of the recording."""
        self.pool(features, last=True)
        return self.name(self.centroids())

    def centroids(self) -> np.ndarray:
        """Cluster the anchors that are pooled so far into speakers → (clusters, dimension)."""
        return self._kept.centroids(self.clustering, self.schedule.anchor_seconds)

    def name(self, centroids: np.ndarray) -> Hypothesis:
        """Return everything that was emitted, its local speakers named by the nearest centroids."""
        return Hypothesis.from_cells(self._kept.starts(), self.schedule.total, self._kept.speaking(centroids))

    @property
    def anchors(self) -> int:
        """Number of anchors so far."""
        return self._anchors

    def latest(self, features: Features) -> Emitted:
        """Return the latest block, with its local speakers' embeddings pooled from the features that are ready now."""
        if self._pending and self._pending[-1].block is self._latest:
            return self._pooled(self._pending[-1], features)
        return self._latest

    def _pooled(self, update: _Pending, features: Features) -> Emitted:
        embeddings = update.block.embeddings.copy()
        for speaker, frames in enumerate(update.chosen):
            if update.block.active[speaker]:
                embeddings[speaker] = self.embedding.pool(features[frames[frames < len(features)]])
        return replace(update.block, embeddings=embeddings)
