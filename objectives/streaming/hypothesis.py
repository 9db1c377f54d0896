"""Who spoke when, according to a system."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from objectives.models.contract import SAMPLE_RATE

if TYPE_CHECKING:  # imported late, so that a deployed point starts faster
    from pyannote.core import Annotation

Turn = tuple[int, int, int]  # first sample, last sample + 1, speaker


class Turns:
    """Merge cells into turns, in order of time.

    wait: samples. A pause of at most this length does not end a turn, so a turn is returned only once it has been over
    for this long.
    """

    def __init__(self, wait: int = 0) -> None:
        self._wait = wait
        self._open: dict[int, int] = {}
        self._over: dict[int, tuple[int, int]] = {}  # ended turns that may still continue after a short pause

    def cell(self, start: int, speaking: Iterable[int]) -> list[Turn]:
        """Begin a cell at sample `start` in which these speakers speak. Return the turns that are now known to have
        ended."""
        now = [int(speaker) for speaker in speaking]
        for speaker in [*self._open]:
            if speaker not in now:
                self._over[speaker] = (self._open.pop(speaker), start)
        for speaker in now:
            began, ended = self._over.get(speaker, (start, start))
            if speaker in self._over and start - ended <= self._wait:
                del self._over[speaker]
                self._open[speaker] = began
            self._open.setdefault(speaker, start)
        return self._known(start - self._wait)

    def passed(self, sample: int) -> list[Turn]:
        """Return the turns that no cell from this sample on can continue, given that all cells before it were passed
        in."""
        return self._known(sample - self._wait - 1)

    def _known(self, until: int) -> list[Turn]:
        over = [(began, ended, speaker) for speaker, (began, ended) in self._over.items() if ended <= until]
        for _, _, speaker in over:
            del self._over[speaker]
        return over

    @property
    def open(self) -> set[int]:
        """Speakers whose turns have not ended."""
        return set(self._open)

    def rename(self, speaker: int, other: int) -> None:
        """Move the open turn of a speaker, if there is one, to another speaker, who must not have an open turn."""
        if speaker in self._open:
            assert other not in self._open, "one speaker has one turn at a time"
            self._open[other] = self._open.pop(speaker)

    def end(self, total: int) -> list[Turn]:
        """End the recording and return the turns that end with it."""
        return [*self.cell(total, ()), *self._known(total)]


@dataclass(frozen=True)
class Hypothesis:
    """Turns as (start, end, speaker) of a recording of `total` samples; start and end in samples at 16 kHz."""

    total: int
    turns: tuple[Turn, ...]

    @classmethod
    def from_cells(cls, starts: np.ndarray, total: int, speaking: Iterable[tuple[int, ...]]) -> "Hypothesis":
        """Merge consecutive cells into turns.

        starts: (cells,) first sample of each cell, which lasts until the next one begins.
        speaking: who speaks in each cell.
        """
        turns = Turns()
        ended = [turn for start, now in zip(starts, speaking, strict=True) for turn in turns.cell(int(start), now)]
        return cls(total, tuple(sorted([*ended, *turns.end(total)])))

    def annotation(self, uri: str) -> "Annotation":
        """Convert to pyannote.core's Annotation, with times in seconds and names as strings."""
        from pyannote.core import Annotation, Segment

        annotation = Annotation(uri=uri)
        for start, end, speaker in self.turns:
            annotation[Segment(start / SAMPLE_RATE, end / SAMPLE_RATE), speaker] = f"speaker{speaker:02d}"
        return annotation
