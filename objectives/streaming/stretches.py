"""What windows say about each second of a recording: who speaks in it, and with which voice. Needs no torch.

A stretch is one second. The first window that covers one founds its *voices*: one for each local speaker with enough
speech in it. Up to VOTES windows, a second or more apart, *vote* on who speaks when in it, by the voices of their local
speakers around it. Later windows know what comes after a stretch, and two people whom one window takes for one local
speaker are seldom mixed by all. So names depend neither on C nor on the window that happened to emit a block.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import MIN_FRAMES, Features, SpeakerEmbedding
from objectives.streaming.clustering import Pairs, unit
from objectives.streaming.growing_rows import GrowingRows
from objectives.streaming.schedule import Schedule, fill_gaps

STRETCH = SAMPLE_RATE  # samples
VOTES = 4  # windows that vote on a stretch, if C is 1 s or less
MARGIN = SAMPLE_RATE // 2  # samples on both sides of a stretch whose speech belongs to the voices that vote
LEAST_SPEECH = round(0.8 * SAMPLE_RATE)  # samples of speech in a stretch from which a voice founds clusters
CLEAN = 0.4  # seconds of speech without overlap from which overlapped speech is left out of a voice
SAME = 0.5  # share of a voice's speech that a window must give to one local speaker to say whose it is


@dataclass(frozen=True)
class Heard:
    """The window of an update.

    start, end: samples of the recording; start may be negative. block_end: sample at which the update's block ends.
    activity, filled: (frames, speakers) bool, as segmented, and with short pauses closed.
    """

    start: int
    end: int
    block_end: int
    activity: np.ndarray
    filled: np.ndarray

    @classmethod
    def at(cls, schedule: Schedule, contract: Contract, update: int, activity: np.ndarray) -> "Heard":
        """Describe the window of an update."""
        end = schedule.heard(update)
        filled = fill_gaps(activity, contract.step)
        return cls(end - contract.window, end, schedule.block(update)[1], activity, filled)


@dataclass(frozen=True)
class Vote:
    """What one window says about a stretch.

    start: first sample of the window. first: frame of the window that `activity` begins with.
    activity: (frames, speakers) bool, in the stretch. voices: (speakers, dimension), NaN if not known.
    seconds: (speakers,) of speech that the voices were pooled from.
    """

    start: int
    first: int
    activity: np.ndarray
    voices: np.ndarray
    seconds: np.ndarray

    def scores(self, contract: Contract, starts: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        """Return how much each cell sounds like each speaker: (cells,) first samples → (cells, clusters).

        centroids: (clusters, dimension), of length 1.
        """
        active = self.activity[np.clip(contract.frame_at(starts - self.start) - self.first, 0, len(self.activity) - 1)]
        similar = np.nan_to_num(unit(self.voices) @ centroids.T) * np.minimum(self.seconds, 1.0)[:, None]
        scores: np.ndarray = (active @ similar) / np.maximum(active.sum(axis=1, keepdims=True), 1)
        return scores


@dataclass
class _Pending:
    """A vote, or the voices that found clusters, before their features are ready.

    needed: number of features. chosen: for each local speaker, the indices of the features to pool.
    """

    stretch: int
    needed: int
    chosen: list[np.ndarray]
    vote: tuple[int, int, np.ndarray] | None  # start, first, activity of a Vote; None for founding voices
    founds: list[int] = field(default_factory=list)  # local speakers whose voices found clusters


@dataclass
class _Recent:
    """A founding voice that windows still cover. samples: (frames,) of its speech."""

    number: int
    samples: np.ndarray


class Stretches:
    """The stretches of a recording, as its windows come.

    votes: windows that vote on each, if C is 1 s or less; 0 if only voices are needed.
    """

    def __init__(self, contract: Contract, embedding: SpeakerEmbedding, votes: int = VOTES):
        self._contract, self._embedding, self._most_votes = contract, embedding, votes
        self._lags = contract.max_at_once * (contract.window // STRETCH + 1) + 1
        self.votes: list[list[Vote]] = []
        self._pending: deque[_Pending] = deque()
        self._founded = 0  # stretches
        self._voices = GrowingRows((embedding.dimension,), np.float32, piece=1024)
        self._second = GrowingRows((), np.int32)  # of each voice
        self._pooled = GrowingRows((), np.int64)  # numbers of the voices that have a direction
        self._recent: list[_Recent] = []
        # for each voice and each of those before it: windows that give both to one local speaker, and that cover both
        self._together: list[np.ndarray] = []
        self._covered: list[np.ndarray] = []

    @property
    def founded(self) -> int:
        """Number of stretches that have been heard whole."""
        return self._founded

    @property
    def nbytes(self) -> int:
        """Memory that this takes, in bytes."""
        votes = sum(vote.voices.nbytes + vote.activity.nbytes for votes in self.votes for vote in votes)
        return votes + self._voices.nbytes + 4 * self._lags * len(self._covered)

    def hear(self, window: Heard) -> None:
        """Take in a window. Its voices are pooled by `pool`."""
        done = max(self._founded, window.block_end // STRETCH)
        whole = -(-max(0, window.start) // STRETCH)  # the first stretch that the window covers whole
        for stretch in range(max(0, self._founded - self._most_votes), done):
            new = stretch >= self._founded
            recent = window.block_end - (stretch + 1) * STRETCH < self._most_votes * STRETCH
            if new or (recent and stretch >= whole):
                self._take(window, stretch, (stretch + 1) * STRETCH, new)
        self._founded = done
        self._compare(window)

    def end(self, window: Heard) -> None:
        """Take in what is left of the recording after the last whole stretch. window: the last one."""
        if self._founded * STRETCH < window.block_end:
            self._take(window, self._founded, window.block_end, new=True)
            self._founded += 1

    def pool(self, features: Features, last: bool = False, ready: int | None = None) -> None:
        """Pool the voices whose features are ready: (frames, channels).

        last: no more features will come.
        ready: number of features that may be used, if not all; then a voice does without the few features at its end
        that still lack context.
        """
        spared = 0 if ready is None else self._embedding.blocks.right // self._embedding.step
        ready = len(features) if ready is None else min(ready, len(features))
        while self._pending and (last or self._pending[0].needed - spared <= ready):
            pending = self._pending.popleft()
            voices = np.full((len(pending.chosen), self._embedding.dimension), np.nan, np.float32)
            for speaker, frames in enumerate(pending.chosen):
                if len(frames):
                    voices[speaker] = self._embedding.pool(features[frames[frames < ready]])
            if pending.vote is None:
                numbers = len(self._voices) + np.arange(len(pending.founds))
                self._pooled.append(numbers[~np.isnan(unit(voices[pending.founds])).any(axis=1)])
                self._voices.append(voices[pending.founds])
            else:
                seconds = np.array([len(frames) for frames in pending.chosen]) * self._embedding.step / SAMPLE_RATE
                self.votes.extend([] for _ in range(pending.stretch + 1 - len(self.votes)))
                self.votes[pending.stretch].append(Vote(*pending.vote, voices, seconds))

    def voices(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Return at most `most` of the voices that are pooled, (voices, dimension), and their numbers, (voices,).

        If there are more, those of every n-th stretch.
        """
        known = self.pooled
        seconds = self._second.at(known)
        every = 1
        while np.count_nonzero(seconds % every == 0) > most:
            every += 1
        chosen = known[seconds % every == 0]
        return self.voices_at(chosen), chosen

    @property
    def pooled(self) -> np.ndarray:
        """(voices,) numbers of the voices that are pooled, ascending."""
        return self._pooled.between(0, len(self._pooled))

    def voices_at(self, numbers: np.ndarray) -> np.ndarray:
        """Return voices by their numbers: (voices,) → (voices, dimension)."""
        return self._voices.at(numbers)

    def pairs(self, numbers: np.ndarray | None = None) -> Pairs:
        """Return the pairs of voices that windows cover both of.

        numbers: (voices,) ascending, only of these, numbered anew from 0.
        """
        every = np.arange(len(self._covered)) if numbers is None else numbers
        shape = (len(every), self._lags)
        covered = np.array([self._covered[number] for number in every]).reshape(shape)
        together = np.array([self._together[number] for number in every]).reshape(shape)
        row, lag = np.nonzero(covered)
        one = every[row]
        pairs = Pairs(one, one - lag, covered[row, lag].astype(np.float32), together[row, lag].astype(np.float32))
        return pairs if numbers is None else pairs.of(numbers)

    def founded_since(self, number: int) -> list[tuple[int, np.ndarray]]:
        """Return the voices from a number on, and the samples of their speech, (frames,): those that windows still
        cover."""
        return [(voice.number, voice.samples) for voice in self._recent if voice.number >= number]

    def _take(self, window: Heard, stretch: int, end: int, new: bool) -> None:
        # if C + R is nearly as long as the window, the first window that hears a stretch's end misses its beginning
        start = max(stretch * STRETCH, window.start)
        if start >= end:
            return
        first, last = self._contract.frame_at(np.array([start, end - 1]) - window.start)
        activity = window.filled[first : last + 1]  # (frames, speakers)
        if not activity.any():
            return
        if new:
            self._found(window, (start, end), stretch, int(first), activity)
        if self._most_votes == 0:
            return
        before, after = max(start - MARGIN, window.start, 0), min(end + MARGIN, window.end)
        until, chosen = chosen_features(self._embedding, self._contract, window, before, after)
        # copied, since a view would keep the whole window in memory
        self._pending.append(_Pending(stretch, until, chosen, (window.start, int(first), activity.copy())))

    def _found(self, window: Heard, span: tuple[int, int], stretch: int, first: int, activity: np.ndarray) -> None:
        until, chosen = chosen_features(self._embedding, self._contract, window, *span)
        founds = [
            speaker for speaker, frames in enumerate(chosen) if len(frames) * self._embedding.step >= LEAST_SPEECH
        ]
        if not founds:
            return
        self._pending.append(_Pending(stretch, until, chosen, None, founds))
        frames = first + np.arange(len(activity))
        samples = self._contract.frame_start(frames) + self._contract.step // 2 + window.start
        for speaker in founds:
            self._recent.append(_Recent(len(self._covered), samples[activity[:, speaker]]))
            self._together.append(np.zeros(self._lags, np.uint16))
            self._covered.append(np.zeros(self._lags, np.uint16))
        self._second.append(np.full(len(founds), stretch))

    def _compare(self, window: Heard) -> None:
        """Count which recent voices the window gives to one local speaker."""
        self._recent = [voice for voice in self._recent if len(voice.samples) and voice.samples[0] >= window.start]
        numbers, local = [], []
        for voice in self._recent:
            speech = window.activity[self._contract.frame_at(voice.samples - window.start)].sum(axis=0)
            if speech.max() >= SAME * len(voice.samples):
                numbers.append(voice.number)
                local.append(int(speech.argmax()))
        number, speaker = np.array(numbers, int), np.array(local, int)
        for at, current in enumerate(numbers):
            lag = current - number[:at]
            near = lag < self._lags
            self._covered[current][lag[near]] += 1
            self._together[current][lag[near & (speaker[:at] == speaker[at])]] += 1


def chosen_features(
    embedding: SpeakerEmbedding, contract: Contract, window: Heard, start: int, end: int
) -> tuple[int, list[np.ndarray]]:
    """Choose the features between two samples to pool for each local speaker of a window.

    Return the number of features that must be ready, and for each speaker the indices of those during which nobody else
    speaks, or of all its features if those are too few.
    """
    first = max(0, -(-(start - embedding.centre) // embedding.step))
    until = max(first, -(-(end - embedding.centre) // embedding.step))
    local = window.filled[contract.frame_at(embedding.centres(first, until) - window.start)]
    alone = local & (local.sum(axis=1, keepdims=True) == 1)  # both (features, speakers)
    least = max(MIN_FRAMES, round(CLEAN * SAMPLE_RATE / embedding.step))
    chosen = [clean if clean.sum() >= least else own for clean, own in zip(alone.T, local.T, strict=True)]
    return until, [np.flatnonzero(mask) + first for mask in chosen]
