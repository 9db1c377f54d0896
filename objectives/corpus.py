"""Recordings, corpora and their disjoint splits."""

import hashlib
import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from pyannote.core import Annotation, Timeline

from objectives._audio import read_audio
from objectives.contract import SAMPLE_RATE as SAMPLE_RATE
from objectives.errors import CorpusError

# train recovers, calib calibrates and tunes, eval is what the search sees, test is touched once
SPLIT_NAMES = ("train", "calib", "eval", "test")
ALL = "all"

# speaker_03, spk1, S2, A, 7: numbered or lettered within a recording, so that equal names mean nothing across two;
# three digits and more look like an identity (spk1235), and so does any other name (MEE009)
_LOCAL_NAME = re.compile(r"((speaker|spkr?|spk|s|loc|locuteur)?[\s_-]*(\d{1,2}|[a-z])|unknown)", re.IGNORECASE)
# what somebody is in a call says nothing of who it is (SIMSAMU's roles and their like)
_ROLE = re.compile(
    r"(medecin|médecin|doctor|patient|caller|appelant|agent|operator|dispatcher)([\s_-]*\d+)?", re.IGNORECASE
)


@dataclass(frozen=True)
class Recording:
    """One recording and what a human wrote about it.

    duration: seconds of audio that are heard; a source may end a recording before its file does.
    reference: who spoke when. annotated: where that is to be believed (UEM), the only part that is scored.
    remarks: what people should know of it, in words; they take no part in == or in the corpus' fingerprint.

    Raises CorpusError where the duration is not a positive number.
    """

    uri: str
    audio: Path
    duration: float
    reference: Annotation
    annotated: Timeline
    remarks: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise CorpusError(f"{self.audio}: a duration of {self.duration} s: a recording needs audio")

    def waveform(self) -> np.ndarray:
        """(samples,) float32, mono, 16 kHz, `duration` long: round(duration · 16000) samples.

        Raises CorpusError where the audio cannot be used: missing, unreadable, truncated, NaN or infinite samples.
        """
        return read_audio(self.audio, self.duration)

    # cached_property writes to __dict__ and so works on a frozen dataclass; it is no field, and takes no part in ==
    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the bytes of the audio file, in hexadecimal; read once. Raises CorpusError where that fails."""
        try:
            with self.audio.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CorpusError(f"{self.audio}: cannot read the audio ({error.strerror}): check the path") from error


@dataclass(frozen=True)
class Corpus:
    """Recordings by split. Splits are disjoint by URI and by audio content.

    Content means the bytes of the file: the same speech in another format, or cut elsewhere, is not recognised.
    Raises CorpusError where two recordings share a URI, or where two splits share an audio file.
    """

    name: str
    splits: Mapping[str, tuple[Recording, ...]]

    def __post_init__(self) -> None:
        _refuse_shared_uris(self.name, self.splits)
        _refuse_shared_audio(self.name, self.splits)

    def split(self, name: str) -> tuple[Recording, ...]:
        """Recordings of one split; `all` for those of every split.

        Raises CorpusError where the split is unknown or empty, listing those that there are.
        """
        recordings = tuple(itertools.chain(*self.splits.values())) if name == ALL else self.splits.get(name, ())
        if not recordings:
            known = ", ".join(f"{split} ({len(members)})" for split, members in self.splits.items() if members)
            raise CorpusError(
                f"corpus {self.name!r} has no recording in split {name!r}: use one of {known or 'none'}, {ALL}"
            )
        return recordings

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that an evaluation depends on: name, splits, URIs, durations, audio, references, annotated
        parts. The same on every machine, wherever the files lie. Reads every audio file once."""
        described = {
            split: [_described(recording) for recording in sorted(recordings, key=lambda recording: recording.uri)]
            for split, recordings in self.splits.items()
        }
        text = json.dumps([self.name, described], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def shared_speakers(self) -> dict[str, tuple[str, ...]]:
        """Speakers who by their names are in several splits: name → splits. Reported, not refused.

        Names that a recording gives for itself (speaker_01, A, patient) suggest no identity and are left out.
        """
        found: dict[str, list[str]] = defaultdict(list)
        for split, recordings in self.splits.items():
            for name in sorted({label for recording in recordings for label in recording.reference.labels()}):
                if not is_local_name(name):
                    found[name].append(split)
        return {name: tuple(splits) for name, splits in sorted(found.items()) if len(splits) > 1}


def is_local_name(speaker: str) -> bool:
    """Whether a speaker's name only tells speakers of one recording apart (speaker_01, A, patient)."""
    return bool(_LOCAL_NAME.fullmatch(speaker) or _ROLE.fullmatch(speaker))


def _described(recording: Recording) -> dict[str, object]:
    turns = sorted(
        (turn.start, turn.end, str(label)) for turn, _, label in recording.reference.itertracks(yield_label=True)
    )
    return {
        "uri": recording.uri,
        "duration": recording.duration,
        "audio": recording.content_hash,
        "reference": turns,
        "annotated": [(part.start, part.end) for part in recording.annotated],
    }


def _refuse_shared_uris(name: str, splits: Mapping[str, Iterable[Recording]]) -> None:
    seen: dict[str, str] = {}
    for split, recordings in splits.items():
        for recording in recordings:
            if recording.uri in seen:
                raise CorpusError(
                    f"corpus {name!r}: recording {recording.uri!r} is in split {seen[recording.uri]} and again in "
                    f"split {split}: a recording belongs to one split, once: remove it from the other"
                )
            seen[recording.uri] = split


def _refuse_shared_audio(name: str, splits: Mapping[str, tuple[Recording, ...]]) -> None:
    filled = [split for split, recordings in splits.items() if recordings]
    if len(filled) < 2:
        return
    by_size: dict[int, list[tuple[str, Recording]]] = defaultdict(list)
    for split in filled:
        for recording in splits[split]:
            by_size[_size(recording.audio)].append((split, recording))
    # files of different sizes differ: only the others are hashed
    for members in by_size.values():
        if len({split for split, _ in members}) < 2:
            continue
        first: dict[str, tuple[str, Recording]] = {}
        for split, recording in members:
            other_split, other = first.setdefault(recording.content_hash, (split, recording))
            if other_split != split:
                raise CorpusError(
                    f"corpus {name!r}: {other.audio} (split {other_split}) and {recording.audio} (split {split}) are "
                    "the same audio: keep one of them, or put both in one split"
                )


def _size(audio: Path) -> int:
    try:
        return audio.stat().st_size
    except OSError as error:
        raise CorpusError(f"{audio}: cannot read the audio ({error.strerror}): check the path") from error
