"""What a session keeps of its updates until everybody has a name: it grows with the recording, so it is little.

For each cell its local speakers; for each update those of its window; and an embedding for each of these, where the
update's block holds speech to be named or its embeddings may found clusters. Needs no torch.
"""

from collections.abc import Iterator

import numpy as np

from objectives.clustering import ClusteringSettings, name_local_speakers, speaker_centroids
from objectives.pile import Pile

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
