"""List the files below a folder, and those that a corpus does not use, with the reason.

Hidden files and folders are ignored. Links are followed, to folders too; each folder is read once."""

import os
import unicodedata
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.corpora.audio.reading import AUDIO_SUFFIXES
from objectives.corpora.corpus import Remark
from objectives.corpora.folder_notes import Notes, nothing_in, uri_of
from objectives.errors import CorpusError, quoted

# audio formats that are not read: such a file counts as a recording even if no RTTM names it
OTHER_SOUND = frozenset(
    {
        *(".3g2", ".3gp", ".3gpp", ".ac3", ".aifc", ".amb", ".ape", ".asf", ".au", ".avi", ".caf", ".dss", ".ds2"),
        *(".dts", ".eac3", ".f4v", ".flv", ".gsm", ".m2ts", ".m4b", ".m4r", ".m4v", ".mkv", ".mov", ".mp2", ".mpc"),
        *(".mpeg", ".mpg", ".mpga", ".mts", ".nist", ".ogv", ".pcm", ".ra", ".raw", ".rf64", ".rm", ".sds", ".snd"),
        *(".sph", ".spx", ".tta", ".voc", ".vob", ".vox", ".w64", ".wave", ".wmv", ".wv"),
    }
)
NOTES = frozenset({".rttm", ".uem"})


@dataclass(frozen=True)
class Found:
    """The content of a folder.

    files: in the same order on every machine. unusable: everything else, and why it cannot be used, in words."""

    files: tuple[Path, ...]
    unusable: dict[Path, str]


def left_out(folder: Path, found: Found, audio: Mapping[str, Path], notes: Sequence[Notes[Any]]) -> tuple[Remark, ...]:
    """Return a remark for each recording and each file below a folder that its corpus does not use.

    audio: audio file by URI. notes: RTTM and UEM files; the first have been chosen for every recording that is used.
    """
    unread = _unusable_sound(found) | found.unusable
    lost = {uri: "no split of splits.json names it" for uri in audio if uri not in notes[0].chosen}
    reasons = _reasons_by_uri(folder, found)
    for each in notes:
        for path, uris in each.uris().items():
            for uri in uris - audio.keys():
                alone = f"{path.relative_to(folder)} mentions it, and no audio has that name"
                lost.setdefault(uri, reasons.get(uri, alone))
    for path, why in unread.items():
        if _is_sound(path) and uri_of(path) not in audio:
            lost.setdefault(uri_of(path), _named(folder, path, why))
    said = set(lost.values())
    files = {path: why for path, why in unread.items() if _named(folder, path, why) not in said}
    for each in notes:
        files |= _not_chosen(folder, each)
    return (
        *(Remark("recording", uri, lost[uri]) for uri in sorted(lost)),
        *(Remark("file", str(path.relative_to(folder)), files[path]) for path in sorted(files)),
    )


def unusable_sound(folder: Path, found: Found) -> list[str]:
    """Return what looks like audio, or like a folder of it, and cannot be used, with the reason."""
    return [_named(folder, path, why) for path, why in sorted((_unusable_sound(found) | found.unusable).items())]


def _unusable_sound(found: Found) -> dict[Path, str]:
    """Return the files whose suffix is of an audio format that is not read."""
    return {
        path: _suffix_is_unread(path)
        for path in found.files
        if _is_sound(path) and path.suffix.lower() not in AUDIO_SUFFIXES
    }


def _reasons_by_uri(folder: Path, found: Found) -> dict[str, str]:
    """Return why a recording may have no audio, by URI: a file of its name that is not read."""
    reasons: dict[str, str] = {}
    named_after = [(path, why) for path, why in found.unusable.items() if path.suffix.lower() not in NOTES]
    others = [path for path in found.files if path.suffix.lower() not in AUDIO_SUFFIXES | NOTES]
    # audio first: a transcript explains nothing
    named_after += [(path, _suffix_is_unread(path)) for path in sorted(others, key=lambda path: not _is_sound(path))]
    for path, why in named_after:
        reasons.setdefault(uri_of(path), _named(folder, path, why))
        reasons.setdefault(unicodedata.normalize("NFC", path.name), _named(folder, path, why))  # has no suffix
    return reasons


def _suffix_is_unread(path: Path) -> str:
    return f"{quoted(path.suffix)[1:-1] or 'a name without a suffix'} is not read as audio"


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES | OTHER_SOUND


def _named(folder: Path, path: Path, why: str) -> str:
    return f"{path.relative_to(folder)}: {why}"


def _not_chosen(folder: Path, notes: Notes[Any]) -> dict[Path, str]:
    """Return the files that are empty, or that name a recording for which another file is used."""
    said = {}
    for path, uris in notes.uris().items():
        if not uris:
            said[path] = nothing_in(path)
        others = {uri: notes.chosen[uri] for uri in uris if notes.chosen.get(uri, path) != path}
        if others:
            uri, chosen = min(others.items())
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            said[path] = f"for {uri}{more} another {notes.kind} is used ({chosen.relative_to(folder)})"
    return said


def found_below(folder: Path) -> Found:
    """List everything below a folder except hidden names. Raises CorpusError if the folder itself cannot be read."""
    files: list[Path] = []
    unusable: dict[Path, str] = {}
    seen: set[tuple[int, int]] = set()
    inside, linked = deque([folder]), deque[Path]()
    while inside or linked:
        # real folders first, so that a folder is listed under its own name and not under a link
        here = inside.popleft() if inside else linked.popleft()
        try:
            status = here.stat()
            if (identity := (status.st_dev, status.st_ino)) in seen:
                continue
            if seen and folder.resolve().is_relative_to(here.resolve()):
                unusable[here] = f"a link to {_target(here)}, which holds the corpus itself, is not followed"
                continue
            seen.add(identity)
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            if here == folder:
                raise CorpusError(
                    f"{folder}: cannot be read ({error.strerror}): check the path and its permissions"
                ) from error
            unusable[here] = f"the folder cannot be read ({error.strerror})"
            continue
        for entry in entries:
            path = here / entry.name
            try:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    (linked if entry.is_symlink() else inside).append(path)
                elif entry.is_file():
                    files.append(path)
                elif entry.is_symlink():
                    unusable[path] = f"a link to {_target(path)}, which is not there"
                else:
                    unusable[path] = "neither a file nor a folder"
            except OSError as error:  # a circular link, or one into a folder without permission
                unusable[path] = f"cannot be read ({error.strerror})"
    return Found(tuple(sorted(files)), unusable)  # the order of a file system differs between machines


def _target(link: Path) -> str:
    return quoted(os.readlink(link))[1:-1]
