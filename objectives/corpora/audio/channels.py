"""Reduce several channels to one: their mean, or the loudest of them if they cancel each other out."""

from collections.abc import Iterable

import numpy as np

CANCELLED = 10.0  # dB by which the mean must be quieter than the mean of independent channels

ALIKE = 0.98  # of the greatest power, 0.1 dB: channels as loud as that count as equal, and the first is used


def cancelling(chunks: Iterable[np.ndarray]) -> tuple[int, float] | None:
    """Return the loudest channel, from 0, and its level over the mean in dB; None if the mean is to be used.

    chunks: (channels, samples) float32, all with the same number of channels. The mean of N channels of power P each
    has the power P / N if they are independent, and P if they are equal. It has far less if one has reversed polarity.
    """
    number, total, power, mean_power = 0, np.zeros(0), np.zeros(0), 0.0
    for chunk in chunks:
        wide = chunk.astype(np.float64)
        if not number:
            total, power = np.zeros(len(wide)), np.zeros(len(wide))
        if len(wide) != len(total) or not np.isfinite(wide).all():
            return None  # channels that change cannot be compared; NaN is refused when the file is read
        number += wide.shape[1]
        total += wide.sum(axis=1)
        power += np.square(wide).sum(axis=1)
        mean_power += float(np.square(wide.mean(axis=0)).sum())
    if not number:
        return None
    # without the constant part, which is inaudible
    each = power / number - np.square(total / number)  # (channels,)
    mean = max(mean_power / number - (total.mean() / number) ** 2, 0.0)
    if mean >= each.sum() / len(each) ** 2 * 10 ** (-CANCELLED / 10):
        return None
    loudest = int(np.flatnonzero(each >= each.max() * ALIKE)[0])
    return loudest, 10 * np.log10(each[loudest] / max(mean, each[loudest] * 1e-12))
