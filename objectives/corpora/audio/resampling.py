"""Resample to 16 kHz piece by piece. The result equals SciPy's `resample_poly` on the whole, bit for bit.

Files and live audio use the same filter. An output sample depends on the next ten samples at the lower of both rates,
which delays it by 0.6 ms from 16 kHz and more, 1.25 ms from 8 kHz, and 2.5 ms from 4 kHz.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from objectives.models.contract import SAMPLE_RATE

PIECE = 2**19  # approximate input samples per call: in longer pieces, less is filtered twice


def resampled(pieces: Iterable[np.ndarray], rate: int, least: int = PIECE) -> Iterator[np.ndarray]:
    """Resample pieces: (samples,) float32 at `rate` Hz → (samples,) float32 at 16 kHz.

    least: input samples to gather before filtering; 1 gives each output sample as early as possible.
    """
    from scipy.signal import firwin, resample_poly  # takes a second, and most corpora are at 16 kHz already

    ratio = Fraction(SAMPLE_RATE, rate)
    up, down = ratio.numerator, ratio.denominator
    reach = 10 * max(up, down)  # of the filter, before decimation, as in resample_poly
    taps = firwin(2 * reach + 1, 1.0 / max(up, down), window=("kaiser", 5.0)).astype(np.float32)

    waiting, first = np.zeros(0, np.float32), 0  # input from sample `first` on, which coincides with an output sample
    made, heard = 0, 0  # output samples yielded, input samples received

    def outputs(until: int) -> np.ndarray:
        """Return the outputs from the next one to `until`. All inputs that they depend on must be in `waiting`."""
        start = first * up // down
        every: np.ndarray = resample_poly(waiting, up, down, window=taps)
        return every[made - start : until - start]

    for piece in _gathered(pieces, least):
        waiting = np.concatenate([waiting, piece])
        heard += len(piece)
        known = (
            heard * up - reach - 1
        ) // down + 1  # output k lies at k · down / up and depends on `reach` on either side
        if known > made:
            yield outputs(known)
            made = known
            # the first input that the next output depends on, rounded down to a multiple of `down`
            kept = max(0, (made * down - reach) // up // down * down)
            waiting, first = waiting[kept - first :], kept
    total = -(-heard * up // down)
    if total > made:
        yield outputs(total)


def _gathered(pieces: Iterable[np.ndarray], least: int) -> Iterator[np.ndarray]:
    """Regroup samples into pieces of at least `least`, except the last."""
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
