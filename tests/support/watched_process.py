"""Commands without a network and with an empty home, and strace's record of each connection and each new file."""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from objectives.cache.assets import assets_dir
from objectives.cache.files import CACHE_VARIABLE
from objectives.cache.model_store import models_dir

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = "EXPLORER_REQUIRE_STRACE"
SENDING = ("connect", "sendto", "sendmsg", "sendmmsg")
MAKING = ("open", "openat", "openat2", "creat", "mkdir", "mkdirat", "mknod", "mknodat")
MAKING += ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat")
STRACE = ("strace", "--follow-forks", "--seccomp-bpf", "--quiet=all", "--decode-fds=path", "--signal=none")
# Of /dev and /proc nothing stays; Python's own bytecode is no news.
HARMLESS = re.compile(r"/dev/|/proc/|.*/__pycache__(/|$)")
DNS = 53
RESOLVER = 'sun_path="/run/systemd/resolve/'  # of systemd: it asks others on behalf of who connects to it
# `unshare` brings a loopback interface that is switched off.
UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Place:
    """Folders that a command is given: the working folder, the cache, the temporary one, and a home."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "folder"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def temporary(self) -> Path:
        return self.root / "temporary"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def named(self) -> tuple[Path, ...]:
        """Where a command may leave files."""
        return (self.folder, self.cache, self.temporary, assets_dir(), models_dir())

    @property
    def environment(self) -> dict[str, str]:
        """Nothing else is inherited: CI, for one, would switch off what is looked for."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
        own = {"HOME": self.home, "TMPDIR": self.temporary, CACHE_VARIABLE: self.cache, "PYTHONPATH": ROOT}
        return kept | {name: str(path) for name, path in own.items()}


def place(root: Path) -> Place:
    """Make the folders. What takes long and is made of no recording here, assets and models, is shared."""
    made = Place(root.resolve())
    for path in (made.folder, made.cache, made.temporary, made.home):
        path.mkdir(parents=True)
    models_dir().mkdir(parents=True, exist_ok=True)
    for shared in (assets_dir(), models_dir()):
        (made.cache / shared.name).symlink_to(shared)
    return made


def isolation() -> list[str]:
    """What gives a command no network but a loopback, where this machine can; libraries in C do not ask Python."""
    words = ["unshare", "--map-root-user", "--net"]
    return [*words, sys.executable, "-c", UP] if _works(*words) else []


def can_trace() -> bool:
    """Whether strace works here."""
    return _works(*STRACE, f"--output={os.devnull}", f"--trace={','.join(SENDING)}")


def require_strace() -> None:
    """Skip the test, or fail if strace is required, unless it works here."""
    if can_trace():
        return
    assert REQUIRED not in os.environ, "strace is not installed, or may not trace"
    pytest.skip("strace is not installed, or may not trace: apt-get install strace")


def run(
    words: Sequence[str], where: Place, environment: Mapping[str, str], log: Path | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run Python apart from everything, in the working folder. log: where strace writes; None runs without it."""
    calls = ",".join(f"?{name}" for name in (*SENDING, *MAKING, "chdir"))  # ?: not every processor has all
    tracing = [] if log is None else [*STRACE, f"--output={log}", f"--trace={calls}"]
    return subprocess.run(
        [*tracing, *isolation(), sys.executable, *words],
        cwd=where.folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def connections(log: Path) -> list[str]:
    """Calls that reach for another machine, look-ups of names included, whether or not they got there."""
    return [call for call in _calls(log) if call.partition("(")[0] in SENDING and _is_beyond(call)]


def strays(log: Path, where: Place) -> list[str]:
    """Paths that were made outside the named folders, removed since or not."""
    made = {_target(call, where.folder) for call in _calls(log) if _makes(call)}
    return sorted(path for path in made if not HARMLESS.match(path) and not _is_inside(path, where.named))


def _works(*words: str) -> bool:
    return shutil.which(words[0]) is not None and not subprocess.run([*words, "true"], capture_output=True).returncode


def _calls(log: Path) -> Iterator[str]:
    """Each call with its result; those that another process interrupted are put together, if they ever ended."""
    begun: dict[str, str] = {}
    with log.open(errors="replace") as lines:
        for line in lines:
            process, call = line.rstrip("\n").split(maxsplit=1)
            if call.endswith("<unfinished ...>"):
                begun[process] = call.removesuffix("<unfinished ...>")
            elif call.startswith("<... "):
                yield begun.pop(process) + call.partition("resumed>")[2]
            else:
                yield call
    yield from begun.values()


def _is_beyond(call: str) -> bool:
    if RESOLVER in call:
        return True
    found = re.findall(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"', call)
    return any(int(port) == DNS or not ipaddress.ip_address(address).is_loopback for port, address in found)


def _makes(call: str) -> bool:
    name = call.partition("(")[0]
    if " = -1 " in call or name not in (*MAKING, "chdir"):
        return False
    return not name.startswith("open") or "O_CREAT" in call


def _target(call: str, folder: Path) -> str:
    """The path that a call makes: its last one, relative to a folder that was opened, or to the working folder."""
    opened, path = re.findall(r'(?:<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', call)[-1]
    return os.path.normpath(os.path.join(opened or folder, path))


def _is_inside(path: str, folders: Sequence[Path]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)
