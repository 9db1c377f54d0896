"""Who spoke when, as a system says it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from objectives.models.contract import SAMPLE_RATE

if TYPE_CHECKING:  # a deployed point does not wait for it
    from pyannote.core import Annotation

Turn = tuple[int, int, int]  # first sample, last sample + 1, speaker


class Turns:
    """Turns out of cells, in the order of time: a turn is known when it has ended.

    wait: samples. A pause of up to so much is none: a turn is known when it has been over for as long.
    """

    def __init__(self, wait: int = 0) -> None:
        self._wait = wait
        self._open: dict[int, int] = {}
        self._over: dict[int, tuple[int, int]] = {}  # that may go on

    def cell(self, start: int, speaking: Iterable[int]) -> list[Turn]:
        """A cell begins at `start`, in which these speak: the turns that are known to have ended there."""
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
        """Everything before this sample was told: the turns that no cell from there on can continue."""
        return self._known(sample - self._wait - 1)

    def _known(self, until: int) -> list[Turn]:
        over = [(began, ended, speaker) for speaker, (began, ended) in self._over.items() if ended <= until]
        for _, _, speaker in over:
            del self._over[speaker]
        return over

    @property
    def open(self) -> set[int]:
        """Whose turns have not ended."""
        return set(self._open)

    def rename(self, speaker: int, other: int) -> None:
        """Give a turn that has not ended, if there is one, to another speaker, who has none."""
        if speaker in self._open:
            assert other not in self._open, "one speaker has one turn at a time"
            self._open[other] = self._open.pop(speaker)

    def end(self, total: int) -> list[Turn]:
        """The recording ends: the turns that end with it."""
        return [*self.cell(total, ()), *self._known(total)]


@dataclass(frozen=True)
class Hypothesis:
    """Turns as (start, end, speaker), start and end in samples at 16 kHz, of a recording of `total` samples."""

    total: int
    turns: tuple[Turn, ...]

    @classmethod
    def from_cells(cls, starts: np.ndarray, total: int, speaking: Iterable[tuple[int, ...]]) -> "Hypothesis":
        """Merge consecutive cells. starts: (cells,) first sample of each, a cell lasting until the next begins.
        speaking: who speaks in each cell."""
        turns = Turns()
        ended = [turn for start, now in zip(starts, speaking, strict=True) for turn in turns.cell(int(start), now)]
        return cls(total, tuple(sorted([*ended, *turns.end(total)])))

    def annotation(self, uri: str) -> "Annotation":
        """As pyannote.core has it, seconds and names."""
        from pyannote.core import Annotation, Segment

        annotation = Annotation(uri=uri)
        for start, end, speaker in self.turns:
            annotation[Segment(start / SAMPLE_RATE, end / SAMPLE_RATE), speaker] = f"speaker{speaker:02d}"
        return annotation
