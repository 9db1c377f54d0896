"""Training and calibration data: recordings of `train` and `calib`, never those that are evaluated.

Functions that learn take one of the two types below. Each can only be made from a whole corpus, so that no other
recordings can be passed. A corpus cannot check whether another corpus holds the same recordings; `refuse_leakage` does
when recordings are evaluated.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from objectives.corpora.corpus import SAMPLE_RATE, Corpus, Recording
from objectives.errors import LeakageError

EVALUATED = ("eval", "test")  # splits that are only measured on
# Two recordings of equal length are the same if their samples agree every 10 ms, whatever their file formats. A 16-bit
# copy differs from its original by at most 1.5 / 2¹⁵; different recordings differ by more at some instant.
COMPARED_EVERY = 160  # samples
TOLERANCE = 2.0 / 2**15


@dataclass(frozen=True)
class _SetAside:
    """The recordings of a split that something is learnt from."""

    split: ClassVar[str]
    corpus: InitVar[Corpus]
    recordings: tuple[Recording, ...] = field(init=False)

    def __post_init__(self, corpus: Corpus) -> None:
        object.__setattr__(self, "recordings", corpus.split(self.split))
        for name in EVALUATED:
            _refuse(self.split, self.recordings, corpus.splits.get(name, ()), f"corpus {corpus.name!r}, split {name}: ")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that what is learnt depends on, in the order of the recordings."""
        described = [self._ingredients(recording) for recording in self.recordings]
        return hashlib.sha256(json.dumps(described, ensure_ascii=True).encode()).hexdigest()

    def _ingredients(self, recording: Recording) -> list[object]:
        return [recording.content_hash, recording.duration]


@dataclass(frozen=True)
class CalibrationData(_SetAside):
    """Recordings that activation ranges and choices between models may come from: a corpus' `calib`.

    Its fingerprint covers audio and durations. Raises CorpusError if there is none, LeakageError if one of them is in
    `eval` or `test` too.
    """

    split: ClassVar[str] = "calib"


@dataclass(frozen=True)
class TrainingData(_SetAside):
    """Recordings that recovery may learn from: a corpus' `train`.

    Its fingerprint covers audio, durations, references and annotated parts. Raises CorpusError if there is none,
    LeakageError if one of them is in `eval` or `test` too.
    """

    split: ClassVar[str] = "train"

    def _ingredients(self, recording: Recording) -> list[object]:
        turns = [(turn.start, turn.end, str(who)) for turn, _, who in recording.reference.itertracks(yield_label=True)]
        annotated = [(part.start, part.end) for part in recording.annotated]
        return [*super()._ingredients(recording), sorted(turns), annotated]


def refuse_leakage(data: TrainingData | CalibrationData, evaluated: Iterable[Recording]) -> None:
    """Raise LeakageError if a recording that is evaluated is among those that models are made from.

    Recordings are the same if they share a URI, the bytes of the audio file, or the length and the samples (up to
    rounding to 16 bits). So a copy as FLAC or WAV is found, and one through a lossy codec is not.
    """
    _refuse(data.split, data.recordings, evaluated, "")


def _refuse(split: str, made_from: tuple[Recording, ...], evaluated: Iterable[Recording], where: str) -> None:
    samples: dict[Path, np.ndarray] = {}

    def samples_of(recording: Recording) -> np.ndarray:
        if recording.audio not in samples:
            samples[recording.audio] = recording.waveform()[::COMPARED_EVERY].copy()
        return samples[recording.audio]

    def sameness(own: Recording, other: Recording) -> str:
        """Return how two recordings were recognised as the same; empty if they differ."""
        if own.uri == other.uri:
            return "of the same URI"
        if own.content_hash == other.content_hash:
            return "the same file"
        same_length = round(own.duration * SAMPLE_RATE) == round(other.duration * SAMPLE_RATE)
        if same_length and np.abs(samples_of(own) - samples_of(other)).max() <= TOLERANCE:
            return "the same audio in another file"
        return ""

    for recording in evaluated:
        for own in made_from:
            if reason := sameness(own, recording):
                raise LeakageError(
                    f"{where}{recording.uri!r} ({recording.audio}) would be evaluated, and models are made from it: "
                    f"{split} holds {own.uri!r} ({own.audio}), {reason}. Take it out of {split}, or evaluate others"
                )
