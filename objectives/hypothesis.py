"""Who spoke when, as a system says it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from objectives.contract import SAMPLE_RATE

if TYPE_CHECKING:  # a deployed point does not wait for it
    from pyannote.core import Annotation


@dataclass(frozen=True)
class Hypothesis:
    """Turns as (start, end, speaker), start and end in samples at 16 kHz, of a recording of `total` samples."""

    total: int
    turns: tuple[tuple[int, int, int], ...]

    @classmethod
    def from_cells(cls, starts: np.ndarray, total: int, speaking: Sequence[tuple[int, ...]]) -> "Hypothesis":
        """Merge consecutive cells. starts: (cells,) first sample of each, a cell lasting until the next begins.
        speaking: who speaks in each cell."""
        open_turns: dict[int, int] = {}
        turns: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for start, now in zip(starts, speaking, strict=True):
            for speaker in [speaker for speaker in open_turns if speaker not in now]:
                turns[speaker].append((open_turns.pop(speaker), int(start)))
            for speaker in now:
                open_turns.setdefault(int(speaker), int(start))
        for speaker, start in open_turns.items():
            turns[speaker].append((start, total))
        merged = sorted((start, end, speaker) for speaker, spans in turns.items() for start, end in spans)
        return cls(total, tuple(merged))

    def annotation(self, uri: str) -> "Annotation":
        """As pyannote.core has it, seconds and names."""
        from pyannote.core import Annotation, Segment

        annotation = Annotation(uri=uri)
        for start, end, speaker in self.turns:
            annotation[Segment(start / SAMPLE_RATE, end / SAMPLE_RATE), speaker] = f"speaker{speaker:02d}"
        return annotation
