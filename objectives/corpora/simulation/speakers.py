"""Find single-speaker audio: a folder of single-speaker recordings, or the parts of a corpus with one speaker.

In a folder, people are identified by sub-folders (LibriSpeech's SPEAKER/CHAPTER, or one folder per person), or by file
names up to the first `-` or `_`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyannote.core import Segment, Timeline

from objectives.corpora.audio.inspection import probe_duration
from objectives.corpora.audio.reading import AUDIO_SUFFIXES
from objectives.corpora.corpus import Recording, is_local_name
from objectives.corpora.folder import audio_below
from objectives.corpora.rttm import NOT_AVAILABLE
from objectives.errors import CorpusError, quoted

LEAST_ALONE = 1.0  # seconds: shorter parts of a corpus are left out
BESIDE = 0.05  # seconds to cut off at either end of such a part, since references are not exact
_LIBRISPEECH = re.compile(r"(\d+)-(\d+)-\d+")


@dataclass(frozen=True)
class Source:
    """A part of an audio file in which one person speaks.

    name: relative, for messages and records. start, end: seconds; an end of None is the end of the file."""

    name: str
    path: Path
    start: float = 0.0
    end: float | None = None

    def stop(self) -> float:
        """Return its end in seconds of the file. Raises CorpusError if the file cannot be read."""
        return probe_duration(self.path) if self.end is None else self.end


@dataclass(frozen=True)
class Voices:
    """Audio by person. found: how people were identified, in words. name: of the folder or corpus."""

    name: str
    found: str
    sources: Mapping[str, tuple[Source, ...]]


def speech_folder(folder: Path) -> Voices:
    """Return the people in a folder of single-speaker recordings, without hidden files. Does not decode audio.

    Raises CorpusError if there is no such folder or no audio, if only some of the files are in sub-folders, or if a
    name cannot be written in an RTTM.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder}: is not a folder: give one that holds a folder of recordings for each person")
    audio = audio_below(folder)
    if not audio:
        raise CorpusError(
            f"{folder}: holds no audio: put a folder of recordings for each person there "
            f"(known suffixes: {' '.join(sorted(AUDIO_SUFFIXES))})"
        )
    relative = {path: PurePosixPath(path.relative_to(folder).as_posix()) for path in audio}
    flat = [path for path, name in relative.items() if len(name.parts) == 1]
    if flat and len(flat) < len(audio):
        nested = next(path for path in audio if path not in flat)
        raise CorpusError(
            f"{folder}: {flat[0].name} lies beside folders such as {relative[nested].parts[0]!r}: give every person a "
            "folder, or put all files side by side, named PERSON-anything"
        )
    found: dict[str, list[Source]] = defaultdict(list)
    if all(_is_librispeech(name) for name in relative.values()):
        how = "LibriSpeech's SPEAKER/CHAPTER"
        people = {path: name.parts[-3] for path, name in relative.items()}
    elif flat:
        how = "by file name, up to the first - or _"
        people = {path: re.split("[-_]", path.stem, maxsplit=1)[0] or path.stem for path in audio}
    else:
        how = "a folder for each person"
        people = {path: name.parts[0] for path, name in relative.items()}
    for path, person in people.items():
        found[person].append(Source(str(relative[path]), path))
    return Voices(folder.resolve().name, how, _written(folder, found))


def spoken_alone(name: str, recordings: Iterable[Recording]) -> Voices:
    """Return the annotated parts of at least one second in which exactly one person of the reference speaks.

    People with equal names in two recordings are the same, unless the name is local to a recording.
    """
    found: dict[str, list[Source]] = defaultdict(list)
    for recording in recordings:
        spoken = recording.reference.crop(recording.annotated, mode="intersection")
        for person in spoken.labels():
            others: Timeline = spoken.subset([person], invert=True).get_timeline().support()
            voice = f"{recording.uri}-{person}" if is_local_name(str(person)) else str(person)
            for turn in spoken.label_timeline(person):
                for stretch in others.gaps(support=turn) if others else (turn,):
                    inner = Segment(stretch.start + BESIDE, stretch.end - BESIDE)
                    if inner.duration >= LEAST_ALONE:
                        found[voice].append(Source(recording.uri, recording.audio, inner.start, inner.end))
    return Voices(name, "where the reference has one person alone", _written(name, found))


def _is_librispeech(name: PurePosixPath) -> bool:
    matched = _LIBRISPEECH.fullmatch(name.stem)
    return matched is not None and len(name.parts) >= 3 and name.parts[-3:-1] == matched.groups()


def _written(origin: object, found: Mapping[str, list[Source]]) -> dict[str, tuple[Source, ...]]:
    """Rename people so that names are valid in an RTTM and mean the same person in every recording."""
    named: dict[str, str] = {}  # the name in an RTTM → the person
    for person in sorted(found):
        plain = "_".join(person.split())
        if plain in ("", NOT_AVAILABLE):
            raise CorpusError(f"{origin}: {quoted(person)} names nobody in an RTTM: rename the folder or the files")
        written = f"voice-{plain}" if is_local_name(plain) else plain
        other = named.setdefault(written, person)
        if other != person:
            raise CorpusError(
                f"{origin}: {quoted(other)} and {quoted(person)} would both be {written!r} in an RTTM: rename one"
            )
    return {written: tuple(found[person]) for written, person in named.items()}
