"""Files that are made once, kept by a hash of what made them, and never seen half written."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from objectives._cache import cache_dir


def content_key(**ingredients: Any) -> str:
    """Hash of everything that changes the answer. Values must survive JSON."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:32]


def kept_file(folder: str, name: str, make: Callable[[Path], None]) -> Path:
    """Path of `name` in a folder of the cache, made by `make(temporary path)` where it is not there yet.

    Concurrent processes make it once; a kill leaves no half file under the final name.
    """
    path = cache_dir() / folder / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{name}.lock")):
        if not path.exists():
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{name}.", suffix=path.suffix)
            os.close(handle)
            try:
                make(Path(temporary))
                os.replace(temporary, path)
            finally:
                Path(temporary).unlink(missing_ok=True)
    return path
