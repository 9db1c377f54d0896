"""Recordings, corpora and their disjoint splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyannote.core import Annotation, Timeline

SAMPLE_RATE = 16_000  # Hz, of every waveform in this project


@dataclass(frozen=True)
class Recording:
    """One recording and what a human wrote about it.

    duration: seconds of audio that are heard; a source may end a recording before its file does.
    reference: who spoke when. annotated: where that is to be believed (UEM), the only part that is scored.
    """

    uri: str
    audio: Path
    duration: float
    reference: Annotation
    annotated: Timeline

    def waveform(self) -> np.ndarray:
        """(samples,) float32, mono, 16 kHz, `duration` long. Raises CorpusError where the audio cannot be used."""
        raise NotImplementedError


@dataclass(frozen=True)
class Corpus:
    """Recordings by split. Splits are disjoint by URI and by audio content."""

    name: str
    splits: Mapping[str, tuple[Recording, ...]]
