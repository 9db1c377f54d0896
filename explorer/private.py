"""What must not be shown or kept: passwords in database URLs, and where files lie."""

import re
from pathlib import Path

from objectives._cache import cache_dir

# an absolute path in a message: slashes that begin a word
_PATH = re.compile(r"(?<![\w.~])(?:[A-Za-z]:|~)?(?:[\\/]+[^\s\\/:'\"`,;()\[\]]+)+[\\/]?")
_SECRET = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def without_paths(text: str) -> str:
    """A message with every absolute path cut down to its last name: where files lie is nobody else's business."""
    for folder in (cache_dir(), Path.home()):  # whose names may hold spaces, which end a path below
        if folder != Path("/"):
            text = text.replace(f"{folder}/", "/")
    return _PATH.sub(lambda found: re.split(r"[\\/]+", found.group().rstrip("\\/"))[-1], text)


def without_password(url: str) -> str:
    """A database URL for people, also one that is misspelt: `***` where the password was."""
    login, at, rest = url.rpartition("@")
    if at and not url.startswith("sqlite"):  # whose paths may hold an @
        scheme, slashes, user = login.partition("//")
        name, colon, _ = user.partition(":")
        shown = f"{scheme}//{name}" if slashes else ""
        url = f"{shown}{':***' if colon or not slashes else ''}@{rest}"
    return _SECRET.sub(r"\1***", url)
