"""Recordings, corpora and their disjoint splits."""

import hashlib
import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pyannote.core import Annotation, Segment, Timeline

from objectives.corpora.audio.inspection import probe
from objectives.corpora.audio.reading import read_audio
from objectives.corpora.rttm import Written, uncovered_channels
from objectives.corpora.turns import COLLAR, count, merged, speech_outside_collar
from objectives.errors import CorpusError, ascii_controls, quoted
from objectives.models.contract import SAMPLE_RATE as SAMPLE_RATE

# train is for recovery, calib for calibration and tuning, eval for the search; test is used once, at the end
SPLIT_NAMES = ("train", "calib", "eval", "test")
ALL = "all"
# speaker_03, spk1, S2, A, 7: numbered or lettered within a recording, so that equal names in two recordings mean
# nothing. Three digits or more look like an identity (spk1235), and so does any other name (MEE009)
_LOCAL_NAME = re.compile(r"((speaker|spkr?|spk|s|loc|locuteur)?[\s_-]*(\d{1,2}|[a-z])|unknown)", re.IGNORECASE)
_ON_CHANNEL = re.compile(r" \(channel \S+\)$")  # as objectives/corpora/rttm.py appends it
# a role in a call does not identify a person (SIMSAMU's roles and similar ones)
_ROLE = re.compile(
    r"(medecin|médecin|doctor|patient|caller|appelant|agent|operator|dispatcher)([\s_-]*\d+)?", re.IGNORECASE
)


@dataclass(frozen=True)
class Recording:
    """One recording and its human annotation.

    duration: seconds of audio that are used; a source may end a recording before its file ends. reference: who spoke
    when; turns of one speaker that touch or overlap are merged. annotated: the parts that the reference covers (UEM);
    only these are scored. remarks: notes for users, in words. merged_turns: number of lines in the file minus number of
    turns. Remarks and merged_turns take no part in == or in the corpus' fingerprint.

    Raises CorpusError if the duration is not a positive number.
    """

    uri: str
    audio: Path
    duration: float
    reference: Annotation
    annotated: Timeline
    remarks: tuple[str, ...] = field(default=(), compare=False)
    merged_turns: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", merged(self.reference))
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise CorpusError(f"{self.audio}: a duration of {self.duration} s: a recording needs audio")

    def waveform(self) -> np.ndarray:
        """Read the audio: (round(duration · 16000),) float32, mono, 16 kHz.

        Raises CorpusError if the audio cannot be used: missing, unreadable, truncated, NaN or infinite samples.
        """
        return read_audio(self.audio, self.duration)

    # cached_property writes to __dict__, so it works on a frozen dataclass; it is not a field and takes no part in ==
    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the bytes of the audio file, in hexadecimal; read once. Raises CorpusError if that fails."""
        try:
            with self.audio.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(self.audio, error) from error


# an unused recording, an unused file of a used recording, a note about a used recording, the number of merged turns
Kind = Literal["recording", "file", "used", "merged"]


@dataclass(frozen=True)
class Remark:
    """What a corpus leaves out, or interprets differently from what is written.

    about: URI of a recording, or path of a file within the corpus. said: the remark, in words."""

    kind: Kind
    about: str
    said: str

    def __str__(self) -> str:
        return ascii_controls(f"{self.about}: {self.said}")


@dataclass(frozen=True)
class Corpus:
    """Recordings by split. Splits are disjoint by URI and by audio content.

    Audio content is compared by the bytes of the files, so the same speech in another format, or cut elsewhere, is not
    recognised. left_out: what the source found but does not use; it takes no part in == or in the fingerprint.
    Raises CorpusError if two recordings share a URI, or if two splits share an audio file.
    """

    name: str
    splits: Mapping[str, tuple[Recording, ...]]
    left_out: tuple[Remark, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for split, recordings in self.splits.items():
            for uri in (recording.uri for recording in recordings):
                if uri in seen:
                    raise CorpusError(
                        f"corpus {self.name!r}: recording {uri!r} is in split {seen[uri]} and again in split {split}: "
                        "a recording belongs to one split, once: remove it from the other"
                    )
                seen[uri] = split
        _refuse_shared_audio(self.name, self.splits)

    def split(self, name: str) -> tuple[Recording, ...]:
        """Return the recordings of one split, or of all of them for `all`.

        Raises CorpusError if the split is unknown or empty, listing the available ones.
        """
        recordings = tuple(itertools.chain(*self.splits.values())) if name == ALL else self.splits.get(name, ())
        if not recordings:
            known = ", ".join(f"{split} ({len(members)})" for split, members in self.splits.items() if members)
            raise CorpusError(
                f"corpus {self.name!r} has no recording in split {name!r}: use one of {known or 'none'}, {ALL}"
            )
        return recordings

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """Remarks about what is left out, then about each recording."""
        recordings = tuple(itertools.chain(*self.splits.values()))
        of_recordings = (Remark("used", one.uri, said) for one in recordings for said in one.remarks)
        return (*self.left_out, *of_recordings, *(_merged(one) for one in recordings if one.merged_turns))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that an evaluation depends on: name, splits, URIs, durations, audio, references and
        annotated parts. It does not depend on the machine or on where the files are. Reads every audio file once."""
        described = {
            split: [_described(recording) for recording in sorted(recordings, key=lambda recording: recording.uri)]
            for split, recordings in self.splits.items()
        }
        text = json.dumps([self.name, described], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def shared_speakers(self) -> dict[str, tuple[str, ...]]:
        """Return the speakers whose name occurs in several splits: name → splits. They are reported, not refused.

        Names that are local to a recording (speaker_01, A, patient) do not identify a person and are left out.
        """
        found: dict[str, list[str]] = defaultdict(list)
        for split, recordings in self.splits.items():
            for name in sorted({label for recording in recordings for label in recording.reference.labels()}):
                if not is_local_name(name):
                    found[name].append(split)
        return {name: tuple(splits) for name, splits in sorted(found.items()) if len(splits) > 1}


def is_local_name(speaker: str) -> bool:
    """Return whether a speaker's name is local to a recording (speaker_01, A, patient)."""
    name = _ON_CHANNEL.sub("", speaker)
    return bool(_LOCAL_NAME.fullmatch(name) or _ROLE.fullmatch(name))


def _merged(recording: Recording) -> Remark:
    several = recording.merged_turns > 1
    lines = f"{recording.merged_turns} lines are merged into turns" if several else "1 line is merged into a turn"
    verbs = "they touch or overlap" if several else "it touches or overlaps"
    return Remark("merged", recording.uri, f"{lines} of the same speaker that {verbs}")


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


def _refuse_shared_audio(name: str, splits: Mapping[str, tuple[Recording, ...]]) -> None:
    if sum(map(bool, splits.values())) < 2:
        return
    by_size: dict[int, list[tuple[str, Recording]]] = defaultdict(list)
    for split, recordings in splits.items():
        for recording in recordings:
            try:
                by_size[recording.audio.stat().st_size].append((split, recording))
            except OSError as error:
                raise _unreadable(recording.audio, error) from error
    # files of different sizes differ, so only files of equal size are hashed
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


def _unreadable(audio: Path, error: OSError) -> CorpusError:
    return CorpusError(f"{audio}: cannot read the audio ({error.strerror}): check the path")


# A reference may end this much after the audio, because of rounding and codec frames; the excess is cut off
END_TOLERANCE = 0.05  # seconds


def make_recording(
    uri: str,
    audio: Path,
    written: Written[Annotation],
    parts: Written[Timeline] | None,
    *,
    origin: Path | str,
    ends_where_annotated: bool = False,
) -> Recording:
    """Check a reference against its audio and build the recording.

    written: the reference. parts: the annotated parts; None if all of the audio is annotated. origin: source of the
    reference, for messages. ends_where_annotated: end the recording with its last annotated part; the rest of the file
    is never read.

    Raises CorpusError if the audio is empty or unreadable, if a turn or an annotated part ends more than 0.05 s after
    the audio, or if nobody speaks inside the annotated parts.
    """
    file = probe(audio)
    duration = file.duration
    reference = merged(written.content)
    merged_turns = count(written.content) - count(reference)
    annotated = Timeline([Segment(0.0, duration)], uri=uri) if parts is None else parts.content
    for part in annotated:
        if part.end > duration + END_TOLERANCE:
            raise CorpusError(
                f"{uri}: the UEM says that {audio} is annotated to {_seconds(part.end)}, and it ends at "
                f"{duration:.3f} s: correct the UEM or the audio"
            )
    if ends_where_annotated:
        duration = min(duration, annotated.extent().end)
    for turn, _, speaker in reference.itertracks(yield_label=True):
        if turn.end > duration + END_TOLERANCE:
            raise CorpusError(
                f"{origin}: {uri!r}: a turn of {quoted(speaker)[1:-1]} from {_seconds(turn.start)} to "
                f"{_seconds(turn.end)} lies past the end of the audio ({duration:.3f} s, {audio}): correct the RTTM, "
                "or use the audio that it was written for"
            )
    heard = Timeline([Segment(0.0, duration)], uri=uri)
    reference = reference.crop(heard, mode="intersection")
    annotated = annotated.crop(heard, mode="intersection").support()
    if not reference.crop(annotated, mode="intersection"):
        raise CorpusError(
            f"{origin}: nobody speaks in the annotated part of {uri!r} ({annotated.duration():.3f} s), so its error "
            "rate is undefined: remove the recording, or correct its RTTM or UEM"
        )
    reference.uri = annotated.uri = uri
    remarks = [*file.remarks, *written.remarks]
    if parts is not None:
        remarks += [*parts.remarks, *uncovered_channels(written, parts)]
    if speech_outside_collar(reference, annotated) == 0:
        remarks.append(
            f"nothing of it is scored: all its speech lies within {COLLAR / 2} s of where a turn begins or ends"
        )
    return Recording(uri, audio, duration, reference, annotated, tuple(remarks), merged_turns)


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value < 1e9 else f"{value:g} s"
