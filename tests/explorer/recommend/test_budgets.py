"""Budgets: what is typed, what keeps them, and by how much they are missed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.recommend.budgets import Budgets, der_increase, excess, keeps, shortfall, within
from objectives.errors import StudyError


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("5 %", 0.05), ("5", 0.05), ("0.05", 0.05), ("0.5%", 0.005), ("0.5", 0.5), ("1", 0.01), ("0", 0.0),
     ("100%", 1.0), ("150", 1.5), ("0%", 0.0)],
)  # fmt: skip
def test_an_increase_as_typed(text: str, share: float) -> None:
    assert der_increase(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5pp", "five", "", "%", "-5%", "nan", "inf%", "5%%"])
def test_what_is_no_increase_is_refused_by_name(text: str) -> None:
    with pytest.raises(StudyError, match="--max-der-increase"):
        der_increase(text)


@pytest.mark.parametrize("budget", [{"latency": 0.0}, {"size": -1.0}, {"rtf": math.nan}, {"size": math.inf}])
def test_what_is_no_budget_is_refused_by_name(budget: dict[str, float]) -> None:
    with pytest.raises(StudyError, match=f"--max-{next(iter(budget))}"):
        Budgets(**budget)


def test_an_increase_is_of_the_baselines_der() -> None:
    assert Budgets(latency=1.0, der_increase=0.05).limits(40.0) == pytest.approx({"latency": 1.0, "der": 42.0})
    with pytest.raises(StudyError, match="baseline, which is not measured"):
        Budgets(der_increase=0.05).limits(None)
    assert Budgets(size=2.0).limits(None) == {"size": 2.0}
    assert Budgets(der_increase=0.0).limits(40.0) == {"der": 40.0}  # no more errors than the baseline


def test_a_decrease_is_no_increase() -> None:
    with pytest.raises(StudyError, match=r"--max-der-increase: -0\.1 is not an increase"):
        Budgets(der_increase=-0.1)


@pytest.mark.parametrize(
    ("limit", "value", "expected"),
    [(2.0, 3.0, 0.5), (2.0, 1.0, -0.5), (2.0, 2.0, 0.0), (0.3, 0.1 + 0.2, 0.0), (0.0, 0.0, 0.0), (0.0, 7.0, 7.0)],
)
def test_an_excess_is_a_share_of_the_limit(limit: float, value: float, expected: float) -> None:
    assert excess(limit, value) == pytest.approx(expected)
    assert keeps({"der": limit}, {"der": value}) == (expected <= 0)


def test_which_budget_binds_and_by_how_much() -> None:
    candidates = {
        0: {"latency": 1.0, "size": 4.0, "rtf": 0.1, "der": 20.0},
        1: {"latency": 3.0, "size": 1.0, "rtf": 0.2, "der": 22.0},
        2: {"latency": 2.0, "size": 1.2, "rtf": 0.9, "der": 21.0},
    }
    told = shortfall({"latency": 1.5, "size": 1.6}, candidates)
    latency, size = told.misses
    # size is kept by 1 and 2, of which 2 has the least latency; latency by 0 only
    assert (latency.budget, latency.reachable, latency.trial, latency.excess) == (
        "latency",
        2.0,
        2,
        pytest.approx(1 / 3),
    )
    assert (size.budget, size.reachable, size.trial, size.excess) == ("size", 4.0, 0, pytest.approx(1.5))
    assert (told.nearest, told.excesses) == (2, {"latency": pytest.approx(1 / 3)})


def test_a_budget_that_is_not_the_only_one_to_bind() -> None:
    told = shortfall({"size": 1.0, "rtf": 0.1}, {0: {"size": 2.0, "rtf": 0.3}, 1: {"size": 3.0, "rtf": 0.2}})
    assert [(miss.reachable, miss.trial, miss.excess) for miss in told.misses] == [(None, None, None)] * 2
    # 0 is over by 100 and 200 %, 1 by 200 and 100 %: the smallest sum decides, then the number
    assert (told.nearest, told.excesses) == (0, {"size": pytest.approx(1.0), "rtf": pytest.approx(2.0)})


def test_the_nearest_point_passes_its_largest_excess_by_the_least_and_then_all_of_them_together() -> None:
    limits = {"latency": 1.0, "size": 1.0, "rtf": 1.0}
    far = {"latency": 2.9, "size": 1.0, "rtf": 1.0}  # the most in one budget
    more, less = {"latency": 2.0, "size": 1.8, "rtf": 0.5}, {"latency": 1.4, "size": 2.0, "rtf": 0.5}
    told = shortfall(limits, {0: far, 1: more, 2: less})
    assert (told.nearest, told.excesses) == (2, {"latency": pytest.approx(0.4), "size": 1.0})


def test_budgets_in_words() -> None:
    assert within({"latency": 1.0, "size": 0.5, "rtf": 0.25, "der": 41.502}) == (
        "latency ≤ 1 s, size ≤ 0.5 MiB, RTF ≤ 0.25, DER ≤ 41.5 %"
    )


AMOUNT = st.floats(0.01, 100.0)
VALUES = st.fixed_dictionaries({"latency": AMOUNT, "size": AMOUNT, "rtf": AMOUNT, "der": AMOUNT})


@given(VALUES, st.lists(VALUES, min_size=1, max_size=8))
def test_relaxing_a_budget_to_what_is_reachable_is_enough(
    limits: dict[str, float], told: list[dict[str, float]]
) -> None:
    candidates = {number: values for number, values in enumerate(told) if not keeps(limits, values)}
    if not candidates:
        return
    missed = shortfall(limits, candidates)
    for miss in missed.misses:
        if miss.reachable is None:
            others = {name: limit for name, limit in limits.items() if name != miss.budget}
            assert not any(keeps(others, values) for values in candidates.values())
        else:
            assert miss.trial is not None
            assert miss.reachable > miss.limit
            assert keeps(limits | {miss.budget: miss.reachable}, candidates[miss.trial])
    largest = max(missed.excesses.values())
    assert keeps({name: limit * (1 + largest) for name, limit in limits.items()}, candidates[missed.nearest])
    assert all(max(values[n] / limits[n] for n in limits) - 1 >= largest - 1e-9 for values in candidates.values())
