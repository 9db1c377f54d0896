"""A folder that appears under its name when it is whole, or not at all."""

import contextlib
import ctypes
import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from objectives.errors import BundleError

AT_WORKING_DIRECTORY = -100  # AT_FDCWD of Linux
EXCHANGE = 2  # RENAME_EXCHANGE of Linux
SETTLED = 60.0  # seconds after which whoever made a folder has locked it


@contextmanager
def appearing(folder: Path, replace: bool) -> Iterator[Path]:
    """A folder beside `folder` to write files into, which takes its place when everything went well.

    replace: what lies there goes, in one step where the system has one (Linux); otherwise whatever has appeared there
    meanwhile stays. A process that is killed leaves a hidden folder, which the next one here removes.
    Raises BundleError where that cannot be written.
    """
    parent, name = folder.parent, folder.name
    with writing(folder):
        _remove_abandoned(parent, name)
        staged = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.", suffix=".part"))
    lock = _locked(staged)
    try:
        yield staged
        with writing(folder):
            for path in staged.iterdir():
                path.chmod(0o644)  # whoever wrote it, bundles are to be handed on
                _flush(path)
            staged.chmod(0o755)  # mkdtemp's is for its owner alone
            _flush(staged)
            if replace and folder.exists():
                _swap(staged, folder)
            else:
                os.rename(staged, folder)  # over an empty folder at most
            _flush(parent)
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(staged, ignore_errors=True)  # after a swap, what lay there before


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the disk refuses becomes a BundleError that names the folder."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{folder}: cannot be written ({error}): make room there, or give another DIR") from error


def _swap(staged: Path, folder: Path) -> None:
    """Exchange two folders. Where it takes two steps, a kill between them leaves the old one hidden beside."""
    if _exchanged(staged, folder):
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".old"))
    os.rename(folder, old)
    try:
        os.rename(staged, folder)
    except OSError:
        os.rename(old, folder)
        raise
    os.rename(old, staged)


def _exchanged(one: Path, other: Path) -> bool:
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return rename(AT_WORKING_DIRECTORY, bytes(one), AT_WORKING_DIRECTORY, bytes(other), EXCHANGE) == 0


def _remove_abandoned(parent: Path, name: str) -> None:
    """What killed processes left: folders that nobody holds."""
    for path in parent.glob(f".{glob.escape(name)}.*.part"):
        with contextlib.suppress(FileNotFoundError):  # another process is quicker
            if abs(time.time() - path.stat().st_mtime) < SETTLED:  # a clock that was set back makes the past the future
                continue
            if (lock := _locked(path)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """A handle that holds a folder until it is closed; None where somebody holds it, or nobody can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _flush(path: Path) -> None:
    """Make sure that a file, or what a folder holds, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
