"""Rows that only grow in number."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from objectives.streaming.chunkwise import GrowingRows


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(1, 9), st.data())
def test_rows_are_where_they_were_put(lengths: list[int], piece: int, data: st.DataObject) -> None:
    rows = np.arange(3 * sum(lengths)).reshape(-1, 3)
    grown = GrowingRows((3,), np.int64, piece)
    for part in np.split(rows, np.cumsum(lengths)):
        grown.append(part)
    assert len(grown) == len(rows)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
    np.testing.assert_array_equal(grown.between(start, end), rows[start:end])
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1)) if len(rows) else st.just([])), np.int64)
    np.testing.assert_array_equal(grown.at(chosen), rows[chosen])
    assert grown.nbytes < (len(rows) + piece) * 3 * 8
