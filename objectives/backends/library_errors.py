"""Decide which errors of libraries fail a trial instead of stopping the study.

Running out of memory and a failing GPU are not bugs: they fail the trial, with their reason. Libraries report them as
plain RuntimeErrors and the like, so they are recognised by their messages. Any other error is a bug, and propagates.
"""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from objectives.errors import DeviceError, EvaluationError

_EXHAUSTED = (  # messages of torch, ONNX Runtime, cuDNN, cuBLAS, C++ and Python
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
    """Return whether an error reports that memory ran out, on the machine or on a GPU."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or _a_library_says(error, _EXHAUSTED)


@contextmanager
def failing_the_trial(what: str, let_go: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Turn running out of memory and a GPU failure into an EvaluationError that begins with `what`.

    let_go: called if memory ran out, to free what is kept only for speed.
    Raises DeviceError if this process can no longer use the GPU.
    """
    try:
        yield
    except Exception as error:  # libraries raise plain RuntimeErrors; other errors propagate unchanged
        if ran_out_of_memory(error):
            let_go()
            raise EvaluationError(
                f"{what}: memory ran out ({_first_line(error)}): evaluate fewer trials at once (--jobs), or give it "
                "more memory"
            ) from error
        if _a_library_says(error, _GPU):
            failed = f"{what}: the GPU failed ({_first_line(error)})"
            if _gpu_is_lost():
                raise DeviceError(
                    f"{failed}, and after such an error it serves this process no more: run the same command again, "
                    "which goes on where this one stopped; if it happens again, try device cpu"
                ) from error
            raise EvaluationError(f"{failed}; try device cpu") from error
        raise


def finite(values: np.ndarray, what: str) -> np.ndarray:
    """Return the same values. Raises EvaluationError, beginning with `what`, if one of them is NaN or infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum()  # a quick check; the sum may also overflow, so each value is checked if it is not finite
    if not np.isfinite(total) and not (known := np.isfinite(values)).all():
        raise EvaluationError(
            f"{what}: {values.size - int(known.sum())} of {values.size} values are NaN or infinite, so that nothing "
            "can be concluded from them"
        )
    return values


def _a_library_says(error: BaseException, phrases: tuple[str, ...]) -> bool:
    """Return whether a library's error has one of the phrases. Those of ONNX Runtime derive from Exception itself."""
    raised = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")
    return raised and any(phrase in str(error).lower() for phrase in phrases)


def _first_line(error: BaseException) -> str:
    """Return an error's message, short enough for a table. CUDA appends advice for programmers, which is dropped."""
    message = (str(error) or type(error).__name__).strip().splitlines()[0]
    return message if len(message) <= 300 else f"{message[:140]} … {message[-140:]}"


def _gpu_is_lost() -> bool:
    """Return whether this process can no longer use the GPU, as after an illegal access, which destroys its context."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
