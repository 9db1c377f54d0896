import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.calibration import plateau_middle, steadiest
from objectives.operating_point import OnlineTracking


@pytest.mark.parametrize(
    ("ders", "best"),
    [
        # thresholds 0.1, 0.2, …
        ([30.0], 0.1),
        ([30.0, 20.0, 25.0], 0.2),
        ([30.0, 20.0, 20.0, 20.0, 25.0], 0.3),  # the middle of a plateau
        ([20.0, 20.0, 20.0, 20.0], 0.2),  # of an even one, the lower middle
        ([20.0, 30.0, 20.02, 20.04, 20.0, 30.0], 0.4),  # the longest, although another is as low
        ([20.0, 20.06, 20.0, 20.0], 0.3),  # 0.06 points apart is no plateau
        ([20.0, 20.05, 30.0], 0.1),
        ([20.0, 30.0, 20.0], 0.1),  # the first of equals
    ],
)
def test_best_is_the_middle_of_the_longest_lowest_plateau(ders: list[float], best: float) -> None:
    points = [(round(0.1 * place, 1), der) for place, der in enumerate(ders, start=1)]
    assert plateau_middle(points) == best
    assert plateau_middle(points[::-1]) == best


@given(st.dictionaries(st.integers(0, 50), st.floats(0.0, 200.0), min_size=1))
def test_best_is_a_threshold_that_was_tried_and_is_as_good_as_any(ders: dict[int, float]) -> None:
    best = plateau_middle([(float(threshold), der) for threshold, der in ders.items()])
    assert ders[int(best)] <= min(ders.values()) + 0.05


def test_the_steadiest_triple_has_good_neighbours() -> None:
    ders = {0.2: 30.0, 0.3: 10.0, 0.4: 30.0, 0.5: 12.0, 0.6: 11.0, 0.7: 12.0, 0.8: 9.0}
    points = [(OnlineTracking(0.0, 1.0, delta), der) for delta, der in ders.items()]
    worse = [(OnlineTracking(0.5, 1.0, delta), der + 1.0) for delta, der in ders.items()]
    # 0.7 has the lowest mean (32 / 3); 0.3 alone is low by chance, and 0.8 has one neighbour only
    assert steadiest([*worse, *points]) == OnlineTracking(0.0, 1.0, 0.7)
