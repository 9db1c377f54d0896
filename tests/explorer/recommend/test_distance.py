"""How far one point is from another, from rows by hand."""

import pytest

from explorer.recommend.distance import BASELINE, Side, distance
from tests.support.front_rows import front_row


def side(trial: int, errors: float, test: float | None = None, **figures: object) -> Side:
    """So many seconds of error in each of two recordings of 100 s, and in one of the split `test`."""
    row = front_row(trial, der=errors, **figures)
    scored = dict.fromkeys(("a", "b"), (errors, 100.0))
    return Side(row, scored, None if test is None else {"c": (test, 100.0)})


def test_smaller_and_cheaper_is_told_from_ones_own_side() -> None:
    ours = side(7, 24.0, test=33.0, size=2.0, rtf_ratio=0.5)
    theirs = side(3, 20.0, test=30.0, size=5.0, rtf_ratio=0.8)
    there = distance(ours, theirs, "paper:table2:FP16")
    assert (there.trial, there.origin) == (3, "paper:table2:FP16")
    assert (there.times_smaller, there.rtf_ratio) == (2.5, 0.625)
    assert (there.der.theirs, there.der.points, there.der.relative) == pytest.approx((20.0, 4.0, 20.0))
    assert there.test is not None
    assert (there.test.theirs, there.test.points, there.test.relative) == pytest.approx((30.0, 3.0, 10.0))


def test_the_baseline_that_is_timed_beside_is_chunk_wise_even_where_the_studys_is_online() -> None:
    """Each ratio is over the chunk-wise baseline of the same breath: of that one itself it is 1 but for noise, which
    is left out; of an online baseline it is what tracking costs."""
    ours = side(1, 20.0, size=2.0, rtf_ratio=0.6, mode="online")
    chunkwise, online = (side(0, 20.0, size=2.0, rtf_ratio=1.2, mode=mode) for mode in ("chunk-wise", "online"))
    assert distance(ours, chunkwise, BASELINE).rtf_ratio == 0.6
    assert distance(ours, online, BASELINE).rtf_ratio == pytest.approx(0.5)


@pytest.mark.parametrize("emulated", [0, 1])
def test_the_rtf_of_what_is_emulated_is_compared_with_nothing(emulated: int) -> None:
    how = ["native", "native"]
    how[emulated] = "emulated"
    ours, theirs = (side(n, 20.0, size=2.0, rtf_ratio=0.5, execution=each) for n, each in enumerate(how))
    assert distance(ours, theirs, "fixed:C=2").rtf_ratio is None


def test_without_a_figure_on_test_of_both_there_is_no_distance_there() -> None:
    with_one, without = side(0, 20.0, test=20.0, size=2.0, rtf_ratio=0.5), side(1, 20.0, size=2.0, rtf_ratio=0.5)
    assert distance(with_one, without, "fixed:C=2").test is None
    assert distance(without, with_one, "fixed:C=2").test is None
