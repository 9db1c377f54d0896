"""Files that are made once, kept by a hash of what made them, and never seen half written."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from objectives._cache import CACHE_VARIABLE, cache_dir
from objectives.errors import AssetError


def content_key(**ingredients: Any) -> str:
    """Hash of everything that changes the answer. Values must survive JSON."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:32]


def kept_file(folder: str, name: str, make: Callable[[Path], None]) -> Path:
    """Path of `name` in a folder of the cache, made by `make(temporary path)` where it is not there yet.

    Concurrent processes make it once; a kill leaves no half file under the final name.
    Raises AssetError where the cache cannot be written.
    """
    path = cache_dir() / folder / name
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{name}.lock")):
            if not path.exists():
                _make(path, make)
    except OSError as error:
        raise AssetError(
            f"{path} cannot be kept: {error}; make room or permit writing there, "
            f"or name another folder in {CACHE_VARIABLE}"
        ) from error
    return path


def _make(path: Path, make: Callable[[Path], None]) -> None:
    # whoever holds the lock is alone: what lies here was left by a process that was killed
    for stale in path.parent.glob(f".{path.name}.*{path.suffix}"):
        stale.unlink(missing_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        make(Path(temporary))
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
