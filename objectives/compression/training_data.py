"""Training and calibration data: recordings of `train` and `calib`, never those that are evaluated.

Functions that learn take one of the two types below. Each can only be made from a whole corpus, so that no other
recordings can be passed. A corpus cannot check whether another corpus holds the same recordings; `refuse_leakage` does
when recordings are evaluated.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from functools import cached_property
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


@dataclass(frozen=True)
class TrainingData(_SetAside):
    """Recordings that recovery may learn from: a corpus' `train`.

    Raises CorpusError if there is none, LeakageError if one of them is in `eval` or `test` too.
    """

    split: ClassVar[str] = "train"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that training depends on: audio, durations, references and annotated parts, in order."""
        return _digest([[*_heard(recording), *_written(recording)] for recording in self.recordings])


@dataclass(frozen=True)
class CalibrationData(_SetAside):
    """Recordings that activation ranges and choices between models may come from: a corpus' `calib`.

    Raises CorpusError if there is none, LeakageError if one of them is in `eval` or `test` too.
    """

    split: ClassVar[str] = "calib"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that activation ranges depend on: audio and durations, in order."""
        return _digest([_heard(recording) for recording in self.recordings])


def training_data(corpus: Corpus) -> TrainingData:
    """Return the recordings of `train`. Raises as TrainingData does."""
    return TrainingData(corpus)


def calibration_data(corpus: Corpus) -> CalibrationData:
    """Return the recordings of `calib`. Raises as CalibrationData does."""
    return CalibrationData(corpus)


def refuse_leakage(data: TrainingData | CalibrationData, evaluated: Iterable[Recording]) -> None:
    """Raise LeakageError if a recording that is evaluated is among those that models are made from.

    Recordings are the same if they share a URI, the bytes of the audio file, or the length and the samples (up to
    rounding to 16 bits). So a copy as FLAC or WAV is found, and one through a lossy codec is not.
    """
    _refuse(data.split, data.recordings, evaluated, "")


def _refuse(split: str, made_from: tuple[Recording, ...], evaluated: Iterable[Recording], where: str) -> None:
    known = _Known(made_from)
    for recording in evaluated:
        found = known.find(recording)
        if found is not None:
            own, reason = found
            raise LeakageError(
                f"{where}{recording.uri!r} ({recording.audio}) would be evaluated, and models are made from it: "
                f"{split} holds {own.uri!r} ({own.audio}), {reason}. Take it out of {split}, or evaluate others"
            )


class _Known:
    """Recordings to compare others with. They are decoded once, and only to compare them with one of equal length."""

    def __init__(self, recordings: Iterable[Recording]):
        self._by_length: dict[int, list[Recording]] = defaultdict(list)
        self._by_uri: dict[str, Recording] = {}
        self._by_content: dict[str, Recording] = {}
        self._samples: dict[str, np.ndarray] = {}
        for recording in recordings:
            self._by_length[_length(recording)].append(recording)
            self._by_uri[recording.uri] = recording
            self._by_content[recording.content_hash] = recording

    def find(self, recording: Recording) -> tuple[Recording, str] | None:
        """Return the same recording and how it was recognised; None if it is not known."""
        if recording.uri in self._by_uri:
            return self._by_uri[recording.uri], "of the same URI"
        if recording.content_hash in self._by_content:
            return self._by_content[recording.content_hash], "the same file"
        alike = self._by_length.get(_length(recording), [])
        if alike:
            samples = recording.waveform()[::COMPARED_EVERY]
            for own in alike:
                if np.abs(self._samples_of(own) - samples).max() <= TOLERANCE:
                    return own, "the same audio in another file"
        return None

    def _samples_of(self, recording: Recording) -> np.ndarray:
        if recording.uri not in self._samples:
            self._samples[recording.uri] = recording.waveform()[::COMPARED_EVERY].copy()
        return self._samples[recording.uri]


def _length(recording: Recording) -> int:
    return round(recording.duration * SAMPLE_RATE)


def _heard(recording: Recording) -> list[object]:
    return [recording.content_hash, recording.duration]


def _written(recording: Recording) -> list[object]:
    turns = [(turn.start, turn.end, str(who)) for turn, _, who in recording.reference.itertracks(yield_label=True)]
    return [sorted(turns), [(part.start, part.end) for part in recording.annotated]]


def _digest(described: object) -> str:
    return hashlib.sha256(json.dumps(described, ensure_ascii=True).encode()).hexdigest()
