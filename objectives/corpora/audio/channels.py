"""Many channels as one: their mean, or the loudest of them if they cancel each other out."""

from collections.abc import Iterable

import numpy as np

CANCELLED = 10.0  # dB that a mean is quieter than that of channels which have nothing to do with each other

ALIKE = 0.98  # of the greatest power: a tenth of a dB less is as loud, and the first channel is heard


def cancelling(chunks: Iterable[np.ndarray]) -> tuple[int, float] | None:
    """The loudest channel, from 0, and by how many dB it is louder than the mean; None if the mean is to be heard.

    chunks: (channels, samples) float32, as many channels in each. The mean of N channels of power P each has P / N if
    they are independent, and P if they are equal. It has far less if a cable is wired the other way round.
    """
    number, total, power, mean_power = 0, np.zeros(0), np.zeros(0), 0.0
    for chunk in chunks:
        wide = chunk.astype(np.float64)
        if not number:
            total, power = np.zeros(len(wide)), np.zeros(len(wide))
        if len(wide) != len(total) or not np.isfinite(wide).all():
            return None  # the first is no file for this question, the second is refused when it is heard
        number += wide.shape[1]
        total += wide.sum(axis=1)
        power += np.square(wide).sum(axis=1)
        mean_power += float(np.square(wide.mean(axis=0)).sum())
    if not number:
        return None
    # without what is constant, which no ear hears
    each = power / number - np.square(total / number)  # (channels,)
    mean = max(mean_power / number - (total.mean() / number) ** 2, 0.0)
    if mean >= each.sum() / len(each) ** 2 * 10 ** (-CANCELLED / 10):
        return None
    loudest = int(np.flatnonzero(each >= each.max() * ALIKE)[0])
    return loudest, 10 * np.log10(each[loudest] / max(mean, each[loudest] * 1e-12))
