"""Handle signals that ask a command to end: each ends it as Ctrl-C does, and the exit code says which one it was.

SIGTERM comes from service managers, `timeout` and `kill`; SIGHUP comes when a terminal is closed or a connection is
lost. Signals that a shell has set to be ignored (`nohup`, a job in the background) stay ignored.
"""

import errno
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from explorer.terminal.streams import ERROR, OUTPUT, discard

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_REQUEST = 5.0  # seconds; `timeout` sends its signal twice, a closed terminal up to three times


def exit_code(number: int) -> int:
    """Return the exit code that a shell reports if a signal ended a program: 130 for Ctrl-C, 143 for SIGTERM, 129 for
    SIGHUP."""
    return 128 + number


INTERRUPTED = exit_code(signal.SIGINT)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt inside the block, and replace an exit code of 130 that follows by
    that of the signal. Does nothing outside the main thread, which receives no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    request = _Request()
    not_ignored = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, request) for number in not_ignored if number != signal.SIGINT}
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(exit_code(request.number))
    except SystemExit as ending:
        if ending.code == INTERRUPTED:
            sys.exit(exit_code(request.number))
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Request:
    """A signal handler that raises KeyboardInterrupt, once for signals that belong to one request. number: the first
    signal."""

    def __init__(self) -> None:
        self.number: int = signal.SIGINT
        self._since: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGHUP:
            let_go_of_terminal()
        if self._since is None:
            self.number = number
        elif now - self._since < SAME_REQUEST:
            return
        self._since = now
        raise KeyboardInterrupt


def let_go_of_terminal() -> None:
    """Discard what would be printed on a terminal that is being closed, so that no write to it fails."""
    for number in (OUTPUT, ERROR):
        if _is_terminal(number):
            discard(number)


def _is_terminal(number: int) -> bool:
    """Whether a file descriptor is a terminal, even one that is gone (for which `isatty` is false)."""
    try:
        termios.tcgetattr(number)
    except termios.error as error:
        return error.args[0] == errno.EIO  # hung up
    return True
