"""How much memory a process holds at most while it does something.

This is the resident peak of the whole process: Python, torch, ONNX Runtime and every model that is loaded are in it,
not only what the action itself takes. In the timing process that is the operating point's model and the FP32
baseline's, the embedding's, and the recording. So it bounds what a deployment in Python needs, and two operating points
differ by less than their models do elsewhere. ONNX Runtime keeps the memory that it once took for as long as a model is
loaded, and what the process did before may leave some behind.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET_PEAK = "5"  # proc(5): sets the peak to what is resident now; resource.getrusage knows the peak of all time only


def with_peak_memory(action: Callable[[], Result]) -> tuple[Result, int | None]:
    """Do something; what it returns, and the resident peak of this process meanwhile in bytes.

    None where the peak cannot be reset: anywhere but on Linux, and in containers that forbid it.
    """
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        return action(), None
    result = action()
    return result, _peak(STATUS.read_text())


def _peak(status: str) -> int | None:
    """`VmHWM:     1948 kB` in bytes."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    return None
