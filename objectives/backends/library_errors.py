"""Which errors of libraries mean that an operating point could not be measured: decided here and nowhere else.

Memory that ran out and a GPU that failed are nobody's bug: they fail the trial, with their reason. Libraries raise them
as bare RuntimeErrors and the like, so they are told by what they say. Anything else stays what it is, a bug.
"""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from objectives.errors import DeviceError, EvaluationError

_EXHAUSTED = (  # what torch, ONNX Runtime, cuDNN, cuBLAS, C++ and Python say
    "can't allocate memory",
    "failed to allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "alloc_failed",
    "can't start new thread",
)
_GPU = ("cuda error", "cudnn error", "cudnn_status_", "cublas_status_", "cuda driver error", "device-side assert")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of a GPU, did not suffice."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (_of_a_library(error) and _says(error, _EXHAUSTED))


def gpu_failed(error: BaseException) -> bool:
    """Whether an error says that something went wrong on a GPU, its memory running out aside."""
    return _of_a_library(error) and _says(error, _GPU) and not ran_out_of_memory(error)


@contextmanager
def failing_the_trial(what: str, let_go: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Turns memory that ran out and a GPU that failed into an EvaluationError that begins with `what`.

    let_go: called where memory ran out, to give back what is kept only for speed.
    Raises DeviceError if the GPU will serve this process no more.
    """
    try:
        yield
    except Exception as error:  # libraries raise bare RuntimeErrors; what is not known here goes on as it was
        if ran_out_of_memory(error):
            let_go()
            raise EvaluationError(
                f"{what}: memory ran out ({_first_line(error)}): evaluate fewer trials at once (--jobs), or give it "
                "more memory"
            ) from error
        if gpu_failed(error) and _gpu_is_lost():
            raise DeviceError(
                f"{what}: the GPU failed ({_first_line(error)}), and after such an error it serves this process no "
                "more: run the same command again, which goes on where this one stopped; where it comes back, try "
                "device cpu"
            ) from error
        if gpu_failed(error):
            raise EvaluationError(f"{what}: the GPU failed ({_first_line(error)}); try device cpu") from error
        raise


def finite(values: np.ndarray, what: str) -> np.ndarray:
    """The same values. Raises EvaluationError beginning with `what` if one of them is NaN or infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum()  # one of them tells of all; where they are too large to be added up, each is looked at
    if not np.isfinite(total) and not (known := np.isfinite(values)).all():
        raise EvaluationError(
            f"{what}: {values.size - int(known.sum())} of {values.size} values are NaN or infinite, and nothing can be "
            "told from them"
        )
    return values


def _of_a_library(error: BaseException) -> bool:
    """torch raises RuntimeErrors; ONNX Runtime exceptions of its own, which have nothing but Exception in common."""
    return isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    said = str(error).lower()
    return any(each in said for each in words)


def _first_line(error: BaseException) -> str:
    """What an error says, short enough for a table: CUDA's go on with advice for programmers."""
    said = (str(error) or type(error).__name__).strip().splitlines()[0]
    return said if len(said) <= 300 else f"{said[:140]} … {said[-140:]}"


def _gpu_is_lost() -> bool:
    """Whether the GPU refuses this process whatever it asks: after an illegal access its context is gone."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
