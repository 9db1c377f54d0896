"""Small and read-only disks for one test each, in a process that sees them alone and takes them along when it ends."""

import ctypes
import errno
import multiprocessing
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

FORK = multiprocessing.get_context("fork")
PATIENCE = 300.0
NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER of Linux
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 32, 4096, 16384, 1 << 18  # MS_* of Linux
FILLER = ".filler"


def on_small_disk(folder: Path, size: str, body: Callable[[Path], None]) -> None:
    """Run `body(folder)` in a forked process in which the folder is a disk of this size (`256k`, `1m`).

    Skips the test where nobody may mount one; fails it instead where CI or EXPLORER_REQUIRE_TMPFS is set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _apart(lambda: _mount("tmpfs", folder, "tmpfs", 0, f"size={size}"), lambda: body(folder))


def on_read_only(folder: Path, body: Callable[[Path], None]) -> None:
    """Run `body(folder)` in a forked process in which the folder can only be read, by root too. See on_small_disk."""

    def mount() -> None:
        _mount(str(folder), folder, None, BIND)
        _mount(str(folder), folder, None, BIND | REMOUNT | READ_ONLY)

    _apart(mount, lambda: body(folder))


def fill(disk: Path) -> None:
    """Leave not a byte."""
    with (disk / FILLER).open("ab", buffering=0) as file:
        for size in (2**16, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def make_room(disk: Path) -> None:
    """Undo `fill`."""
    (disk / FILLER).unlink()


def _apart(mount: Callable[[], None], body: Callable[[], None]) -> None:
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_run, args=(theirs, mount, body))
    process.start()
    theirs.close()
    try:
        why, told = ours.recv() if ours.poll(PATIENCE) else ("failed", f"no answer within {PATIENCE:g} s")
    except EOFError:
        process.join()
        why, told = "failed", f"the process died with {process.exitcode}"
    process.kill()
    process.join()
    if why == "unable":
        required = {"CI", "EXPLORER_REQUIRE_TMPFS"} & os.environ.keys()
        assert not required, f"a disk cannot be mounted here: {told}"
        pytest.skip(f"a disk cannot be mounted here: {told}")
    if why == "failed":
        pytest.fail(told, pytrace=False)


def _run(pipe: Connection, mount: Callable[[], None], body: Callable[[], None]) -> None:
    try:
        _see_mounts_alone()
        mount()
    except OSError as error:
        pipe.send(("unable", str(error)))
        return
    try:
        body()
    except BaseException:  # noqa: BLE001 — an assertion, whatever it is: the parent tells it
        pipe.send(("failed", traceback.format_exc()))
    else:
        pipe.send(("passed", ""))


def _see_mounts_alone() -> None:
    """What is mounted from now on, only this process and its children see. As root, or as the root of a name space."""
    user, group = os.getuid(), os.getgid()
    try:
        _call("unshare", NEW_MOUNTS)
    except PermissionError:
        _call("unshare", NEW_MOUNTS | NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount("none", Path("/"), None, RECURSIVE | PRIVATE)


def _mount(source: str, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    _call("mount", source.encode(), bytes(target), kind and kind.encode(), ctypes.c_ulong(flags), options.encode())


def _call(name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"this system has no {name}")
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
