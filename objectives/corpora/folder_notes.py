"""Find the RTTM (or UEM) of each recording of a folder, by the rules in `folder.py`."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from objectives.corpora.rttm import Written, is_blank
from objectives.errors import CorpusError, quoted

T = TypeVar("T")


class Notes(Generic[T]):
    """The RTTM (or UEM) files of a folder. kind: `RTTM` or `UEM`. chosen: the file of each recording found so far."""

    def __init__(
        self,
        kind: str,
        files: Iterable[Path],
        unusable: Mapping[Path, str],
        read: Callable[[Path], dict[str, Written[T]]],
        audio: Mapping[str, Path],
    ) -> None:
        """files, unusable: of the folder. audio: audio file by URI."""
        self.kind = kind
        self.chosen: dict[str, Path] = {}
        self._audio = audio
        suffix = f".{kind.lower()}"
        self._unusable = {path: why for path, why in unusable.items() if path.suffix.lower() == suffix}
        self._content = {path: read(path) for path in files if path.suffix.lower() == suffix}
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        self._by_uri: dict[str, list[Path]] = defaultdict(list)
        for path, content in self._content.items():
            self._by_stem[uri_of(path)].append(path)
            for uri in content:
                self._by_uri[uri].append(path)

    def uris(self) -> dict[Path, frozenset[str]]:
        """Return the URIs in each file, spelt as their audio file if there is one."""
        written_as = {"_".join(uri.split()): uri for uri in self._audio} | {uri: uri for uri in self._audio}
        return {path: frozenset(written_as.get(uri, uri) for uri in content) for path, content in self._content.items()}

    def required(self, uri: str) -> tuple[Path, Written[T]]:
        """Return the file of a recording and what it says of it. Raises CorpusError if there is none."""
        found = self.optional(uri)
        if found is None:
            unusable = "".join(f" ({path}: {why})" for path, why in self._unusable.items() if uri_of(path) == uri)
            raise CorpusError(
                f"{self._audio[uri]}: no {self.kind} mentions {uri!r}{unusable}: put {uri}.{self.kind.lower()} beside "
                "it or into a folder of its own next to it, or remove the audio"
            )
        return found

    def optional(self, uri: str) -> tuple[Path, Written[T]] | None:
        """Return the file of a recording and what it says of it; None without such a file.

        Raises CorpusError if there are several, or if it is empty or about other recordings."""
        audio = self._audio[uri]
        # a URI with spaces is written with underscores, unless another recording has that URI
        plain = "_".join(uri.split())
        plain = uri if plain in self._audio else plain
        named = self._by_stem.get(uri, [])
        candidates = [path for path in named if path.parent == audio.parent] or named
        candidates = candidates or self._by_uri.get(uri, []) or self._by_uri.get(plain, [])
        if not candidates:
            return None
        if len(candidates) > 1:
            raise CorpusError(
                f"{audio}: {candidates[0]} and {candidates[1]} both mention {uri!r}: "
                f"keep one {self.kind} for a recording"
            )
        path = candidates[0]
        content = self._content[path]
        if not content:
            what = f"what {audio} holds, or remove both"
            if self.kind == "UEM":
                what = f"which parts of {audio} are annotated, or remove the UEM"
            raise CorpusError(f"{path}: {nothing_in(path)}: write down {what}")
        name = uri if uri in content else plain
        if name not in content:
            others = ", ".join(quoted(other) for other in list(content)[:3])
            raise CorpusError(
                f"{path}: mentions {others} but not {uri!r}, whose audio is {audio}: "
                f"correct the URIs in the {self.kind} or the name of the file"
            )
        self.chosen[uri] = path
        return path, content[name]


def uri_of(path: Path) -> str:
    """Return the URI that the name of a file implies."""
    # some file systems return accents decomposed; RTTM files are normalised in the same way
    return unicodedata.normalize("NFC", path.stem)


def nothing_in(path: Path) -> str:
    """Describe how an RTTM or UEM file is empty."""
    if is_blank(path):
        return "is empty"
    return "has no SPEAKER line" if path.suffix.lower() == ".rttm" else "has no part in it"
