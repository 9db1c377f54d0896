"""The machine that is measured on: its description, and the lock that keeps other work off it during a timing."""

import fcntl
import functools
import importlib.metadata
import os
import platform
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import threadpoolctl

from objectives.errors import ModelError

LOCK_VARIABLE = "EXPLORER_LOCKS"
Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)
_inside = threading.local()


def usable_cores() -> frozenset[int]:
    """Return the cores that this process may use, by number."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(usable_cores())


def describe() -> Mapping[str, str]:
    """Describe everything that decides how fast this machine runs a model. Timings with different descriptions are
    never mixed."""
    import onnxruntime  # imported late, here and below: programs that run no model use the locks too
    import torch

    return {
        "processor": processor(),
        "cores": str(cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


@functools.cache
def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def name_of(device: Device) -> str:
    """Return `cpu`, or the name of the GPU. Raises ModelError if torch finds none."""
    import torch

    if device == "cpu":
        return device
    if not torch.cuda.is_available():
        built = "this torch was built without CUDA" if torch.version.cuda is None else "no GPU is visible"
        raise ModelError(f"device 'cuda': {built}; use cpu, or install a CUDA build of torch on a machine with a GPU")
    return f"{device} {torch.cuda.get_device_name()}"


@contextmanager
def quiet() -> Iterator[None]:
    """Hold the machine exclusively: wait until every `working` block on it has ended, and let none begin."""
    _refuse_waiting_for_oneself("quiet", "working")
    with _flock("gate", fcntl.LOCK_EX), _flock("machine", fcntl.LOCK_EX):
        _inside.quiet = True
        try:
            yield
        finally:
            _inside.quiet = False


@contextmanager
def working() -> Iterator[None]:
    """Use the machine alongside other programs, until one of them wants it `quiet`. Leave often: between recordings.

    Inside another `working` block of the same thread, this does nothing: `quiet` waits for the end of the outer block.
    Inside the block, never wait for a lock whose holder may enter one.
    """
    if getattr(_inside, "working", False):
        yield
        return
    _refuse_waiting_for_oneself("working", "quiet")
    # `quiet` holds the gate while it waits, so that newcomers cannot starve it
    with _flock("gate", fcntl.LOCK_EX):
        lock = _open("machine")
        fcntl.flock(lock, fcntl.LOCK_SH)
    _inside.working = True
    try:
        yield
    finally:
        _inside.working = False
        os.close(lock)


def _refuse_waiting_for_oneself(wanted: str, had: str) -> None:
    if getattr(_inside, had, False):
        raise RuntimeError(f"`{wanted}` inside `{had}` of the same thread would wait for its own end: a bug")


@contextmanager
def _flock(name: str, kind: int) -> Iterator[None]:
    lock = _open(name)
    try:
        fcntl.flock(lock, kind)
        yield
    finally:
        os.close(lock)  # releases the lock, as the kernel does if the process is killed


def _open(name: str) -> int:
    folder = Path(os.environ.get(LOCK_VARIABLE) or tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"explorer-{name}.lock"
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        if os.fstat(lock).st_uid == os.getuid():
            os.fchmod(lock, 0o666)  # whatever the umask: every user of the machine shares the lock
    except PermissionError:  # the file is another user's, in a sticky folder that forbids O_CREAT: open it without
        lock = os.open(path, os.O_RDONLY)
    return lock


def one_blas_thread() -> None:
    """Make NumPy and SciPy multiply matrices on one thread in this process from now on.

    For processes whose labels must be the same on every machine. Call it after both are imported.
    """
    threadpoolctl.threadpool_limits(1, user_api="blas")


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Make torch compute on one thread inside the block, so that training gives the same result to the last bit."""
    import torch  # imported late: an exported operating point runs without torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# packages whose version can change a result: models, windows, features, labels, decoded audio or scores
PACKAGES = (
    "explorer", "torch", "torchao", "onnxruntime", "onnx", "numpy", "scipy", "pyannote.audio", "pyannote.core",
    "pyannote.metrics", "av", "soundfile",
)  # fmt: skip
ABSENT = "(absent)"


def versions() -> dict[str, str]:
    """Return the installed versions of Python and of the packages that decide an answer."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT
