"""How far two runs of a segmentation model agree, by yardsticks that no processor changes.

Kernels of another processor round otherwise, and integer kernels carry each rounding on. So what they agree with is
compared with how far they agree with themselves, and classes may differ where their scores are tied.
"""

from collections.abc import Callable

import numpy as np

Scores = Callable[[np.ndarray], np.ndarray]  # windows → (windows, frames, classes)
GAINS = (1 - 1e-5, 1 + 1e-5, 1 + 3e-5)  # nobody hears these


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Share of frames with the same powerset class."""
    return float((one.argmax(-1) == other.argmax(-1)).mean())


def unrest(scores: Scores, windows: np.ndarray) -> float:
    """Share of frames whose class a model changes when the audio is louder or softer by a few hundred-thousandths."""
    plain = scores(windows)
    share = 1 - float(np.mean([agreement(scores(windows * np.float32(gain)), plain) for gain in GAINS]))
    assert share < 0.02, "a model that hardly knows its own answer measures nothing"
    return share


def assert_same_but_at_ties(one: np.ndarray, other: np.ndarray, within: float) -> None:
    """Scores are equal but for `within`, and so are classes, but where the two best scores are as near as that."""
    np.testing.assert_allclose(one, other, rtol=0, atol=within)
    chosen = np.take_along_axis(one, other.argmax(-1)[..., None], -1)[..., 0]
    assert (one.max(-1) - chosen).max() <= 2 * within
    assert agreement(one, other) > 0.999
