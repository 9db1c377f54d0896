"""SciPy's polyphase resampling to 16 kHz, piece by piece: bit for bit what `resample_poly` makes of the whole.

Files and live audio go through the same filter. An output sample waits for ten samples of the slower of both rates that
lie after it: 0.6 ms from 16 kHz and more, 1.25 ms from 8 kHz, 2.5 ms from 4 kHz.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from objectives.models.contract import SAMPLE_RATE

PIECE = 2**19  # input samples at once, about: the longer, the less is filtered twice


def resampled(pieces: Iterable[np.ndarray], rate: int, least: int = PIECE) -> Iterator[np.ndarray]:
    """(samples,) float32 pieces at `rate` Hz → (samples,) float32 pieces at 16 kHz.

    least: input samples that are gathered before they are filtered; 1 to have all that can be known as soon as it can.
    """
    from scipy.signal import firwin, resample_poly  # takes a second to import, and most corpora are at 16 kHz already

    ratio = Fraction(SAMPLE_RATE, rate)
    up, down = ratio.numerator, ratio.denominator
    reach = 10 * max(up, down)  # of the filter, before decimation: resample_poly's own, so that answers are its own
    taps = firwin(2 * reach + 1, 1.0 / max(up, down), window=("kaiser", 5.0)).astype(np.float32)

    waiting, first = np.zeros(0, np.float32), 0  # input from sample `first` on, where an output sample lies exactly
    made, heard = 0, 0  # output samples that were handed over, input samples that came

    def outputs(until: int) -> np.ndarray:
        """Those from the next one to `until`, of which all that the filter sees must be waiting."""
        start = first * up // down
        every: np.ndarray = resample_poly(waiting, up, down, window=taps)
        return every[made - start : until - start]

    for piece in _gathered(pieces, least):
        waiting = np.concatenate([waiting, piece])
        heard += len(piece)
        known = (heard * up - reach - 1) // down + 1  # output k lies at k · down / up, and sees `reach` on either side
        if known > made:
            yield outputs(known)
            made = known
            # what the next output sees begins here, in whole steps of `down`
            kept = max(0, (made * down - reach) // up // down * down)
            waiting, first = waiting[kept - first :], kept
    total = -(-heard * up // down)
    if total > made:
        yield outputs(total)


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
