"""Load a folder of audio + RTTM (+ UEM, + splits.json), such as SIMSAMU.

Audio, RTTM and UEM files may be anywhere below the folder, links included, hidden files excluded: `x.wav` + `x.rttm`,
`audio/x.flac` + `rttm/x.rttm` or `x/x.m4a` + `x/x.rttm`. The URI of a recording is the name of its audio file without
the suffix. Its reference is in the RTTM of that name (if there are several, the one beside the audio), else in the RTTM
that holds the URI among others. Its UEM is found in the same way; without one, all of it is annotated. RTTM and UEM
fields are separated by spaces, so a URI with spaces is written there with underscores, or as `<NA>`.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from objectives.corpora.audio.reading import AUDIO_SUFFIXES
from objectives.corpora.corpus import Corpus, Recording, make_recording
from objectives.corpora.folder_files import Found, found_below, left_out, unusable_sound
from objectives.corpora.folder_notes import Notes, uri_of
from objectives.corpora.rttm import read_rttm, read_uem
from objectives.corpora.splits import read_splits, seeded_splits
from objectives.errors import CorpusError

SPLITS_FILE = "splits.json"
MOST_LISTED = 3  # files in a message
_SIMSAMU_COLUMNS = ["rec_name", "medecin", "patient"]


def folder_corpus(folder: Path, name: str, seed: int) -> Corpus:
    """Return all recordings below a folder, split by its splits.json, else at random by `seed`.

    Unused files are listed in the corpus' remarks. Raises CorpusError, naming the file, the value and the remedy; see
    `objectives.corpora.sources.load_corpus`.
    """
    found = found_below(folder)
    audio = _audio_by_uri(folder, found)
    rttm = Notes("RTTM", found.files, found.unusable, read_rttm, audio)
    uem = Notes("UEM", found.files, found.unusable, read_uem, audio)
    people = _simsamu_people(folder)
    splits_file = folder / SPLITS_FILE
    # lexists: a broken link must raise, not be replaced by random splits
    splits = read_splits(splits_file, audio) if os.path.lexists(splits_file) else seeded_splits(audio, seed)

    def recording(uri: str) -> Recording:
        origin, reference = rttm.required(uri)
        if uri in people:
            reference = replace(reference, content=reference.content.rename_labels(mapping=people[uri]))
        _, parts = uem.optional(uri) or (None, None)
        return make_recording(uri, audio[uri], reference, parts, origin=origin)

    recordings = {split: tuple(recording(uri) for uri in uris) for split, uris in splits.items()}
    return Corpus(name, recordings, left_out(folder, found, audio, (rttm, uem)))


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
                several = row[2].split("-")
                roles = ["patient"] if len(several) == 1 else [f"patient_{at + 1}" for at in range(len(several))]
                named = zip(["medecin", *roles], [row[1], *several], strict=True)
                yield row[0], {role: f"simsamu_{person}" for role, person in named if person}
    except csv.Error as error:
        raise CorpusError(
            f"{path}, line {rows.line_num}: {error}: write {','.join(_SIMSAMU_COLUMNS)}, or remove the table"
        ) from error
