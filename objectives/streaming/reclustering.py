"""The online mode: each block is emitted with its speakers' names, which never change afterwards. Needs no torch.

Every second, the voices heard so far are clustered anew, as those of a finished recording are (clustering.py). A
cluster keeps the name that most of its voices were emitted under, so an early mistake is corrected for all blocks to
come. The speakers of a block are named by their own voice in its last seconds, not by their voice in the whole window,
since a window often takes a new speaker at its end for the one before. Clustering a growing prefix again and emitting
only its newest part follows arXiv 2111.13803.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import Features, SpeakerEmbedding
from objectives.streaming.clustering import ClusteringSettings, centroids_of, cluster, unit
from objectives.streaming.hypothesis import Hypothesis, Turn, Turns
from objectives.streaming.provisional_labels import FinalNames
from objectives.streaming.schedule import Block, Schedule, cut_block
from objectives.streaming.stretches import MARGIN, Heard, Stretches, chosen_features

OWN_VOICE = round(1.5 * SAMPLE_RATE)  # samples; a block's speakers are named by at least this much of their speech
LATEST, EARLIER = 64, 192  # voices that are clustered: the latest, and evenly spaced ones of those before
MOST_NAMES = 10  # names ever given, if the number of speakers is not known
OVERLAPPED = (
    1e-6  # weight of overlapped speech among a local speaker's earlier names: it decides only if nothing else does
)
CONTINUITY = 0.3  # how much a local speaker's earlier names count beside the cosine similarity of its voice


@dataclass
class ReclusteringSession:
    """Online streaming of one recording: blocks and their names as they come.

    Keeps one vector for each second of speech and speaker, and uses at most LATEST + EARLIER of them at a time.

    min_duration_off: seconds; see OnlineTracking.
    """

    schedule: Schedule
    contract: Contract
    embedding: SpeakerEmbedding
    clustering: ClusteringSettings
    min_duration_off: float = 0.0
    _stretches: Stretches = field(init=False)
    _turns: Turns = field(init=False)
    _ended: list[Turn] = field(default_factory=list)
    _latest: "_Latest | None" = None
    _known: Sequence[Turn] = ()
    _cells: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)  # of the last window: first sample, names
    _names: list[int | None] = field(default_factory=list)  # of each voice: the name it was emitted under
    _clustered: int = 0  # voices
    _centroids: np.ndarray = field(init=False)  # (clusters, dimension), of length 1
    _name_of: list[int | None] = field(default_factory=list)  # of each cluster
    _given: int = 0

    def __post_init__(self) -> None:
        self._stretches = Stretches(self.contract, self.embedding, votes=0)
        self._turns = Turns(wait=round(self.min_duration_off * SAMPLE_RATE))
        self._centroids = np.zeros((0, self.embedding.dimension))

    def emit(self, update: int, activity: np.ndarray) -> np.ndarray:
        """Take in the segmentation of an update's window, (frames, speakers) bool. Return the local speakers of the
        emitted block, (cells, speakers) bool."""
        block = cut_block(self.schedule, self.contract, update, activity)
        window = Heard.at(self.schedule, self.contract, update, activity)
        if self.schedule.is_anchor(update):
            self._stretches.hear(window)
        self._latest = _Latest(block, self.schedule.block(update), window)
        return block.frames

    def pool(self, features: Features, last: bool = False) -> None:
        """Pool the voices of the latest block's local speakers, and of the seconds that have been heard.

        features: (frames, channels). Only those that are ready when the window ends are used, even if later ones are
        given.
        """
        latest = self._latest
        if latest is None or latest.voices is not None:
            return
        ready = self.embedding.frames_before(latest.window.end)
        self._stretches.pool(features, ready=ready)
        start, end = latest.span
        until = min(end + MARGIN, latest.window.end)
        begin = max(0, min(start - MARGIN, until - OWN_VOICE))
        _, chosen = chosen_features(self.embedding, self.contract, latest.window, begin, until)
        latest.voices = np.full((self.contract.speakers, self.embedding.dimension), np.nan, np.float32)
        latest.seconds = np.zeros(self.contract.speakers)
        for speaker in latest.speaking:
            frames = chosen[speaker][chosen[speaker] < ready]
            if len(frames):
                latest.voices[speaker] = self.embedding.pool(features[frames])
                latest.seconds[speaker] = len(frames) * self.embedding.step / SAMPLE_RATE

    def name_block(self) -> None:
        """Name the speakers of the latest block. These names are final."""
        latest = self._latest
        assert latest is not None, "something was heard"
        self._cluster()
        names = self._named(latest)
        starts = latest.block.starts.tolist()
        speaking = [
            self._distinct([names[local] for local in np.flatnonzero(cell).tolist()]) for cell in latest.block.frames
        ]
        cells = list(zip(starts, speaking, strict=True))
        self._remember(cells, latest.window.start)
        ended = [turn for start, now in cells for turn in self._turns.cell(start, now)]
        self._known = [*ended, *self._turns.passed(latest.span[1])]
        self._ended += self._known

    @property
    def ended(self) -> Sequence[Turn]:
        """Turns that became known with the latest block, or with the end of the recording."""
        return self._known

    def centroids(self) -> np.ndarray:
        """Return no voices, (0, dimension): names do not depend on them any more."""
        return np.zeros((0, self.embedding.dimension), np.float32)

    def name(self, centroids: np.ndarray) -> Hypothesis:
        """Return everything that was emitted, once the recording has ended. centroids: not used."""
        self._known = self._turns.end(self.schedule.total)
        self._ended += self._known
        return Hypothesis(self.schedule.total, tuple(sorted(self._ended)))

    def live_names(self) -> FinalNames:
        """Return the names of blocks as they are emitted."""
        return FinalNames(self)

    def _cluster(self) -> None:
        """Cluster the voices heard so far if there are new ones, and find the clusters' names."""
        numbers = self._stretches.pooled
        if len(numbers) == self._clustered:
            return
        self._clustered = len(numbers)
        if len(numbers) > LATEST + EARLIER:
            earlier = np.linspace(0, len(numbers) - LATEST - 1, EARLIER).astype(int)
            numbers = np.concatenate([numbers[earlier], numbers[-LATEST:]])
        voices = self._stretches.voices_at(numbers)
        speakers = cluster(voices, self._stretches.pairs(numbers), self.clustering, ended=False)
        self._centroids = unit(centroids_of(voices, speakers))
        shared = np.zeros((len(self._centroids), self._given))  # voices of a cluster that were emitted under a name
        for number, speaker in zip(numbers.tolist(), speakers.tolist(), strict=True):
            name = self._names[number] if number < len(self._names) else None
            if name is not None:
                shared[speaker, name] += 1
        self._name_of = [None] * len(self._centroids)
        for speaker, name in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
            if shared[speaker, name] > 0:
                self._name_of[speaker] = int(name)

    def _named(self, latest: "_Latest") -> dict[int, int]:
        """Name the local speakers who speak in the block, each differently while there are names."""
        assert latest.voices is not None, "its voices are pooled"
        local = latest.speaking
        clusters = len(self._centroids)
        similar = np.nan_to_num(unit(latest.voices[local]) @ self._centroids.T)
        fit = similar * np.minimum(latest.seconds[local], 1.0)[:, None]  # (local speakers, clusters)
        before = self._before(latest)  # (local speakers, names)
        for speaker, name in enumerate(self._name_of):
            if name is not None:
                fit[:, speaker] += CONTINUITY * before[:, name]
        spare = np.full((len(local), len(local)), -9.0)  # for more speakers at once than clusters
        names: dict[int, int] = {}
        for row, speaker in zip(
            *linear_sum_assignment(np.concatenate([fit, spare], axis=1), maximize=True), strict=True
        ):
            if speaker < clusters:
                name = self._name_of[speaker]
                if name is None or name in names.values():
                    name = self._other(names, before[row])
                self._name_of[speaker] = name
                names[local[row]] = name
        for row, speaker in enumerate(local):
            if speaker not in names:
                names[speaker] = self._other(names, before[row])
        return names

    def _other(self, taken: dict[int, int], before: np.ndarray) -> int:
        """Return a name for a local speaker whose cluster has none: the free one that it had most in the window and
        that is no cluster's. If it had none, return a new name; if there are no more, any free one, preferably so."""
        free = [name for name in range(self._given) if name not in taken.values()]
        had = [before[name] if name < len(before) else 0.0 for name in range(self._given)]
        unclaimed = [name for name in free if name not in self._name_of and had[name] > 0]
        most = self.clustering.speakers[1] if self.clustering.speakers else MOST_NAMES
        if not unclaimed and self._given < most:
            self._given += 1
            return self._given - 1
        return max(unclaimed or free or range(self._given), key=lambda name: (name not in self._name_of, had[name]))

    def _distinct(self, names: list[int]) -> tuple[int, ...]:
        """Return who speaks in a cell. If two have one name, since a block has more speakers than there are names, one
        has another in this cell. If there is none, one is left out."""
        kept = list(dict.fromkeys(names))
        others = [name for name in range(self._given) if name not in kept]
        return (*kept, *others[: len(names) - len(kept)])

    def _before(self, latest: "_Latest") -> np.ndarray:
        """Return the share of its earlier speech in the window that each local speaker was given each name for: (local
        speakers, names)."""
        before = np.zeros((len(latest.speaking), self._given))
        cells = [cell for cell in self._cells if cell[0] >= latest.window.start]
        if not cells:
            return before
        starts = np.array([start for start, _ in cells])
        given = np.zeros((len(starts), self._given))
        for cell, (_, names) in enumerate(cells):
            given[cell, list(names)] = 1 if len(names) == 1 else OVERLAPPED
        frames = self.contract.frame_at(starts - latest.window.start)
        speech = latest.window.activity[frames][:, latest.speaking].astype(float)  # (cells, local speakers)
        before = speech.T @ given
        totals: np.ndarray = before / np.maximum(before.sum(axis=1, keepdims=True), 1)
        return totals

    def _remember(self, cells: list[tuple[int, tuple[int, ...]]], since: int) -> None:
        """Keep the cells of the block, and find the names that new voices were emitted under."""
        self._cells = [*(cell for cell in self._cells if cell[0] >= since), *cells]
        starts = np.array([start for start, _ in self._cells])
        for number, samples in self._stretches.founded_since(len(self._names)):
            assert number == len(self._names), "voices are numbered in order"
            at = np.searchsorted(starts, samples, side="right") - 1
            found = Counter(name for cell in at[at >= 0].tolist() for name in self._cells[cell][1])
            self._names.append(found.most_common(1)[0][0] if found else None)


@dataclass
class _Latest:
    """The latest update.

    span: [start, end) of its block. voices: (speakers, dimension), and seconds of speech that they were pooled from,
    once they are.
    """

    block: Block
    span: tuple[int, int]
    window: Heard
    voices: np.ndarray | None = None
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def speaking(self) -> list[int]:
        """Local speakers who speak in the block."""
        found: list[int] = np.flatnonzero(np.any(self.block.frames, axis=0)).tolist()
        return found
