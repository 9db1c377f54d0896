"""Find utterances in a single-speaker recording by energy, and cut them out.

A frame of 10 ms is speech if it is 10 dB louder than the recording's quiet frames; that threshold is kept between 35
and 20 dB below its loud frames. Pauses of up to 0.5 s belong to an utterance and longer ones end it, so that a turn of
the reference has no longer pause.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from objectives.corpora.audio.reading import audio_pieces
from objectives.corpora.simulation.speakers import Source
from objectives.errors import CorpusError
from objectives.models.contract import SAMPLE_RATE

FRAME = SAMPLE_RATE // 100  # samples: 10 ms
PAUSE = 500  # ms: a longer one ends an utterance
SHORTEST, LONGEST = 300, 8000  # ms of an utterance; a longer one is cut at its quietest frame
EDGE = 30  # ms kept around speech frames, since words begin and end softly
QUIET, LOUD = 10, 95  # percentiles of the frames' levels
OVER_QUIET, BELOW_LOUD = 10.0, (35.0, 20.0)  # dB
SILENCE = -75.0  # dB of full scale: if even the loud frames are below, nobody speaks
FADE = SAMPLE_RATE // 200  # samples: 5 ms at either end of a cut


@dataclass(frozen=True)
class Utterance:
    """An utterance of one person.

    start, length: ms of the source's file. level: dB of full scale, over all speech of the source."""

    person: str
    source: Source
    start: int
    length: int
    level: float


def utterances(person: str, source: Source) -> tuple[Utterance, ...]:
    """Return the utterances of a source in order; none if it is silent. Raises CorpusError if it cannot be read."""
    stop = source.stop()
    first = round(source.start * SAMPLE_RATE)
    powers = _frame_powers(_from(audio_pieces(source.path, stop), first))
    spans = speech_spans(_levels(powers))
    if not spans:
        return ()
    spoken = np.concatenate([powers[start // 10 : end // 10] for start, end in spans])
    level = float(_levels(np.mean(spoken, keepdims=True))[0])
    offset = round(source.start * 1000)
    return tuple(Utterance(person, source, offset + start, end - start, level) for start, end in spans)


def speech_spans(levels: np.ndarray) -> list[tuple[int, int]]:
    """Find utterances as (start, end) in ms, from (frames,) levels in dB of full scale, 10 ms per frame."""
    if not len(levels):
        return []
    quiet, loud = np.percentile(levels, (QUIET, LOUD))
    if loud < SILENCE:
        return []
    threshold = np.clip(quiet + OVER_QUIET, loud - BELOW_LOUD[0], loud - BELOW_LOUD[1])
    steps = np.flatnonzero(np.diff(np.concatenate([[False], levels >= threshold, [False]]).astype(np.int8)))
    spans: list[tuple[int, int]] = []
    for start, end in zip(steps[::2] * 10, steps[1::2] * 10, strict=True):
        if spans and start - spans[-1][1] <= PAUSE:
            spans[-1] = (spans[-1][0], int(end))
        else:
            spans.append((int(start), int(end)))
    length = len(levels) * 10
    kept = [(max(0, start - EDGE), min(length, end + EDGE)) for start, end in spans if end - start >= SHORTEST]
    return [part for start, end in kept for part in _cut(start, end, levels)]


def _cut(start: int, end: int, levels: np.ndarray) -> Iterator[tuple[int, int]]:
    while end - start > LONGEST:
        low, high = start + LONGEST // 2, min(start + LONGEST, end - SHORTEST)
        place = low + 10 * int(np.argmin(levels[low // 10 : high // 10]))
        yield start, place
        start = place
    yield start, end


def sounds(source: Source, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
    """Cut out each (start, length), in ms of a source's file: (samples,) float32, faded at both ends.

    The file is decoded once and never held in memory as a whole. Raises CorpusError if it cannot be read.
    """
    spans = {(start, length): (start * SAMPLE_RATE // 1000, length * SAMPLE_RATE // 1000) for start, length in wanted}
    found = {key: np.zeros(samples, np.float32) for key, (_, samples) in spans.items()}
    last = max(first + samples for first, samples in spans.values())
    heard = 0
    for piece in audio_pieces(source.path, min(last / SAMPLE_RATE, source.stop())):
        for key, (first, samples) in spans.items():
            low, high = max(first, heard), min(first + samples, heard + len(piece))
            if low < high:
                found[key][low - first : high - first] = piece[low - heard : high - heard]
        heard += len(piece)
    ramp = np.linspace(0.0, 1.0, FADE, dtype=np.float32)
    for sound in found.values():
        sound[:FADE] *= ramp
        sound[-FADE:] *= ramp[::-1]
    return found


class Deck:
    """One person's utterances, source by source in random order. After the last one, all are drawn again."""

    def __init__(self, person: str, sources: Sequence[Source], random: np.random.Generator) -> None:
        self._person, self._sources, self._random = person, sources, random
        self._known: dict[Source, tuple[Utterance, ...]] = {}
        self._waiting: list[Utterance] = []
        self._order: list[Source] = []
        self.rounds = 0  # how often all sources were started

    def draw(self) -> Utterance:
        """Return the next utterance. Raises CorpusError if a source cannot be read, or if none holds speech."""
        if not self._waiting:
            self._waiting = list(self._next_source())
        return self._waiting.pop(0)

    def _next_source(self) -> tuple[Utterance, ...]:
        for _ in range(len(self._sources) + 1):
            if not self._order:
                self._order = [self._sources[place] for place in self._random.permutation(len(self._sources))]
                self.rounds += 1
            source = self._order.pop(0)
            if source not in self._known:
                self._known[source] = utterances(self._person, source)
            if self._known[source]:
                return self._known[source]
        raise CorpusError(f"nobody is heard in the recordings of {self._person!r}: remove them, or record them again")


def _from(pieces: Iterable[np.ndarray], first: int) -> Iterator[np.ndarray]:
    heard = 0
    for piece in pieces:
        yield piece[max(0, first - heard) :]
        heard += len(piece)


def _frame_powers(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Compute (frames,) float64 mean squares of (samples,) pieces. An incomplete last frame is dropped."""
    powers, rest = [np.zeros(0)], np.zeros(0, np.float32)
    for piece in pieces:
        heard = np.concatenate([rest, piece])
        whole = len(heard) // FRAME * FRAME
        powers.append(np.square(heard[:whole].reshape(-1, FRAME), dtype=np.float64).mean(axis=1))
        rest = heard[whole:]
    return np.concatenate(powers)


def _levels(powers: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(np.maximum(powers, 1e-12))
