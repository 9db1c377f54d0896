"""What models may be made from: recordings of `train` and of `calib`, never those that are evaluated.

Functions that learn ask for one of the two types below, and each is made of a whole corpus and of nothing else: there
is no way to hand them other recordings. What a corpus cannot know, that another one's recordings are the same, is
checked where they are evaluated (`refuse_leakage`).
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

EVALUATED = ("eval", "test")  # splits that are only ever measured on
# Two recordings of the same length are the same where they agree every 10 ms, whatever their files are: copies in 16
# bits differ from what they were made of by 1.5 / 2¹⁵ at most, two people talking agree nowhere near all of the time.
COMPARED_EVERY = 160  # samples
TOLERANCE = 2.0 / 2**15


@dataclass(frozen=True)
class _SetAside:
    """A split of a corpus from which something is learnt."""

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

    Raises CorpusError where there is none, LeakageError where one of them is in `eval` or `test` too.
    """

    split: ClassVar[str] = "train"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that training learns from: audio, durations, references and annotated parts, in order."""
        return _digest([[*_heard(recording), *_written(recording)] for recording in self.recordings])


@dataclass(frozen=True)
class CalibrationData(_SetAside):
    """Recordings that activation ranges and choices between models may come from: a corpus' `calib`.

    Raises CorpusError where there is none, LeakageError where one of them is in `eval` or `test` too.
    """

    split: ClassVar[str] = "calib"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that activation ranges come from: audio and durations, in order."""
        return _digest([_heard(recording) for recording in self.recordings])


def training_data(corpus: Corpus) -> TrainingData:
    """The recordings of `train`. Raises CorpusError or LeakageError, as TrainingData tells."""
    return TrainingData(corpus)


def calibration_data(corpus: Corpus) -> CalibrationData:
    """The recordings of `calib`. Raises CorpusError or LeakageError, as CalibrationData tells."""
    return CalibrationData(corpus)


def refuse_leakage(data: TrainingData | CalibrationData, evaluated: Iterable[Recording]) -> None:
    """Raise LeakageError where a recording that is evaluated is among those that models are made from.

    The same are recordings of one URI, of one audio file (by its bytes), and of one length and the same samples
    (but for rounding to 16 bits): a copy as FLAC or WAV is found, one through a lossy codec is not.
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
    """Recordings to be recognised; only those as long as one that is asked for are decoded, and once."""

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
        """The same recording and how it was recognised."""
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
