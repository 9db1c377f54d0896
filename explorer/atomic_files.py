"""Write a folder or a file so that it appears under its name complete, or not at all."""

import contextlib
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

MOST_LINKS = 40  # links that are followed in a row: Linux's own limit
REMEDIES: dict[int | None, str] = {
    errno.EACCES: "permit writing there",
    errno.EPERM: "permit writing there",
    errno.EROFS: "permit writing there",
    errno.ENOENT: "create the folder",
    errno.EEXIST: "move away the file that is in the way",
    errno.ENOTDIR: "move away the file that is in the way",
    errno.ENAMETOOLONG: "take shorter names",
}


@contextmanager
def appearing(folder: Path, replace: bool, error: type[ExplorerError] = BundleError) -> Iterator[Path]:
    """Yield a hidden folder beside `folder` to write files into. It is renamed to `folder` if the block succeeds.

    Missing parent folders are created, and removed again if the block fails. Enter this before long work: a place that
    cannot be written is refused at once.
    replace: replace an existing folder; otherwise a folder that has appeared there in the meantime is kept. A process
    that is killed leaves hidden folders, which the next call for the same folder removes or, if the old folder was
    moved away and the new one is not there yet, puts back.
    Raises `error` if the folder cannot be written.
    """
    if os.path.ismount(folder):
        raise error(
            f"{folder} is where a disk is mounted, which nothing can take the place of: give a folder inside it"
        )
    missing = [above for above in folder.parents if not os.path.lexists(above)]
    try:
        with writing(folder, error):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(folder)
            staged, lock = _staged(folder.parent, folder.name)
        try:
            yield staged
            with writing(folder, error):
                _put_in_place(staged, folder, replace)
        finally:
            if lock is not None:
                os.close(lock)
            shutil.rmtree(staged, ignore_errors=True)  # after a swap, this is the old folder
    except BaseException:
        for above in missing:
            with contextlib.suppress(OSError):  # another program has put something there
                above.rmdir()
        raise


def _put_in_place(staged: Path, folder: Path, replace: bool) -> None:
    for path in staged.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # readable by everybody: it will be shared
        _flush(path)
    staged.chmod(0o755)  # mkdtemp's folder is only readable by its owner
    _flush(staged)
    if replace and folder.exists():
        _swap(staged, folder)
    else:
        os.rename(staged, folder)  # replaces nothing but an empty folder
    _flush(folder.parent)


def refuse_existing(folder: Path, force: bool, what: str, marker: str, error: type[ExplorerError]) -> None:
    """Raise `error` if `folder` exists, unless `force` and it holds the file `marker` of an earlier `what`."""
    if folder.exists() and not force:
        raise error(f"{folder} exists already: give another folder, or --force to replace an earlier {what}")
    if folder.exists() and not (folder / marker).is_file():
        raise error(
            f"{folder} is not a {what} (no {marker} in it), so --force does not replace it: give another folder"
        )


@contextmanager
def writing(path: Path, error: type[ExplorerError] = BundleError, option: str = "DIR") -> Iterator[None]:
    """Turn errors of the disk inside the block into an `error` that names the path and a remedy. option: what the user
    gave the path as."""
    try:
        yield
    except (OSError, SafetensorError) as refused:
        why = getattr(refused, "strerror", None) or refused
        remedy = REMEDIES.get(getattr(refused, "errno", None), "make room there")
        raise error(f"{path}: cannot be written ({why}): {remedy}, or give another {option}") from refused


def refuse_unwritable(path: Path) -> None:
    """Raise OSError if `write_whole` could not write the file now. Call it before making content that takes long."""
    if descriptor_of(path) is not None:  # open already
        return
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        return
    probe = path.with_name(f".{path.name}.try")  # as long as the temporary name that `write_whole` uses
    try:
        probe.touch()
    finally:
        probe.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that replaces the old one only once it is complete.

    A process that is killed leaves the old file and a hidden one, which the next call replaces. A pipe, a device and a
    file that is open already, such as /dev/stdout, are written directly. Raises OSError if the file cannot be written.
    """
    descriptor = descriptor_of(path)
    if descriptor is not None:  # not opened again, which would overwrite what was written to it before
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        return
    if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced by a file
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))  # a link stays a link: its target is replaced
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(content)
        _flush(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def descriptor_of(path: Path) -> int | None:
    """Return the file descriptor of this process that a path stands for: 1 for /dev/stdout, 3 for /dev/fd/3.

    None for any other path.
    """
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
    """Exchange two folders. A kill between the two steps leaves the old one under a hidden name."""
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".old"))
    os.rename(folder, old)
    try:
        os.rename(staged, folder)
    except OSError:
        os.rename(old, folder)
        raise
    os.rename(old, staged)


def _staged(parent: Path, name: str) -> tuple[Path, int | None]:
    """Make a hidden folder. Returns it and the handle that locks it, None if the file system has no locks."""
    while True:
        staged = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.", suffix=".part"))
        # suppressed: another process took the folder for abandoned and removes it; make another one
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = _locked(staged)
            if lock is None or os.fstat(lock).st_nlink > 0:
                return staged, lock
            os.close(lock)


def _remove_abandoned(folder: Path) -> None:
    """Remove the hidden folders of killed processes: those that no process locks."""
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
        if lock is None:  # without locks there is no way to know
            busy = True
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
    for old in () if busy else parent.glob(f"{hidden}.old"):
        # a process was killed between the two steps of an exchange: restore the old folder if the new one is not there
        with contextlib.suppress(OSError):
            os.rename(old, folder)
        shutil.rmtree(old, ignore_errors=True)


def _locked(folder: Path) -> int | None:
    """Lock a folder. Returns the handle, which holds the lock until it is closed; None if the file system has no locks.

    Raises BlockingIOError if another process holds the lock, FileNotFoundError if the folder is gone.
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
    """Make sure that a file, or the list of a folder's entries, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
