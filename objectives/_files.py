"""All that lies below a folder: files, and what is there and cannot be used as one.

Hidden files and folders are left aside. Links are followed, to folders too: each folder is read once, so a link to one
that is read anyway adds nothing, and a link in a circle ends. A link to a folder that holds the one asked for is not
followed: it would bring in what lies beside it.
"""

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from objectives.errors import CorpusError, quoted


@dataclass(frozen=True)
class Found:
    """files: in the same order on every machine. unusable: anything else, and why it cannot be used, in words."""

    files: tuple[Path, ...]
    unusable: Mapping[Path, str]


def found_below(folder: Path) -> Found:
    """All that lies below a folder, hidden names aside. Raises CorpusError if the folder itself cannot be read."""
    walk = _Walk(folder)
    while walk.inside or walk.linked:
        # a folder by its own name before a link to it
        here = walk.inside.popleft() if walk.inside else walk.linked.popleft()
        try:
            walk.read(here)
        except OSError as error:
            if here == folder:
                raise CorpusError(
                    f"{folder}: cannot be read ({error.strerror}): check the path and its permissions"
                ) from error
            walk.unusable[here] = f"the folder cannot be read ({error.strerror})"
    return Found(tuple(sorted(walk.files)), walk.unusable)  # the file system's own order differs between machines


class _Walk:
    """inside, linked: folders still to be read, by their own names and behind links. seen: those that were."""

    def __init__(self, folder: Path) -> None:
        self._whole = folder.resolve()
        self.inside, self.linked = deque([folder]), deque[Path]()
        self.files: list[Path] = []
        self.unusable: dict[Path, str] = {}
        self._seen: set[tuple[int, int]] = set()

    def read(self, folder: Path) -> None:
        """Sort what lies in a folder, unless it was read already. Raises OSError if it cannot be read."""
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
                except OSError as error:  # a link in a circle, or into a folder that is closed
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
