"""The edges of the design space, and what a point is called."""

import math
from collections.abc import Callable

import pytest

from objectives.errors import OperatingPointError
from objectives.operating_point import OFFLINE_BASELINE, UNPRUNED, OnlineTracking, OperatingPoint, Pruning


@pytest.mark.parametrize(
    ("make", "low", "high"),
    [
        (lambda value: OperatingPoint(chunk_length=value), 0.02, 5.0),
        (lambda value: OperatingPoint(right_context=value), 0.01, 5.0),
        (lambda value: OnlineTracking(tau_active=value), 0.0, 10.0),
        (lambda value: OnlineTracking(rho_update=value), 0.0, 10.0),
        (lambda value: OnlineTracking(delta_new=value), 0.0, 2.0),
        (lambda value: OnlineTracking(min_duration_off=value), 0.0, 5.0),
        (lambda value: Pruning("hidden", value), math.ulp(0.0), 0.95),
    ],
    ids=["C", "R", "tau_active", "rho_update", "delta_new", "min_duration_off", "ratio"],
)
def test_both_ends_of_a_range_belong_to_it_and_nothing_beyond(
    make: Callable[[float], object], low: float, high: float
) -> None:
    for value in (low, high):
        make(value)
    for value in (math.nextafter(low, -1.0), math.nextafter(high, 100.0), math.nan, math.inf):
        with pytest.raises(OperatingPointError):
            make(value)


def test_no_right_context_at_all_is_allowed_and_hardly_any_is_not() -> None:
    assert OperatingPoint(right_context=0.0).right_context == 0.0
    with pytest.raises(OperatingPointError, match=r"R = 0\.005 s .* or 0$"):
        OperatingPoint(right_context=0.005)


@pytest.mark.parametrize(
    ("pruning", "name"),
    [
        (UNPRUNED, "none"),
        (Pruning("hidden", 0.4), "Hidden-40"),
        (Pruning("linear", 0.125), "Linear-12.5"),
        (Pruning("both", 0.12345), "Both-12.35"),
    ],
)
def test_a_pruning_is_called_by_its_structure_and_percentage(pruning: Pruning, name: str) -> None:
    assert str(pruning) == name


def test_an_offline_point_has_no_end_of_its_latency() -> None:
    assert OFFLINE_BASELINE.latency == math.inf
    assert not OFFLINE_BASELINE.streamed


def test_only_the_online_mode_tracks() -> None:
    tracking = OnlineTracking(delta_new=0.5)
    assert OperatingPoint(mode="online", online=tracking).tracking == tracking
    assert OperatingPoint().tracking is None
    assert OFFLINE_BASELINE.tracking is None


def test_what_is_given_stands_over_what_was_tuned() -> None:
    tuned = OnlineTracking(tau_active=0.1, rho_update=0.2, delta_new=0.3)
    given = OnlineTracking(rho_update=0.0, min_duration_off=0.5)
    assert given.over(tuned) == OnlineTracking(tau_active=0.1, rho_update=0.0, delta_new=0.3, min_duration_off=0.5)
