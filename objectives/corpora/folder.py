"""Load a folder of audio + RTTM (+ UEM, + splits.json), such as SIMSAMU.

Audio, RTTM and UEM files may be anywhere below the folder, links included, hidden files excluded: `x.wav` + `x.rttm`,
`audio/x.flac` + `rttm/x.rttm` or `x/x.m4a` + `x/x.rttm`. The URI of a recording is the name of its audio file without
the suffix. Its reference is in the RTTM of that name (if there are several, the one beside the audio), else in the RTTM
that holds the URI among others. Its UEM is found in the same way; without one, all of it is annotated. RTTM and UEM
fields are separated by spaces, so a URI with spaces is written there with underscores, or as `<NA>`.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

from pyannote.core import Annotation

from objectives.corpora.audio.reading import AUDIO_SUFFIXES
from objectives.corpora.corpus import Corpus, make_recording
from objectives.corpora.folder_files import Found, Mentions, found_below, left_out, nothing_in, unusable_sound, uri_of
from objectives.corpora.rttm import Written, read_rttm, read_uem
from objectives.corpora.splits import read_splits, seeded_splits
from objectives.errors import CorpusError, quoted

SPLITS_FILE = "splits.json"
MOST_LISTED = 3  # files in a message
T = TypeVar("T")

_SIMSAMU_COLUMNS = ["rec_name", "medecin", "patient"]


def folder_corpus(folder: Path, name: str, seed: int) -> Corpus:
    """Return all recordings below a folder, split by its splits.json, else at random by `seed`.

    Unused files are listed in the corpus' remarks. Raises CorpusError, naming the file, the value and the remedy; see
    `objectives.corpora.sources.load_corpus`.
    """
    found = found_below(folder)
    audio = _audio_by_uri(folder, found)
    rttm = _Notes("RTTM", found, read_rttm, audio)
    uem = _Notes("UEM", found, read_uem, audio)
    people = _simsamu_people(folder)
    splits_file = folder / SPLITS_FILE
    # lexists: a broken link must raise, not be replaced by random splits
    splits = read_splits(splits_file, audio) if os.path.lexists(splits_file) else seeded_splits(audio, seed)
    recordings = {
        uri: make_recording(
            uri,
            audio[uri],
            _named(rttm.required(uri, audio[uri]), people.get(uri, {})),
            uem.optional(uri, audio[uri]),
            origin=rttm.origin(uri, audio[uri]),
        )
        for uris in splits.values()
        for uri in uris
    }
    notes = [each.mentions({uri: audio[uri] for uri in recordings}) for each in (rttm, uem)]
    return Corpus(
        name,
        {split: tuple(recordings[uri] for uri in uris) for split, uris in splits.items()},
        left_out(folder, found, audio, recordings, notes),
    )


class _Notes(Generic[T]):
    """The content of a folder's RTTM (or UEM) files by URI. Every file is read once."""

    def __init__(
        self, kind: str, found: Found, read: Callable[[Path], dict[str, Written[T]]], audio: Mapping[str, Path]
    ) -> None:
        self._kind = kind
        self._audio = audio
        self._written_as = {"_".join(uri.split()): uri for uri in audio} | {uri: uri for uri in audio}
        suffix = f".{kind.lower()}"
        self._unusable = {path: why for path, why in found.unusable.items() if path.suffix.lower() == suffix}
        self._content = {path: read(path) for path in found.files if path.suffix.lower() == suffix}
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._by_uri: dict[str, list[Path]] = defaultdict(list)
        for path, content in self._content.items():
            self._by_stem[uri_of(path)].append(path)
            for uri in content:
                self._by_uri[uri].append(path)

    def required(self, uri: str, audio: Path) -> Written[T]:
        path = self.origin(uri, audio)
        return self._content[path][self._name_in(path, uri)]

    def optional(self, uri: str, audio: Path) -> Written[T] | None:
        path = self._path(uri, audio)
        return None if path is None else self._content[path][self._name_in(path, uri)]

    def origin(self, uri: str, audio: Path) -> Path:
        path = self._path(uri, audio)
        if path is None:
            unusable = "".join(f" ({path}: {why})" for path, why in self._unusable.items() if uri_of(path) == uri)
            raise CorpusError(
                f"{audio}: no {self._kind} speaks of {uri!r}{unusable}: put {uri}.{self._kind.lower()} beside it or "
                "into a folder of its own next to it, or remove the audio"
            )
        return path

    def mentions(self, used: Mapping[str, Path]) -> Mentions:
        """Return the URIs in the files, and the file chosen for each. used: audio of the recordings that are used."""
        chosen = {uri: path for uri, audio in used.items() if (path := self._path(uri, audio)) is not None}
        uris = {
            path: frozenset(self._written_as.get(uri, uri) for uri in content)
            for path, content in self._content.items()
        }
        return Mentions(self._kind, uris, chosen)

    def _path(self, uri: str, audio: Path) -> Path | None:
        named = self._by_stem.get(uri, [])
        speaking = self._by_uri.get(uri, []) or self._by_uri.get(self._without_spaces(uri), [])
        candidates = [path for path in named if path.parent == audio.parent] or named or speaking
        if len(candidates) > 1:
            raise CorpusError(
                f"{audio}: {candidates[0]} and {candidates[1]} both speak of {uri!r}: "
                f"keep one {self._kind} for a recording"
            )
        if not candidates:
            return None
        path = candidates[0]
        if not self._content[path]:
            raise CorpusError(
                f"{path}: {nothing_in(path)}: write down what {audio} holds, or remove both"
                if self._kind == "RTTM"
                else f"{path}: {nothing_in(path)}: write down which parts of {audio} are annotated, or remove the UEM"
            )
        if self._name_in(path, uri) not in self._content[path]:
            others = ", ".join(quoted(other) for other in list(self._content[path])[:3])
            raise CorpusError(
                f"{path}: speaks of {others} and not of {uri!r}, whose audio is {audio}: "
                f"correct the URIs in the {self._kind} or the name of the file"
            )
        return path

    def _name_in(self, path: Path, uri: str) -> str:
        """Return the URI of a recording as spelt in a file."""
        return uri if uri in self._content[path] else self._without_spaces(uri)

    def _without_spaces(self, uri: str) -> str:
        """Return the URI with underscores for spaces, unless another recording has that URI."""
        written = "_".join(uri.split())
        return uri if written in self._audio else written


def audio_below(folder: Path) -> list[Path]:
    """Return all audio files below a folder, in the order of `found_below`.

    Raises CorpusError if a path is not UTF-8, because libsndfile cannot open it and no text file could name it."""
    audio = [path for path in found_below(folder).files if path.suffix.lower() in AUDIO_SUFFIXES]
    for path in audio:
        try:
            str(path.absolute()).encode()
        except UnicodeEncodeError as error:
            raise CorpusError(f"{path}: the name is not UTF-8: rename the file, or the folder that it is in") from error
    return audio


def _audio_by_uri(folder: Path, found: Found) -> dict[str, Path]:
    audio: dict[str, Path] = {}
    for path in found.files:
        if path.suffix.lower() in AUDIO_SUFFIXES:
            other = audio.setdefault(uri_of(path), path)
            if other != path:
                raise CorpusError(
                    f"{other} and {path} have one URI, {uri_of(path)!r}: give every recording a name of its own"
                )
    if not audio:
        instead = unusable_sound(folder, found)
        if any(path.suffix == ".parquet" for path in found.files):
            instead.append("Parquet is not read: use the original files")
        more = [f"… {len(instead) - MOST_LISTED} more"] if len(instead) > MOST_LISTED else []
        there = f" ({'; '.join([*instead[:MOST_LISTED], *more])})" if instead else ""
        raise CorpusError(
            f"{folder}: holds no audio{there}: put audio files and their RTTM there "
            f"(known suffixes: {' '.join(sorted(AUDIO_SUFFIXES))})"
        )
    return audio


def _named(written: Written[Annotation], people: Mapping[str, str]) -> Written[Annotation]:
    if not people:
        return written
    return replace(written, content=written.content.rename_labels(mapping=dict(people)))


def _simsamu_people(folder: Path) -> dict[str, dict[str, str]]:
    """Return the person in each role, by recording, if the folder has SIMSAMU's table (rec_name, medecin, patient).

    SIMSAMU's RTTM names roles (medecin, patient or patient_1, patient_2). Its table names the 14 people who play them
    in several recordings. `speaker_3` becomes `simsamu_speaker_3`, a name for the same person in every recording.
    """
    for path in sorted(folder.glob("*.csv")):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error
        except UnicodeDecodeError:
            continue  # an unrelated table
        if text.split("\n", 1)[0].rstrip("\r") == ",".join(_SIMSAMU_COLUMNS):
            return dict(_rows(path, text))
    return {}


def _rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    rows = csv.reader(text.splitlines(), strict=True)
    try:
        for row in rows:
            if row and row != _SIMSAMU_COLUMNS:
                if len(row) != len(_SIMSAMU_COLUMNS):
                    raise csv.Error(f"{len(row)} fields instead of {len(_SIMSAMU_COLUMNS)}")
                yield row[0], _roles(row[1], row[2])
    except csv.Error as error:
        raise CorpusError(
            f"{path}, line {rows.line_num}: {error}: write {','.join(_SIMSAMU_COLUMNS)}, or remove the table"
        ) from error


def _roles(doctor: str, patients: str) -> dict[str, str]:
    named = {"medecin": doctor}
    several = patients.split("-")
    for number, patient in enumerate(several, start=1):
        named["patient" if len(several) == 1 else f"patient_{number}"] = patient
    return {role: f"simsamu_{person}" for role, person in named.items() if person}
