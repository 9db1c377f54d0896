"""Names for blocks while a recording is still being heard: provisional in the chunk-wise mode, where the clustering of
the whole recording has the last word. Needs no torch."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from objectives.models.embedding import Features
from objectives.streaming.chunkwise import ChunkwiseSession
from objectives.streaming.clustering import UNNAMED, name_local_speakers
from objectives.streaming.hypothesis import Turn, Turns
from objectives.streaming.online import OnlineSession

# Of the number of anchors, after which they are clustered again: all clusterings together cost a few times the last
GROWTH = 1.2


class LiveNames:
    """Names of the local speakers of a session's latest block, from what was heard until then.

    What was heard is clustered again as it grows. A cluster keeps the name of the earlier one that it is most alike,
    one to one, so that somebody who has a name seldom changes it.
    """

    def __init__(self, session: ChunkwiseSession):
        self._session = session
        self._clustered = 0  # anchors
        self._centroids = np.zeros((0, session.embedding.dimension))
        self._names: list[int] = []  # of the centroids
        self._given = 0
        self._turns = LiveTurns()

    def turns(self, features: Features) -> list[Turn]:
        """The turns that have ended in the latest block."""
        return self._turns.block(*self.latest(features))

    def end(self, total: int) -> list[Turn]:
        """The recording ends: the turns that end with it."""
        return self._turns.end(total)

    def latest(self, features: Features) -> tuple[np.ndarray, list[tuple[int, ...]]]:
        """(cells,) first samples of the latest block's cells, and who speaks in each; UNNAMED where nobody knows."""
        if self._session.anchors > self._clustered * GROWTH:
            self._clustered = self._session.anchors
            self._rename(self._session.centroids())
        block = self._session.latest(features)
        (found,) = name_local_speakers(block.embeddings[None], block.active[None], self._centroids)
        found[np.isnan(block.embeddings).any(axis=1)] = UNNAMED  # too little of their speech has features yet
        # beyond the centroids lie spare names, which stand for nobody
        names = np.array([self._names[name] if 0 <= name < len(self._names) else UNNAMED for name in found])
        return block.starts, [tuple(names[cell]) for cell in block.frames]

    def final(self, centroids: np.ndarray, speaker: int) -> int:
        """The name of a speaker of the finished session, whose clusters have these centroids, (clusters, dimension)."""
        if centroids is not self._centroids:
            self._rename(centroids)
        # beyond the clusters are those with too little speech to be told apart
        return self._names[speaker] if speaker < len(self._names) else self._given + speaker - len(self._names)

    def _rename(self, centroids: np.ndarray) -> None:
        names = [UNNAMED] * len(centroids)
        if len(centroids) and len(self._centroids):
            ours, theirs = linear_sum_assignment(cdist(centroids, self._centroids, metric="cosine"))
            for new, old in zip(ours, theirs, strict=True):
                names[new] = self._names[old]
        for new, name in enumerate(names):
            if name == UNNAMED:
                names[new] = self._given
                self._given += 1
        self._centroids, self._names = centroids, names


class FinalNames:
    """Those of the online mode, which never change: LiveNames for a session that knows them itself."""

    def __init__(self, session: OnlineSession):
        self._session = session

    def turns(self, features: Features) -> Sequence[Turn]:
        """The turns that are known since the latest block."""
        return self._session.ended

    def end(self, total: int) -> Sequence[Turn]:
        """Those that are known since the end."""
        return self._session.ended

    def final(self, centroids: np.ndarray, speaker: int) -> int:
        """The name of a speaker: its own."""
        return speaker


class LiveTurns:
    """Turns out of blocks whose names are provisional, in the order of time; together they cover what was emitted.

    Speech that nobody could name at the end of a block, and that goes on in the next one as that of one speaker who
    begins there, was that speaker's.
    """

    def __init__(self) -> None:
        self._turns = Turns()

    def block(self, starts: np.ndarray, speaking: Sequence[tuple[int, ...]]) -> list[Turn]:
        """A block as `LiveNames.latest` tells it: the turns that have ended in it."""
        if len(starts):
            self._name_unnamed(set(speaking[0]))
        return [turn for start, now in zip(starts, speaking, strict=True) for turn in self._turns.cell(int(start), now)]

    def end(self, total: int) -> list[Turn]:
        """The recording ends: the turns that end with it."""
        return self._turns.end(total)

    def _name_unnamed(self, now: set[int]) -> None:
        begins = now - self._turns.open - {UNNAMED}
        if UNNAMED not in now and len(begins) == 1:
            self._turns.rename(UNNAMED, begins.pop())
