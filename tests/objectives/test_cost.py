"""Timings as data, the section that is timed, and the one timed region, by clocks that count work instead of time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.clustering import ClusteringSettings
from objectives.cost import (
    SECTION_BOUNDS,
    SECTION_UPDATES,
    Timing,
    offline_real_time_factor,
    real_time_factor,
    section_of,
)
from objectives.embedding import SpeakerEmbedding
from objectives.operating_point import OperatingPoint
from objectives.runtime import Execution, OnnxRuntime
from objectives.segmentation import SAMPLE_RATE, Contract
from objectives.streaming import Schedule

CLUSTERING = ClusteringSettings(0.8)


def test_timing_by_hand() -> None:
    timing = Timing(rtf=(0.30, 0.10, 0.24), baseline_rtf=(0.20, 0.05, 0.20), threads=1)
    assert timing.median == 0.24
    assert timing.spread == (0.10, 0.30)
    assert timing.ratio == pytest.approx(1.5)  # of 1.5, 2.0 and 1.2; 0.24 / 0.20 would be 1.2


def test_a_machine_that_slows_down_changes_rtf_but_not_the_ratio() -> None:
    timing = Timing(rtf=(0.1, 0.2, 0.8), baseline_rtf=(0.05, 0.1, 0.4), threads=1)
    assert timing.ratio == pytest.approx(2.0)


def test_an_even_number_of_repeats_meets_in_the_middle() -> None:
    assert Timing(rtf=(0.1, 0.3), baseline_rtf=(0.1, 0.1), threads=1).median == pytest.approx(0.2)


def test_repeats_without_their_pair_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="shorter"):
        _ = Timing(rtf=(0.1, 0.2), baseline_rtf=(0.1,), threads=1).ratio


schedules = st.builds(
    Schedule,
    total=st.integers(1, 90 * SAMPLE_RATE),
    chunk_length=st.floats(0.02, 5.0),
    right_context=st.one_of(st.just(0.0), st.floats(0.01, 5.0)),
)


@given(schedules)
def test_a_section_lies_in_its_recording_and_is_long_enough_but_not_longer(schedule: Schedule) -> None:
    section = section_of(schedule)
    assert 1 <= section.first < section.last <= len(schedule) + 1
    low, high = SECTION_BOUNDS
    wanted = min(max(SECTION_UPDATES * schedule.chunk_length, low), high)
    sample = 2 / SAMPLE_RATE  # blocks begin and end on whole samples
    seconds = section.seconds(schedule)
    assert seconds <= wanted + schedule.chunk_length + sample
    is_whole = section.last - section.first == len(schedule)
    assert seconds == pytest.approx(schedule.total / SAMPLE_RATE) if is_whole else seconds >= wanted - sample


@given(schedules)
def test_a_section_is_in_the_middle(schedule: Schedule) -> None:
    section = section_of(schedule)
    before, after = section.first - 1, len(schedule) - (section.last - 1)
    assert after - before in (0, 1)


class CountingRuntime:
    """Hears one local speaker all the time, and counts the windows it was given."""

    execution: Execution = "native"

    def __init__(self, contract: Contract):
        self.contract = contract
        self.windows = 0
        self.heard: list[np.ndarray] = []

    def scores(self, windows: np.ndarray) -> np.ndarray:
        self.windows += len(windows)
        self.heard.append(windows)
        scores = np.zeros((len(windows), self.contract.frames, len(self.contract.powerset)), np.float32)
        scores[..., 1] = 1.0
        return scores


@pytest.fixture
def counting(runtime: OnnxRuntime) -> CountingRuntime:
    return CountingRuntime(runtime.contract)


@pytest.mark.parametrize(
    ("chunk_length", "right_context", "updates", "seconds"),
    [
        (1.0, 0.0, 10, 10.0),
        (0.5, 0.3, 20, 10.0),
        (0.1, 0.0, 40, 4.0),
        (0.02, 0.5, 100, 2.0),
        (5.0, 5.0, 2, 10.0),
    ],
)
def test_every_update_of_the_section_is_timed_and_no_other(
    excerpt: np.ndarray,
    embedding: SpeakerEmbedding,
    counting: CountingRuntime,
    chunk_length: float,
    right_context: float,
    updates: int,
    seconds: float,
) -> None:
    """A clock that ticks once a window: elapsed time is the number of windows between its two readings."""
    point = OperatingPoint(chunk_length, right_context)
    rtf = real_time_factor(excerpt, point, counting, embedding, CLUSTERING, clock=lambda: counting.windows)
    assert counting.windows == updates
    assert rtf == pytest.approx(updates / seconds)


def test_a_clock_of_constant_speed_sees_the_audio_of_the_section(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    readings = iter([100.0, 103.0])
    point = OperatingPoint(0.3, 0.0)  # 34 updates reach 10 s: 10.2 s
    rtf = real_time_factor(excerpt, point, counting, embedding, CLUSTERING, clock=lambda: next(readings))
    assert rtf == pytest.approx(3.0 / 10.2)
    assert list(readings) == []  # read twice


def test_features_of_what_was_heard_before_are_made_outside_the_timed_region(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """C = 1 s in 30 s: updates 11 … 20. Blocks of 2 s that need 0.04 s more: 4 are ready at 10 s, 9 at 20 s."""
    made = 0

    def features(samples: np.ndarray) -> np.ndarray:
        nonlocal made
        made += 1
        return embedding.features(samples)

    counted = replace(embedding, features=features)
    rtf = real_time_factor(excerpt, OperatingPoint(1.0, 0.0), counting, counted, CLUSTERING, clock=lambda: made)
    assert made == 9
    assert rtf == pytest.approx((9 - 4) / 10.0)


def test_a_warm_up_is_a_shorter_section(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    point = OperatingPoint(0.02, 0.0)
    rtf = real_time_factor(excerpt, point, counting, embedding, CLUSTERING, updates=3, clock=lambda: counting.windows)
    assert counting.windows == 3
    assert rtf == pytest.approx(3 / 0.06)


def test_a_recording_shorter_than_a_chunk_is_timed_whole(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    short = excerpt[: SAMPLE_RATE // 2]
    rtf = real_time_factor(
        short, OperatingPoint(2.0, 0.0), counting, embedding, CLUSTERING, clock=lambda: counting.windows
    )
    assert rtf == pytest.approx(1 / 0.5)


@pytest.mark.parametrize(
    ("seconds", "windows", "heard"),
    [
        (60.0, 21, 30.0),  # all of the 30 s: a window begins at 0, 1, … 20 s
        (12.0, 3, 12.0),  # at 9, 10 and 11 s
        (4.0, 1, 4.0),
    ],
)
def test_offline_all_windows_of_the_middle_are_timed(
    excerpt: np.ndarray,
    embedding: SpeakerEmbedding,
    counting: CountingRuntime,
    seconds: float,
    windows: int,
    heard: float,
) -> None:
    rtf = offline_real_time_factor(excerpt, counting, embedding, CLUSTERING, seconds, clock=lambda: counting.windows)
    assert counting.windows == windows
    assert rtf == pytest.approx(windows / heard)
    first = round((30.0 - heard) / 2 * SAMPLE_RATE)
    length = round(min(heard, 10.0) * SAMPLE_RATE)
    np.testing.assert_array_equal(counting.heard[0][0, :length], excerpt[first : first + length])


def test_offline_windows_are_batched_and_every_feature_is_made_inside_the_timed_region(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """30 s are 15 blocks of 2 s."""
    made = 0

    def features(samples: np.ndarray) -> np.ndarray:
        nonlocal made
        made += 1
        return embedding.features(samples)

    counted = replace(embedding, features=features)
    first = offline_real_time_factor(excerpt, counting, counted, CLUSTERING, clock=lambda: made)
    again = offline_real_time_factor(excerpt, counting, counted, CLUSTERING, clock=lambda: made)
    assert (first, again) == pytest.approx((15 / 30.0, 15 / 30.0))  # nothing is kept
    assert [len(windows) for windows in counting.heard] == [21, 21]
