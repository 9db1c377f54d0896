"""Place turns in a simulated conversation, with a given share of overlapped speech.

lhotse's ConversationalMeetingSimulator draws overlaps by their mean length and frequency, so the share depends on the
material. Here turns are placed to reach the requested share. At most two people speak at once, no one overlaps with
themselves, and all times are whole milliseconds, as in the RTTM.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from objectives.corpora.simulation.utterances import Utterance

LEAD = 500  # ms of silence at the start
STAYS = 0.2  # probability that the same person goes on after a pause
GAP = (50, 2000, 400)  # ms between two people: shortest, longest, mean beyond the shortest
REST = (600, 3000, 500)  # ms between two turns of one person who goes on
BREATH = 100  # least ms between two turns of one person with another person's turn in between
LEAST, MOST, USUAL = 200, 4000, 900  # ms of an overlap: shortest, longest, mean beyond the shortest, if it fits
LEAST_CUT = 500  # shortest ms of a turn that is cut by the end of the recording


@dataclass(frozen=True)
class Turn:
    """An utterance in a conversation. start, length: ms; if length is below the utterance's, its end is cut off."""

    utterance: Utterance
    start: int
    length: int

    @property
    def end(self) -> int:
        """End of the turn in ms."""
        return self.start + self.length


@dataclass(frozen=True)
class Conversation:
    """Turns ordered by start. speech: ms in which somebody speaks. overlap: ms of speech in which two people do."""

    turns: tuple[Turn, ...]
    speech: int
    overlap: int

    @property
    def overlap_share(self) -> float:
        """Overlap as a share of speech, 0 … 1."""
        return self.overlap / self.speech if self.speech else 0.0


def spoken_by(
    people: Sequence[str], draw: Callable[[str], Utterance], random: np.random.Generator
) -> Iterator[Utterance]:
    """Iterate endlessly over utterances: first one of each person, then of random people, mostly changing."""
    speaker = ""
    for place in random.permutation(len(people)):
        speaker = people[place]
        yield draw(speaker)
    while True:
        others = [person for person in people if person != speaker]
        if others and random.random() >= STAYS:
            speaker = others[random.integers(len(others))]
        yield draw(speaker)


def placed(
    said: Iterable[Utterance], overlap: float, random: np.random.Generator, length: int | None = None
) -> Conversation:
    """Place utterances one after the other, so that overlap makes up a share of the speech.

    overlap: the share, 0 … 1; 0 for none. The result has less if the utterances leave no room for it. length: ms at
    which the conversation ends, cutting the last turn; by default all utterances are placed.
    """
    turns: list[Turn] = []
    speech = both = 0
    last: Turn | None = None  # the turn that ends last
    before = 0  # when all other turns have ended
    ends: dict[str, int] = {}
    owed = _drawn(random, LEAST, MOST, USUAL)
    for utterance in said:
        long = utterance.length
        shared = 0
        if last is not None and overlap > 0 and last.utterance.person != utterance.person:
            free = max(before, last.start, ends.get(utterance.person, -BREATH) + BREATH)
            room = min(long, last.end - free)
            debt = round((overlap * (speech + long) - both) / (1.0 + overlap))
            if debt >= owed / 2 and room >= LEAST:  # overshoot and undershoot in turn, so that the mean is right
                shared = min(round(debt + owed / 2), room)
                owed = _drawn(random, LEAST, MOST, USUAL)
        if last is None:
            start = LEAD
        elif not shared:
            stays = last.utterance.person == utterance.person
            start = last.end + _drawn(random, *(REST if stays else GAP))
        elif shared == long:  # inside the other person's turn
            start = int(random.integers(free, last.end - long, endpoint=True))
        else:
            start = last.end - shared
        if length is not None and start + long > length:
            long = length - start
            if long < LEAST_CUT:
                break
            shared = min(shared, long)
        turn = Turn(utterance, start, long)
        turns.append(turn)
        speech, both = speech + long - shared, both + shared
        ends[utterance.person] = turn.end
        if last is None or turn.end > last.end:
            before, last = (last.end if last else 0), turn
        else:
            before = max(before, turn.end)
        if length is not None and last.end >= length:
            break
    return Conversation(tuple(turns), speech, both)


def _drawn(random: np.random.Generator, shortest: int, longest: int, mean: int) -> int:
    return min(longest, shortest + round(random.exponential(mean)))
