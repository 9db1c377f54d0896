"""SciPy's polyphase resampling to 16 kHz, piece by piece: bit for bit what `resample_poly` makes of the whole."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from objectives.contract import SAMPLE_RATE

PIECE = 2**19  # input samples at once, about: the longer, the less is filtered twice


def resampled(pieces: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """(samples,) float32 pieces at `rate` Hz → (samples,) float32 pieces at 16 kHz."""
    from scipy.signal import firwin, resample_poly  # takes a second to import, and most corpora are at 16 kHz already

    ratio = Fraction(SAMPLE_RATE, rate)
    up, down = ratio.numerator, ratio.denominator
    reach = 10 * max(up, down)  # of the filter, before decimation: resample_poly's own, so that answers are its own
    taps = firwin(2 * reach + 1, 1.0 / max(up, down), window=("kaiser", 5.0)).astype(np.float32)
    margin = (-(-reach // up) // down + 1) * down  # input samples that the filter sees on either side, in whole steps
    piece = max(PIECE // down, 1) * down  # a piece begins where an output sample lies exactly

    def outputs(audio: np.ndarray, before: int, length: int) -> np.ndarray:
        """What `length` input samples, the first being audio[before], become; what lies around them is heard too."""
        made: np.ndarray = resample_poly(audio, up, down, window=taps)
        first = before * up // down
        return made[first : first + -(-length * up // down)]

    waiting, before = np.zeros(0, np.float32), 0
    for heard in _gathered(pieces, piece):
        waiting = np.concatenate([waiting, heard])
        while len(waiting) >= before + piece + margin:
            yield outputs(waiting[: before + piece + margin], before, piece)
            kept = min(margin, before + piece)
            waiting, before = waiting[before + piece - kept :], kept
    if len(waiting) > before:
        yield outputs(waiting, before, len(waiting) - before)


def _gathered(pieces: Iterable[np.ndarray], least: int) -> Iterator[np.ndarray]:
    """The same samples in pieces of at least so many, but for the last."""
    waiting: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        if count >= least:
            yield np.concatenate(waiting)
            waiting, count = [], 0
    if waiting:
        yield np.concatenate(waiting)
