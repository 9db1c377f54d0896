"""Windows of a recording."""

import numpy as np

from objectives.models.windows import window_at


def test_a_window_is_cut_from_its_first_sample() -> None:
    waveform = np.arange(1, 11, dtype=np.float32)
    np.testing.assert_array_equal(window_at(waveform, 6, 4), [7, 8, 9, 10])
    np.testing.assert_array_equal(window_at(waveform, 0, 4), [1, 2, 3, 4])


def test_a_window_is_padded_with_zeros_outside_the_recording() -> None:
    waveform = np.arange(1, 6, dtype=np.float32)
    np.testing.assert_array_equal(window_at(waveform, -2, 5), [0, 0, 1, 2, 3])
    np.testing.assert_array_equal(window_at(waveform, -2, 2), [0, 0])
    np.testing.assert_array_equal(window_at(waveform, 3, 4), [4, 5, 0, 0])
