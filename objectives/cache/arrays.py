"""Arrays that are computed once and kept: memory-mapped, and used only if their checksum matches.

`NAME.npy.crc32` beside `NAME.npy` holds the checksum of its bytes. Each process verifies it once, and computes a
damaged array again. Arrays from versions without checksums get one when they are first read.
"""

import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from objectives.cache.files import kept_file, lock_of, make_in_place, reading_arrays, writing

BLOCK = 2**20
# all that NumPy and its header parsers are known to raise for a damaged file
DAMAGE = (
    OSError, ValueError, KeyError, EOFError, OverflowError, MemoryError, NotImplementedError, RuntimeError, SyntaxError,
    TypeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
# (path, time of modification, bytes, inode) of arrays that this process has verified
_checked: set[tuple[str, int, int, int]] = set()


def kept_array(folder: str, name: str, make: Callable[[Path], None]) -> np.ndarray:
    """Return the array that `make(temporary path)` writes, mapped read-only from `name` in a folder of the cache.

    `make` is called if the array does not exist, and again, with a warning, if it is damaged. Concurrent processes make
    it once.
    Raises AssetError if the cache cannot be written.
    """

    def make_both(path: Path) -> None:
        make(path)
        final = path.parent / name
        # written first: a kill in between leaves a checksum without an array, which does no harm
        make_in_place(_checksum(final), lambda sum_path: sum_path.write_text(_crc32(path)))

    path = kept_file(folder, name, make_both)
    try:
        return _mapped(path)
    except DAMAGE as error:
        warnings.warn(f"{path} is damaged ({error}): it is made again", RuntimeWarning, stacklevel=3)
    with writing(path), lock_of(path):
        try:
            return _mapped(path)  # another process may have made it again
        except DAMAGE:
            make_in_place(path, make_both)
    return _mapped(path)


def _mapped(path: Path) -> np.ndarray:
    """Map an array. Raises one of DAMAGE if the file is not what was written."""
    at = path.stat()
    stamp = (str(path), at.st_mtime_ns, at.st_size, at.st_ino)
    if stamp not in _checked:
        _check(path)
    with reading_arrays:
        kept: np.ndarray = np.load(path, mmap_mode="r")
    assert isinstance(kept, np.memmap)
    if kept.offset + kept.nbytes != at.st_size:
        raise ValueError(f"it has {at.st_size} bytes, and its header says {kept.offset + kept.nbytes}")
    _checked.add(stamp)
    return kept


def _check(path: Path) -> None:
    known, found = _checksum(path), _crc32(path)
    if not known.exists():
        with reading_arrays:
            np.load(path, mmap_mode="r")  # raises if the file is unreadable, which gets no checksum
        if os.access(path.parent, os.W_OK):
            make_in_place(known, lambda sum_path: sum_path.write_text(found))
    elif known.read_text(encoding="ascii", errors="replace") != found:
        raise ValueError("its bytes are not those that were written")


def _checksum(path: Path) -> Path:
    return path.with_name(f"{path.name}.crc32")


def _crc32(path: Path) -> str:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return f"{checksum:08x}"
