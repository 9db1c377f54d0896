"""A folder or a file that appears under its name when it is whole, or not at all."""

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from objectives.errors import BundleError, ExplorerError

AT_WORKING_DIRECTORY = -100  # AT_FDCWD of Linux
EXCHANGE = 2  # RENAME_EXCHANGE of Linux
MOST_LINKS = 40  # that lead to each other, as the system has it
REMEDIES: dict[int | None, str] = {
    errno.EACCES: "permit writing there",
    errno.EPERM: "permit writing there",
    errno.EROFS: "permit writing there",
    errno.EEXIST: "move away the file that is in the way",
    errno.ENOTDIR: "move away the file that is in the way",
    errno.ENAMETOOLONG: "take shorter names",
}


@contextmanager
def appearing(folder: Path, replace: bool, error: type[ExplorerError] = BundleError) -> Iterator[Path]:
    """A folder beside `folder` to write files into, which takes its place when everything went well.

    Folders above it are made; if the block fails, those go again. To be entered before long work, since it refuses at
    once what could not be written at the end.
    replace: what lies there goes, in one step where the system has one (Linux); otherwise whatever has appeared there
    meanwhile stays. A process that is killed leaves a hidden folder, which the next one here removes.
    Raises `error` where that cannot be written.
    """
    if os.path.ismount(folder):
        raise error(
            f"{folder} is where a disk is mounted, which nothing can take the place of: give a folder inside it"
        )
    with _parents(folder, error), _appearing(folder, replace, error) as staged:
        yield staged


@contextmanager
def _parents(folder: Path, error: type[ExplorerError]) -> Iterator[None]:
    """The folders above, for good if the block goes well."""
    missing = [above for above in folder.parents if not os.path.lexists(above)]
    try:
        with writing(folder, error):
            folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for above in missing:
            with contextlib.suppress(OSError):  # somebody else has put something there
                above.rmdir()
        raise


@contextmanager
def _appearing(folder: Path, replace: bool, error: type[ExplorerError]) -> Iterator[Path]:
    parent, name = folder.parent, folder.name
    with writing(folder, error):
        _remove_abandoned(folder)
        staged, lock = _staged(parent, name)
    try:
        yield staged
        with writing(folder, error):
            for path in staged.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)  # whoever wrote it, it is to be handed on
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
def writing(folder: Path, error: type[ExplorerError] = BundleError) -> Iterator[None]:
    """What the disk refuses becomes an `error` that names the folder."""
    try:
        yield
    except (OSError, SafetensorError) as refused:
        why = getattr(refused, "strerror", None) or refused
        remedy = REMEDIES.get(getattr(refused, "errno", None), "make room there")
        raise error(f"{folder}: cannot be written ({why}): {remedy}, or give another DIR") from refused


def refuse_unwritable(path: Path) -> None:
    """Raise OSError if `write_whole` could not write the file now, however long what goes into it takes to make."""
    if descriptor_of(path) is not None:  # open already
        return
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        return
    probe = path.with_name(f".{path.name}.try")  # as long as the name that the content has first
    try:
        probe.touch()
    finally:
        probe.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that takes its place when it is whole: whoever is killed leaves what was there before, and a hidden
    file, which the next one here replaces. A pipe, a device and a file that is open already, such as /dev/stdout, are
    written as they are. Raises OSError where it cannot be written."""
    descriptor = descriptor_of(path)
    if descriptor is not None:  # not opened anew, which would write over what went there before
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        return
    if path.exists() and not path.is_file():  # nothing can take the place of a pipe or a device
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))  # a link stays one
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(content)
        _flush(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def descriptor_of(path: Path) -> int | None:
    """The number of the open file of this process that a path stands for: 1 for /dev/stdout, 3 for /dev/fd/3; None for
    any other path."""
    folders = {Path("/dev/fd"), Path("/proc/self/fd").resolve()}
    for _ in range(MOST_LINKS):
        path = path.parent.resolve() / path.name
        if path.parent in folders and path.name.isdecimal():
            return int(path.name)
        if not os.path.islink(path):
            return None
        path = path.parent / path.readlink()
    return None


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


def _staged(parent: Path, name: str) -> tuple[Path, int | None]:
    """A new hidden folder and its lock; None where the file system has no locks."""
    while True:
        staged = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.", suffix=".part"))
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # somebody took it for abandoned: take another
            lock = _locked(staged)
            if lock is None or os.fstat(lock).st_nlink > 0:
                return staged, lock
            os.close(lock)


def _remove_abandoned(folder: Path) -> None:
    """What killed processes left: folders that nobody holds."""
    parent, hidden = folder.parent, f".{glob.escape(folder.name)}.{'?' * 8}"  # mkdtemp's, not those of `NAME.more`
    busy = False
    for path in parent.glob(f"{hidden}.part"):
        try:
            lock = _locked(path)
        except FileNotFoundError:  # another process is quicker
            continue
        except BlockingIOError:  # it is being written
            busy = True
            continue
        if lock is None:  # nobody can tell
            busy = True
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
    for old in () if busy else parent.glob(f"{hidden}.old"):
        # killed in the middle of an exchange in two steps: what lay there comes back, unless the new one was put there
        with contextlib.suppress(OSError):
            os.rename(old, folder)
        shutil.rmtree(old, ignore_errors=True)


def _locked(folder: Path) -> int | None:
    """A handle that holds a folder until it is closed; None where the file system has no locks.

    Raises BlockingIOError where somebody holds it, FileNotFoundError where it is gone.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
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
