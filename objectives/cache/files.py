"""Files that are made once, kept by a hash of what made them, and never seen half written."""

import hashlib
import json
import math
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import platformdirs
from filelock import FileLock
from safetensors import SafetensorError

from objectives.backends.library_errors import ran_out_of_memory
from objectives.errors import AssetError

T = TypeVar("T")
# Held by whoever reads a NumPy file: NumPy parses its header with `ast`, which fails now and then where two threads do
# so at once ("AST constructor recursion depth mismatch", python/cpython#106905, in Python 3.11)
reading_arrays = threading.Lock()


def content_key(**ingredients: Any) -> str:
    """Hash of everything that changes the answer. Values must survive JSON."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:32]


def kept_file(folder: str, name: str, make: Callable[[Path], None]) -> Path:
    """Path of `name` in a folder of the cache, made by `make(temporary path)` where it is not there yet.

    Concurrent processes make it once; a kill leaves no half file under the final name.
    Raises AssetError if the cache cannot be written.
    """
    path = cache_dir() / folder / name
    if path.exists():
        return path
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_of(path):
            if not path.exists():
                make_in_place(path, make)
    return path


def write_array(path: Path, parts: Iterable[np.ndarray], row: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Write a NumPy file of rows of this shape, part after part: a row each, or (rows, …), as many as come. Raises
    OSError if the disk is full.

    NumPy's own ways do not say so: `save` tells how much was written, and a file that is mapped ends the process.
    """
    told = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**told, "shape": (0, *row)})
        begins, items = file.tell(), 0
        for part in parts:
            assert part.shape[part.ndim - len(row) :] == row, f"a part of {part.shape} for rows of {row}"
            file.write(np.ascontiguousarray(part, dtype).data)
            items += part.size
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, {**told, "shape": (items // math.prod(row), *row)})
        assert file.tell() == begins, "NumPy leaves room in the header for any number of rows"


def lock_of(path: Path) -> FileLock:
    """The lock that whoever makes a file holds."""
    return FileLock(path.with_name(f".{path.name}.lock"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the disk refuses while `path` is written into an AssetError with the remedy."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors' own for what the disk refuses
        if ran_out_of_memory(error):
            raise
        raise AssetError(
            f"{path} cannot be kept: {error}; make room or permit writing there, "
            f"or name another folder in {CACHE_VARIABLE}"
        ) from error


def make_in_place(path: Path, make: Callable[[Path], T]) -> T:
    """What `make(temporary path)` returns, once its file lies at `path`. For the holder of the lock alone."""
    # whoever holds the lock is alone: what lies here was left by a process that was killed
    for stale in path.parent.glob(f".{path.name}.*{path.suffix}"):
        stale.unlink(missing_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        made = make(Path(temporary))
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return made


CACHE_VARIABLE = "EXPLORER_CACHE"


def cache_dir() -> Path:
    """Root of the cache: the folder that EXPLORER_CACHE names, else the user's cache directory. It may not exist."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    return platformdirs.user_cache_path("explorer", appauthor=False)


def windows_dir(model_key: str) -> Path:
    """Where the classes of windows are kept that a model has run. It may not exist."""
    return cache_dir() / "windows" / model_key
