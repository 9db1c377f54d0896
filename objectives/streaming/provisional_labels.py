"""Name the speakers of blocks while the recording is still being heard. Needs no torch.

In the chunk-wise mode these names are provisional: the clustering of the whole recording decides the final ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from objectives.models.embedding import Features, SpeakerEmbedding
from objectives.streaming.clustering import UNNAMED, name_local_speakers
from objectives.streaming.hypothesis import Turn, Turns

# Growth in the number of anchors after which they are clustered again. All clusterings together then cost only a few
# times as much as the last one.
GROWTH = 1.2
MOST_VOICES = 1000  # that provisional names are found from: clustering more would keep the audio waiting for seconds


@dataclass(frozen=True)
class Emitted:
    """A block as it was emitted, and the voices of its window's local speakers around it.

    starts: (cells,) first sample of each cell.
    frames: (cells, speakers) bool, who speaks in each cell.
    active: (speakers,) bool, who speaks in the block.
    embeddings: (speakers, dimension), NaN if not known.
    """

    starts: np.ndarray
    frames: np.ndarray
    active: np.ndarray
    embeddings: np.ndarray


class Chunkwise(Protocol):
    """A chunk-wise session, as far as its provisional names need it."""

    embedding: SpeakerEmbedding

    @property
    def anchors(self) -> int: ...

    def centroids(self, most: int) -> np.ndarray: ...

    def latest(self, features: Features) -> Emitted: ...


class Online(Protocol):
    """An online session, as far as its names need it."""

    @property
    def ended(self) -> Sequence[Turn]: ...


class Names(Protocol):
    """The turns of a recording while it streams.

    final_at_once: no later clustering changes their names; those of the last block are known once the session is named.
    """

    final_at_once: bool

    def turns(self, features: Features) -> Sequence[Turn]:
        """Return the turns that have ended in the latest block."""
        ...

    def end(self, total: int) -> Sequence[Turn]:
        """Return the turns that end with the recording, which has `total` samples."""
        ...

    def final(self, centroids: np.ndarray, speaker: int) -> int:
        """Return the name of a speaker of the finished session. centroids: of its clusters."""
        ...


class LiveNames:
    """Provisional names for the local speakers of a session's latest block, from what has been heard so far.

    The anchors are clustered again as their number grows. Each cluster keeps the name of the most similar earlier
    cluster, one to one, so that a speaker's name seldom changes.

    most: number of names, if it is limited. Once all are given, a new cluster takes one that no cluster has any more.
    """

    final_at_once = False

    def __init__(self, session: Chunkwise, most: int | None = None):
        self._session, self._most = session, most
        self._clustered = 0  # anchors
        self._centroids = np.zeros((0, session.embedding.dimension))
        self._names: list[int] = []  # of the centroids
        self._given = 0
        self._turns = LiveTurns()

    def turns(self, features: Features) -> list[Turn]:
        """Return the turns that have ended in the latest block."""
        return self._turns.block(*self.latest(features))

    def end(self, total: int) -> list[Turn]:
        """End the recording and return the turns that end with it."""
        return self._turns.end(total)

    def latest(self, features: Features) -> tuple[np.ndarray, list[tuple[int, ...]]]:
        """Return the first sample of each cell of the latest block, (cells,), and who speaks in each. A speaker who
        cannot be named yet is UNNAMED."""
        if self._session.anchors > self._clustered * GROWTH:
            self._clustered = self._session.anchors
            self._rename(self._session.centroids(MOST_VOICES))
        block = self._session.latest(features)
        (found,) = name_local_speakers(block.embeddings[None], block.active[None], self._centroids)
        found[np.isnan(block.embeddings).any(axis=1)] = UNNAMED  # their speech has too few features so far
        # names beyond the centroids are spare ones and stand for nobody
        names = np.array([self._names[name] if 0 <= name < len(self._names) else UNNAMED for name in found])
        return block.starts, [tuple(names[cell]) for cell in block.frames]

    def final(self, centroids: np.ndarray, speaker: int) -> int:
        """Return the name of a speaker of the finished session.

        centroids: (clusters, dimension), those of the session's clusters.
        """
        if centroids is not self._centroids:
            self._rename(centroids)
        # speakers beyond the clusters have too little speech to be clustered
        beyond = speaker - len(self._names)
        if beyond < 0:
            return self._names[speaker]
        if self._most is None:
            return self._given + beyond
        return [name for name in range(self._most) if name not in self._names][beyond]

    def _rename(self, centroids: np.ndarray) -> None:
        names = [UNNAMED] * len(centroids)
        if len(centroids) and len(self._centroids):
            distance = cdist(centroids, self._centroids, metric="cosine")
            # a centroid of length 0 is as far as can be
            ours, theirs = linear_sum_assignment(np.nan_to_num(distance, nan=2.0))
            for new, old in zip(ours, theirs, strict=True):
                names[new] = self._names[old]
        for new, name in enumerate(names):
            if name == UNNAMED:
                names[new] = self._fresh(names)
        self._centroids, self._names = centroids, names

    def _fresh(self, taken: Sequence[int]) -> int:
        if self._most is not None and self._given >= self._most:
            return min(set(range(self._most)) - set(taken))
        self._given += 1
        return self._given - 1


class FinalNames:
    """The online mode's names, which never change. Has the interface of LiveNames."""

    final_at_once = True

    def __init__(self, session: Online):
        self._session = session

    def turns(self, features: Features) -> Sequence[Turn]:
        """Return the turns that became known with the latest block."""
        return self._session.ended

    def end(self, total: int) -> Sequence[Turn]:
        """Return the turns that became known with the end of the recording."""
        return self._session.ended

    def final(self, centroids: np.ndarray, speaker: int) -> int:
        """Return the speaker's own number, which is its final name."""
        return speaker


class LiveTurns:
    """Merge blocks with provisional names into turns, in order of time. Together, the turns cover all the speech that
    was emitted.

    If an unnamed turn is open at the end of a block, and exactly one new speaker begins where the next block does, the
    turn becomes that speaker's.
    """

    def __init__(self) -> None:
        self._turns = Turns()

    def block(self, starts: np.ndarray, speaking: Sequence[tuple[int, ...]]) -> list[Turn]:
        """Add a block, as `LiveNames.latest` returns it. Return the turns that have ended in it."""
        if len(starts):
            self._name_unnamed(set(speaking[0]))
        return [turn for start, now in zip(starts, speaking, strict=True) for turn in self._turns.cell(int(start), now)]

    def end(self, total: int) -> list[Turn]:
        """End the recording and return the turns that end with it."""
        return self._turns.end(total)

    def _name_unnamed(self, now: set[int]) -> None:
        begins = now - self._turns.open - {UNNAMED}
        if UNNAMED not in now and len(begins) == 1:
            self._turns.rename(UNNAMED, begins.pop())
