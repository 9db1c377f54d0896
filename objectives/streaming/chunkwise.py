"""Chunk-wise streaming (the paper's): blocks are emitted at once, and their speakers named when the recording ends.

How many people speak in each cell is final when its block is emitted. Who they are is decided at the end, by several
windows that cover the cell (objectives/streaming/stretches.py) and the clusters of all voices. Needs no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import Features, SpeakerEmbedding
from objectives.streaming.clustering import (
    MOST_VOICES,
    ClusteringSettings,
    centroids_of,
    cluster,
    unit,
)
from objectives.streaming.growing_rows import GrowingRows
from objectives.streaming.hypothesis import Hypothesis
from objectives.streaming.provisional_labels import Emitted, LiveNames
from objectives.streaming.schedule import Schedule, cut_block
from objectives.streaming.stretches import STRETCH, Heard, Stretches, chosen_features

# samples, the latest, that a provisional name is found from
OWN_VOICE = round(1.5 * SAMPLE_RATE)


@dataclass
class ChunkwiseSession:
    """Chunk-wise streaming of one recording: blocks as they come, names once everything is heard (paper, Sec. 4.2, 6).

    Both planes drive it, update by update. They differ only in how windows are batched and features are shared.
    """

    schedule: Schedule
    contract: Contract
    embedding: SpeakerEmbedding
    clustering: ClusteringSettings
    _stretches: Stretches = field(init=False)
    _starts: GrowingRows = field(init=False)  # first sample of each cell
    _count: GrowingRows = field(init=False)  # number of people who speak in it
    _window: Heard | None = None  # of the latest update
    _waits: bool = False  # the latest window has not been taken in, since it is not an anchor
    _latest: tuple[np.ndarray, np.ndarray, int] | None = None  # starts and frames of the latest block, and its start

    def __post_init__(self) -> None:
        self._stretches = Stretches(self.contract, self.embedding)
        self._starts, self._count = GrowingRows((), np.int64), GrowingRows((), np.int8)

    def emit(self, update: int, activity: np.ndarray) -> np.ndarray:
        """Run the first half of `update`, which needs no features."""
        block = cut_block(self.schedule, self.contract, update, activity)
        self._starts.append(block.starts)
        self._count.append(block.frames.sum(axis=1))
        self._window = Heard.at(self.schedule, self.contract, update, activity)
        self._waits = not self.schedule.is_anchor(update)
        if not self._waits:
            self._stretches.hear(self._window)
        self._latest = block.starts, block.frames, self.schedule.block(update)[0]
        return block.frames

    def pool(self, features: Features, last: bool = False) -> None:
        """Run the second half of `update`: pool the voices whose features are ready.

        features: (frames, channels).
        last: the recording has ended, so take in its last window, and pool everything from the features that are there.
        """
        if last and self._window is not None:
            if self._waits:
                self._stretches.hear(self._window)
                self._waits = False
            self._stretches.end(self._window)
        self._stretches.pool(features, last)

    def name_block(self) -> None:
        """Do nothing: blocks are named when the recording ends."""

    def centroids(self, most: int = MOST_VOICES) -> np.ndarray:
        """Cluster the voices that are pooled so far, at most so many, into speakers → (clusters, dimension)."""
        voices, numbers = self._stretches.voices(most)
        return centroids_of(voices, cluster(voices, self._stretches.pairs().of(numbers), self.clustering))

    def name(self, centroids: np.ndarray) -> Hypothesis:
        """Return everything that was emitted, each cell by the speakers that its windows' votes are for.

        A cell that no vote is for gets the speakers of the nearest cell that has any.
        """
        starts, count = self._starts.between(0, len(self._starts)), self._count.between(0, len(self._count))
        scores = np.zeros((len(starts), len(centroids)), np.float32)
        directions = unit(centroids)
        edges = np.searchsorted(starts, np.arange(len(self._stretches.votes) + 1) * STRETCH)
        for first, last, votes in zip(edges[:-1], edges[1:], self._stretches.votes, strict=True):
            for vote in votes:
                scores[first:last] += vote.scores(self.contract, starts[first:last], directions)
        return Hypothesis.from_cells(starts, self.schedule.total, self._speaking(_filled(scores), count))

    def live_names(self) -> LiveNames:
        """Return provisional names for blocks as they are emitted."""
        return LiveNames(self, self.clustering.speakers[1] if self.clustering.speakers else None)

    @property
    def anchors(self) -> int:
        """Number of seconds that have been heard whole."""
        return self._stretches.founded

    def latest(self, features: Features) -> Emitted:
        """Return the latest block, with its local speakers' voices pooled from the features that are ready now."""
        assert self._latest is not None, "an update has been run"
        assert self._window is not None
        starts, frames, start = self._latest
        first = max(0, min(start, self._window.end - OWN_VOICE))
        _, chosen = chosen_features(self.embedding, self.contract, self._window, first, self._window.end)
        active: np.ndarray = np.any(frames, axis=0)
        voices = np.full((len(active), self.embedding.dimension), np.nan, np.float32)
        for speaker in np.flatnonzero(active):
            ready = chosen[speaker][chosen[speaker] < len(features)]
            if len(ready):
                voices[speaker] = self.embedding.pool(features[ready])
        return Emitted(starts, frames, active, voices)

    def _speaking(self, scores: np.ndarray, count: np.ndarray) -> Iterator[tuple[int, ...]]:
        """Yield who speaks in each cell: the `count` likeliest, if necessary beyond the number of clusters, but never
        beyond the most speakers that there can be."""
        known = scores.shape[1]
        most = self.clustering.speakers[1] if self.clustering.speakers else None
        order = np.argsort(-scores, axis=1, kind="stable")
        for likeliest, wanted in zip(order, count.tolist(), strict=True):
            spare = range(known, known + max(0, wanted - known))
            yield (*likeliest[:wanted].tolist(), *spare)[:most]


def _filled(scores: np.ndarray) -> np.ndarray:
    """Give each cell without any score those of the nearest cell that has some: (cells, clusters) → the same shape."""
    voted = np.flatnonzero(np.any(scores != 0, axis=1))
    if not len(voted):
        return scores
    cells = np.arange(len(scores))
    after = voted[np.minimum(np.searchsorted(voted, cells), len(voted) - 1)]
    before = voted[np.maximum(np.searchsorted(voted, cells, side="right") - 1, 0)]
    return scores[np.where(np.abs(after - cells) < np.abs(before - cells), after, before)]
