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
    files: list[Path] = []
    unusable: dict[Path, str] = {}
    whole = folder.resolve()
    seen = {_identity(folder)}
    inside, linked = deque([folder]), deque[Path]()
    while inside or linked:
        here = inside.popleft() if inside else linked.popleft()  # a folder by its own name before a link to it
        if here.is_symlink() and here != folder:
            if (identity := _identity(here)) in seen:
                continue
            if whole.is_relative_to(here.resolve()):
                unusable[here] = f"a link to {_target(here)}, which holds the corpus itself, is not followed"
                continue
            seen.add(identity)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            if here == folder:
                raise CorpusError(f"{folder}: cannot be read ({error.strerror}): check its permissions") from error
            unusable[here] = f"the folder cannot be read ({error.strerror})"
            continue
        for entry in entries:
            path = here / entry.name
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    (linked if entry.is_symlink() else inside).append(path)
                    if not entry.is_symlink():
                        seen.add(_identity(path))
                elif entry.is_file():
                    files.append(path)
                elif entry.is_symlink():
                    unusable[path] = f"a link to {_target(path)}, which is not there"
                else:
                    unusable[path] = "neither a file nor a folder"
            except OSError as error:  # a link in a circle, or into a folder that is closed
                unusable[path] = f"cannot be read ({error.strerror})"
    return Found(tuple(sorted(files)), unusable)  # the file system's own order differs between machines


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _target(link: Path) -> str:
    return quoted(os.readlink(link))[1:-1]
