"""Audio for a `Listener`, piece by piece: from a file or raw PCM, until it ends or a signal ends it. Needs no torch."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from types import TracebackType
from typing import Self

import numpy as np

from explorer.terminal.signals import ENDING, let_go_of_terminal
from objectives.corpora.audio.resampling import resampled
from objectives.models.contract import SAMPLE_RATE

READ_BYTES = 3200  # of PCM at once: 0.1 s at 16 kHz
PIECE = SAMPLE_RATE // 10  # samples in a piece of a recording that is played as if from a microphone


def played(
    audio: Iterable[np.ndarray],
    began: float | None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[np.ndarray]:
    """Yield a recording at the speed of speech: pieces of 0.1 s, each when its last sample would have been spoken.

    began: the clock when its first sample is spoken. None yields pieces of at most a second as fast as possible.
    """
    size = SAMPLE_RATE if began is None else PIECE
    spoken = 0
    for samples in audio:
        for start in range(0, len(samples), size):
            piece = samples[start : start + size]
            spoken += len(piece)
            if began is not None:
                sleep(max(0.0, began + spoken / SAMPLE_RATE - clock()))
            yield piece


def pcm_pieces(stream: BufferedIOBase, rate: int) -> Iterator[np.ndarray]:
    """Yield raw PCM, 16-bit little-endian at `rate` Hz, as (samples,) float32 at 16 kHz, as soon as it arrives.

    A trailing odd byte is dropped.
    """
    samples = _samples(stream)
    # resampled by the same filter as files, which delays the end of each piece by about a millisecond
    return samples if rate == SAMPLE_RATE else resampled(samples, rate, least=1)


def _samples(stream: BufferedIOBase) -> Iterator[np.ndarray]:
    odd = b""
    while read := stream.read1(READ_BYTES):
        whole = odd + read
        odd = whole[len(whole) & ~1 :]
        samples = np.frombuffer(whole[: len(whole) & ~1], "<i2")
        if len(samples):
            yield samples.astype(np.float32) / 2**15


class UntilInterrupted:
    """Pieces of audio until Ctrl-C, SIGTERM or SIGHUP, which ends them while waiting for the next piece, and never in
    the middle of an update.

    Use it, and everything that processes the audio, inside its `with` block. There a signal only ends the audio, except
    for another Ctrl-C once the audio has ended, which raises KeyboardInterrupt. After the block, signals are handled as
    before. interrupted: the first signal that came.
    """

    def __init__(self, pieces: Iterator[np.ndarray]):
        self.interrupted: int | None = None
        self._pieces = pieces
        self._waiting = False
        self._over = False

    def __enter__(self) -> Self:
        handlers = {number: signal.getsignal(number) for number in ENDING}
        # a shell ignores signals for a job in the background, and so does nohup: they stay ignored
        self._before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while True:
                self._waiting = True  # set before the check, so that no signal is missed in between
                if self.interrupted:
                    return
                piece = next(self._pieces, None)
                self._waiting = False
                if piece is None:
                    return
                yield piece
        except KeyboardInterrupt:
            return
        finally:
            self._waiting = False
            self._over = True

    def _interrupt(self, number: int, frame: object) -> None:
        again = self.interrupted is not None and number == signal.SIGINT
        self.interrupted = self.interrupted or number
        if number == signal.SIGHUP:
            let_go_of_terminal()
        if self._waiting or (again and self._over):
            self._waiting = False  # the next signal must not interrupt the handling of this one
            raise KeyboardInterrupt
