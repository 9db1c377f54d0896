"""The paired bootstrap, by hand and by enumeration of every resample."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.statistics.bootstrap import SEED, Interval, Scored, difference, pooled_der


def test_two_recordings_have_three_resamples() -> None:
    """aa, ab or ba, bb with chances of 1/4, 1/2, 1/4: the 2.5 and 97.5 % quantiles are the two ends."""
    ours: Scored = {"a": (30.0, 100.0), "b": (4.0, 20.0)}
    theirs: Scored = {"a": (20.0, 100.0), "b": (6.0, 20.0)}
    # aa: 30 − 20 = 10 points; ab: 100 · (34 − 26) / 120 = 6.67; bb: 20 − 30 = −10
    interval = difference(ours, theirs)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((-10.0, 10.0))
    assert (interval.recordings, interval.resamples, interval.level) == (2, 10_000, 0.95)
    assert interval.contains_zero
    assert interval.width == pytest.approx(20.0)


def test_rates_are_pooled_and_not_averaged() -> None:
    scored: Scored = {"a": (30.0, 100.0), "b": (10.0, 20.0)}
    assert pooled_der(scored) == pytest.approx(100 * 40 / 120)


def test_the_difference_is_paired() -> None:
    """Recordings differ by far more than the two points do; unpaired, the interval would be some 50 points wide."""
    theirs: Scored = {f"{number}": (10.0 * number, 100.0) for number in range(1, 9)}
    ours: Scored = {uri: (errors + 1.0, total) for uri, (errors, total) in theirs.items()}
    interval = difference(ours, theirs)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((1.0, 1.0))
    assert not interval.contains_zero


def test_three_recordings_agree_with_the_enumeration_of_all_resamples() -> None:
    ours: Scored = {"a": (3.0, 10.0), "b": (9.0, 30.0), "c": (1.0, 25.0)}
    theirs: Scored = {"a": (2.0, 10.0), "b": (12.0, 30.0), "c": (0.5, 25.0)}
    every = [
        pooled_der({str(place): ours[uri] for place, uri in enumerate(drawn)})
        - pooled_der({str(place): theirs[uri] for place, uri in enumerate(drawn)})
        for drawn in itertools.product("abc", repeat=3)
    ]
    # of 27 equally likely resamples each has a share of 3.7 %, so the 2.5 and 97.5 % quantiles are the extremes
    assert (min(every), max(every)) == pytest.approx((-10.0, 10.0))  # bbb: 30 − 40; aaa: 30 − 20
    interval = difference(ours, theirs)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((-10.0, 10.0))


def test_the_interval_leaves_a_fortieth_out_at_each_end() -> None:
    """Half of a hundred recordings are all wrong, so a resample's DER is a binomial share: of Bin(100, ½) the 2.5 and
    97.5 % quantiles are 40 and 60, the 5 and 95 % ones 42 and 58, the 1.25 and 98.75 % ones 39 and 61."""
    ours: Scored = {f"{place:02d}": (float(place < 50), 1.0) for place in range(100)}
    theirs: Scored = dict.fromkeys(ours, (0.0, 1.0))
    interval = difference(ours, theirs)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((40.0, 60.0))


def test_an_end_at_zero_is_not_told_apart() -> None:
    interval = difference({"a": (1.0, 10.0), "b": (2.0, 10.0)}, {"a": (1.0, 10.0), "b": (1.0, 10.0)})
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.0, 10.0))
    assert interval.contains_zero
    assert not Interval(0.1, 1.0, 2, 10).contains_zero
    assert not Interval(-1.0, -0.1, 2, 10).contains_zero


def test_as_many_resamples_as_asked_for_of_the_seed_asked_for() -> None:
    ours: Scored = {f"{place}": (float(place * place % 11), 12.0) for place in range(11)}
    theirs: Scored = dict.fromkeys(ours, (1.0, 12.0))
    few, others = difference(ours, theirs, resamples=40), difference(ours, theirs, resamples=40, seed=1)
    assert few is not None
    assert few.resamples == 40
    assert few != others
    assert few == difference(ours, theirs, resamples=40, seed=SEED)


def test_one_recording_has_no_interval() -> None:
    assert difference({"a": (1.0, 10.0)}, {"a": (2.0, 10.0)}) is None


def test_resamples_without_speech_are_left_out_and_counted() -> None:
    """Of b no speech is left to score: bb, a quarter of the resamples, has no DER."""
    interval = difference({"a": (2.0, 10.0), "b": (1.0, 0.0)}, {"a": (1.0, 10.0), "b": (0.0, 0.0)})
    assert interval is not None
    assert interval.resamples == pytest.approx(7500, abs=150)
    # aa: 20 − 10 = 10 points; ab: 100 · (3 / 10 − 1 / 10) = 20
    assert (interval.low, interval.high) == pytest.approx((10.0, 20.0))


def test_other_recordings_are_refused() -> None:
    with pytest.raises(ValueError, match="'b', 'c'"):
        difference({"a": (1.0, 10.0), "b": (1.0, 10.0)}, {"a": (1.0, 10.0), "c": (1.0, 10.0)})


def test_many_recordings_are_drawn_in_portions_of_the_same_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    ours: Scored = {f"{number}": (float(number % 7), 20.0) for number in range(40)}
    theirs: Scored = {f"{number}": (float(number % 5), 20.0) for number in range(40)}
    at_once = difference(ours, theirs)
    monkeypatch.setattr("explorer.statistics.bootstrap.CHUNK", 1000)
    assert difference(ours, theirs) == at_once


SECONDS = st.floats(0.1, 100.0)


@given(st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=2, max_size=12))
def test_swapping_sides_mirrors_the_interval_and_the_order_of_recordings_does_not_matter(
    recordings: list[tuple[float, float, float]],
) -> None:
    ours = {str(place): (errors, total) for place, (errors, _, total) in enumerate(recordings)}
    theirs = {str(place): (errors, total) for place, (_, errors, total) in enumerate(recordings)}
    forth, back = difference(ours, theirs, resamples=500), difference(theirs, ours, resamples=500)
    assert forth is not None
    assert back is not None
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=1e-6)
    assert difference(dict(reversed(ours.items())), theirs, resamples=500) == forth
    # no resample is beyond the recording that differs most
    each = [100 * (a / total - b / total) for a, b, total in recordings]
    assert min(each) - 1e-6 <= forth.low <= forth.high <= max(each) + 1e-6
    assert math.isfinite(forth.width)
