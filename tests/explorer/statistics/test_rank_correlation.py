"""Rank correlations over recordings, and their intervals."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from explorer.statistics.rank_correlation import rank_correlation

FIGURES = st.lists(st.integers(0, 20), min_size=4, max_size=8)


def test_by_hand() -> None:
    found = rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    assert found is not None
    assert found.value == pytest.approx(0.8)  # 1 − 6 · (1 + 1 + 1 + 1 + 0) / (5 · 24)
    assert found.low < 0.8 < found.high


def test_what_goes_together_always_is_sure() -> None:
    found = rank_correlation([1, 2, 3, 4], [10, 20, 30, 31])
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert found.low > 0


def test_the_interval_is_that_of_a_bootstrap_over_recordings() -> None:
    """By drawing recordings one by one, with numbers of another generator: a fortieth lies beyond each end."""
    x, y = [1, 2, 3, 4, 5, 6, 7, 8, 9, 9], [3, 1, 5, 2, 6, 9, 4, 4, 10, 8]
    random, drawn = Random(1), []
    while len(drawn) < 1500:
        places = random.choices(range(10), k=10)
        drawn.append(spearmanr([x[at] for at in places], [y[at] for at in places]).statistic)
    expected = np.nanquantile(drawn, (0.025, 0.975))
    found = rank_correlation(x, y)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected.tolist(), abs=0.04)
    assert abs(found.low - np.nanquantile(drawn, 0.05)) > 0.06  # so that the other ends would be seen


def test_what_is_unrelated_cannot_be_told_from_none() -> None:
    found = rank_correlation([1, 2, 3, 4], [2, 4, 1, 3])
    assert found is not None
    assert found.value == pytest.approx(0.0)
    assert found.low <= 0 <= found.high


@settings(max_examples=30)
@given(x=FIGURES, seed=st.integers(0, 2**32 - 1))
def test_it_is_scipys_and_turns_with_the_sign(x: list[int], seed: int) -> None:
    y = np.random.default_rng(seed).integers(5, size=len(x)).tolist()
    found = rank_correlation(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
        return
    assert found is not None
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    other = rank_correlation(x, [-one for one in y])
    assert other is not None
    assert (other.value, other.low, other.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_too_few_recordings_say_nothing() -> None:
    assert rank_correlation([1, 2, 3], [1, 2, 3]) is None
    with pytest.raises(ValueError, match="3 and 2 figures"):
        rank_correlation([1, 2, 3], [1, 2])
