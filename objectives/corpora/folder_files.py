"""List the files below a folder, and those that a corpus does not use, with the reason.

Hidden files and folders are ignored. Links are followed, to folders too; each folder is read once."""

import os
import unicodedata
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from objectives.corpora.audio.reading import AUDIO_SUFFIXES
from objectives.corpora.remarks import Remark
from objectives.corpora.rttm import is_blank
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
class Mentions:
    """The URIs in the RTTM (or UEM) files of a folder.

    uris: by file, each spelt as its audio file if there is one. chosen: the file used for each recording."""

    kind: str
    uris: Mapping[Path, Collection[str]]
    chosen: Mapping[str, Path]


@dataclass(frozen=True)
class Found:
    """The content of a folder.

    files: in the same order on every machine. unusable: everything else, and why it cannot be used, in words."""

    files: tuple[Path, ...]
    unusable: Mapping[Path, str]


def left_out(
    folder: Path, found: Found, audio: Mapping[str, Path], used: Collection[str], notes: Iterable[Mentions]
) -> tuple[Remark, ...]:
    """Return a remark for each recording and each file below a folder that its corpus does not use.

    audio: audio file by URI. used: URIs of the corpus' recordings.
    """
    notes = tuple(notes)
    unread = {**_unread(found), **found.unusable}
    lost = {uri: "no split of splits.json names it" for uri in audio if uri not in used}
    for mentions in notes:
        _without_audio(lost, folder, found, audio, mentions)
    for path, why in unread.items():
        if _is_sound(path) and uri_of(path) not in audio:
            lost.setdefault(uri_of(path), _named(folder, path, why))
    said = set(lost.values())
    files = {path: why for path, why in unread.items() if _named(folder, path, why) not in said}
    for mentions in notes:
        files |= _not_chosen(folder, mentions)
    return (
        *(Remark("recording", uri, lost[uri]) for uri in sorted(lost)),
        *(Remark("file", str(path.relative_to(folder)), files[path]) for path in sorted(files)),
    )


def uri_of(path: Path) -> str:
    """Return the URI that the name of a file implies."""
    # some file systems return accents decomposed; RTTM files are normalised in the same way
    return unicodedata.normalize("NFC", path.stem)


def unusable_sound(folder: Path, found: Found) -> list[str]:
    """Return the files that look like audio and cannot be used, with the reason."""
    return [
        _named(folder, path, why)
        for path, why in sorted({**_unread(found), **found.unusable}.items())
        if _is_sound(path) or path in found.unusable
    ]


def _without_audio(
    lost: dict[str, str], folder: Path, found: Found, audio: Mapping[str, Path], mentions: Mentions
) -> None:
    """Add the recordings that RTTM or UEM files name and that have no audio."""
    reasons = _reasons_by_uri(folder, found)
    for path, uris in mentions.uris.items():
        for uri in uris:
            if uri not in audio:
                alone = f"{path.relative_to(folder)} speaks of it, and no audio has that name"
                lost.setdefault(uri, reasons.get(uri, alone))


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


def nothing_in(path: Path) -> str:
    """Describe how an RTTM or UEM file is empty."""
    if is_blank(path):
        return "is empty"
    return "has no SPEAKER line" if path.suffix.lower() == ".rttm" else "has no part in it"


def _unread(found: Found) -> dict[Path, str]:
    return {
        path: _suffix_is_unread(path)
        for path in found.files
        if _is_sound(path) and path.suffix.lower() not in AUDIO_SUFFIXES
    }


def _suffix_is_unread(path: Path) -> str:
    return f"{quoted(path.suffix)[1:-1] or 'a name without a suffix'} is not read as audio"


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES | OTHER_SOUND


def _named(folder: Path, path: Path, why: str) -> str:
    return f"{path.relative_to(folder)}: {why}"


def _not_chosen(folder: Path, mentions: Mentions) -> dict[Path, str]:
    """Return the files that are empty, or that name a recording for which another file is used."""
    said = {}
    for path, uris in mentions.uris.items():
        if not uris:
            said[path] = nothing_in(path)
        others = {uri: mentions.chosen[uri] for uri in uris if mentions.chosen.get(uri, path) != path}
        if others:
            uri, chosen = min(others.items())
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            said[path] = f"for {uri}{more} another {mentions.kind} is taken ({chosen.relative_to(folder)})"
    return said


def found_below(folder: Path) -> Found:
    """List everything below a folder except hidden names. Raises CorpusError if the folder itself cannot be read."""
    walk = _Walk(folder)
    while walk.inside or walk.linked:
        # real folders first, so that a folder is listed under its own name and not under a link
        here = walk.inside.popleft() if walk.inside else walk.linked.popleft()
        try:
            walk.read(here)
        except OSError as error:
            if here == folder:
                raise CorpusError(
                    f"{folder}: cannot be read ({error.strerror}): check the path and its permissions"
                ) from error
            walk.unusable[here] = f"the folder cannot be read ({error.strerror})"
    return Found(tuple(sorted(walk.files)), walk.unusable)  # the order of a file system differs between machines


class _Walk:
    """A walk through a folder. inside, linked: real and linked folders still to be read."""

    def __init__(self, folder: Path) -> None:
        self._whole = folder.resolve()
        self.inside, self.linked = deque([folder]), deque[Path]()
        self.files: list[Path] = []
        self.unusable: dict[Path, str] = {}
        self._seen: set[tuple[int, int]] = set()

    def read(self, folder: Path) -> None:
        """Sort the entries of a folder, unless it was read before. Raises OSError if it cannot be read."""
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen:
            return
        if self._seen and self._whole.is_relative_to(folder.resolve()):
            self.unusable[folder] = f"a link to {_target(folder)}, which holds the corpus itself, is not followed"
            return
        self._seen.add(identity)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if not entry.name.startswith("."):
                try:
                    self._sort(folder / entry.name, entry)
                except OSError as error:  # a circular link, or one into a folder without permission
                    self.unusable[folder / entry.name] = f"cannot be read ({error.strerror})"

    def _sort(self, path: Path, entry: "os.DirEntry[str]") -> None:
        if entry.is_dir():
            (self.linked if entry.is_symlink() else self.inside).append(path)
        elif entry.is_file():
            self.files.append(path)
        elif entry.is_symlink():
            self.unusable[path] = f"a link to {_target(path)}, which is not there"
        else:
            self.unusable[path] = "neither a file nor a folder"


def _target(link: Path) -> str:
    return quoted(os.readlink(link))[1:-1]
