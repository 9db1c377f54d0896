"""The latest part of an array: what can be read is what was appended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.models.sliding_buffer import Recent


@given(keep=st.integers(1, 20), sizes=st.lists(st.integers(0, 20), max_size=30), first=st.integers(0, 20))
def test_the_last_rows_are_those_that_were_appended(keep: int, sizes: list[int], first: int) -> None:
    recent, written = Recent(keep, first=first), []
    for size in sizes:
        rows = np.arange(len(written), len(written) + min(size, keep), dtype=np.float32)
        recent.append(rows)
        written.extend(rows)
        end = first + len(written)
        assert len(recent) == end
        start = max(first, end - keep)
        np.testing.assert_array_equal(recent.between(start, end), written[start - first :])
        np.testing.assert_array_equal(recent[np.arange(start, end)], written[start - first :])


def test_positions_may_begin_before_the_recording() -> None:
    recent = Recent(keep=4, first=-3)
    recent.append(np.zeros(3, np.float32))
    assert len(recent) == 0
    recent.append(np.ones(2, np.float32))
    np.testing.assert_array_equal(recent.between(-2, 2), [0, 0, 1, 1])


def test_what_is_gone_is_not_made_up() -> None:
    recent = Recent(keep=2)
    for value in range(5):
        recent.append(np.array([value], np.float32))
    np.testing.assert_array_equal(recent.between(3, 5), [3, 4])
    with pytest.raises(AssertionError, match="rows 0 to 5"):
        recent.between(0, 5)
    with pytest.raises(AssertionError, match="gone"):
        recent[np.array([0])]
