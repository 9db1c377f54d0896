"""Files that are made once, named by a hash of their ingredients, and never seen half written."""

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
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from objectives.backends.library_errors import ran_out_of_memory
from objectives.errors import AssetError

T = TypeVar("T")
# Hold it while reading a NumPy file: NumPy parses the header with `ast`, which occasionally fails if two threads do so
# at once ("AST constructor recursion depth mismatch", python/cpython#106905, in Python 3.11)
reading_arrays = threading.Lock()


def content_key(**ingredients: Any) -> str:
    """Return a hash of everything that changes the result. Values must survive JSON."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:32]


def kept_file(folder: str, name: str, make: Callable[[Path], None]) -> Path:
    """Return the path of `name` in a folder of the cache, made by `make(temporary path)` if it does not exist.

    Concurrent processes make it once. A kill leaves no incomplete file under the final name.
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
    """Write a NumPy file of rows of this shape, part by part. A part is one row, or (rows, …).

    Raises OSError if the disk is full. NumPy's own functions do not: `save` only reports how much was written, and
    writing to a mapped file kills the process.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (0, *row)})
        begins, items = file.tell(), 0
        for part in parts:
            assert part.shape[part.ndim - len(row) :] == row, f"a part of {part.shape} for rows of {row}"
            file.write(np.ascontiguousarray(part, dtype).data)
            items += part.size
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (items // math.prod(row), *row)})
        assert file.tell() == begins, "NumPy leaves room in the header for any number of rows"


def lock_of(path: Path) -> FileLock:
    """Return the lock that is held while a file is made."""
    return FileLock(path.with_name(f".{path.name}.lock"))


@contextmanager
def if_free(lock: FileLock) -> Iterator[bool]:
    """Hold a lock inside the block if no other process does, and yield whether it is held."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def held(lock: FileLock, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock, after a call of `on_wait` if another process holds it."""
    with if_free(lock) as free:
        if not free:
            on_wait()
        with lock:
            yield


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn disk errors while `path` is written into an AssetError with the remedy."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors raises its own error for a full disk
        if ran_out_of_memory(error):
            raise
        raise AssetError(
            f"{path} cannot be kept: {error}; make room or permit writing there, "
            f"or name another folder in {CACHE_VARIABLE}"
        ) from error


def make_in_place(path: Path, make: Callable[[Path], T]) -> T:
    """Call `make(temporary path)`, move the file to `path` and return the result. The caller must hold the lock."""
    # nobody else writes while the lock is held, so these were left by a killed process
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
    """Return the root of the cache: EXPLORER_CACHE if it is set, else the user's cache directory. It may not exist."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    return platformdirs.user_cache_path("explorer", appauthor=False)


def windows_dir(model_key: str) -> Path:
    """Return the folder of the window classes that a model predicted. It may not exist."""
    return cache_dir() / "windows" / model_key
