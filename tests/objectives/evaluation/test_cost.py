"""Timings as data, the section that is timed, and the one timed region, by clocks that count work instead of time."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.backends.pyannote import AgglomerativeClustering
from objectives.evaluation.cost import SECTION_BOUNDS, SECTION_UPDATES, seconds_of, section_of, time_loop, time_offline
from objectives.measurement import Execution, Run, Timing, UpdateLatency
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import SpeakerEmbedding
from objectives.models.filterbank import FBANK_WIDTH
from objectives.models.windows import window_at
from objectives.operating_point import OperatingPoint
from objectives.runtime.runtime import OnnxRuntime
from objectives.streaming import chunkwise
from objectives.streaming.clustering import ClusteringSettings, Pairs, cluster
from objectives.streaming.schedule import Schedule

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


def run(audio: float, segmentation: float, embedding: float, updates: tuple[float, ...] = ()) -> Run:
    stages = {"segmentation": segmentation, "embedding": embedding, "clustering": 0.5, "other": 0.5}
    return Run(audio, segmentation + embedding + 1.0, stages, updates)


def test_a_timing_of_runs_by_hand() -> None:
    own = [run(10.0, 3.0, 1.0, (0.1, 0.2)), run(10.0, 5.0, 1.0, (0.3,))]
    timing = Timing.of(own, [run(10.0, 1.0, 0.0), run(10.0, 1.5, 0.0)], threads=1, peak_memory=3 * 2**20)
    assert timing.rtf == pytest.approx((0.5, 0.7))
    assert timing.baseline_rtf == pytest.approx((0.2, 0.25))
    assert timing.updates == (0.1, 0.2, 0.3)
    # 8 + 2 + 1 + 1 seconds
    shares = {"segmentation": 8 / 12, "embedding": 2 / 12, "clustering": 1 / 12, "other": 1 / 12}
    assert timing.stage_shares == pytest.approx(shares)
    assert timing.peak_memory_mib == 3.0


def test_update_latency_by_hand() -> None:
    """0, 1, … 100 ms: percentile p is p ms. Of two updates, 95 % of the way from one to the other."""
    timing = Timing((0.1,), (0.1,), threads=1, updates=tuple(ms / 1000 for ms in reversed(range(101))))
    told = timing.update_latency
    assert told is not None
    assert (told.median, told.p95, told.p99, told.updates) == pytest.approx((0.050, 0.095, 0.099, 101))
    assert replace(timing, updates=(1.0, 2.0)).update_latency == UpdateLatency(1.5, 1.95, 1.99, 2)


def test_what_was_not_taken_is_none() -> None:
    timing = Timing((0.1,), (0.1,), threads=1)
    assert (timing.update_latency, timing.stage_shares, timing.peak_memory_mib) == (None, None, None)


schedules = st.builds(
    Schedule,
    total=st.integers(1, 90 * SAMPLE_RATE),
    chunk_length=st.floats(0.02, 5.0),
    right_context=st.one_of(st.just(0.0), st.floats(0.01, 5.0)),
)


@given(schedules)
def test_a_section_lies_in_its_recording_and_is_long_enough_but_not_longer(schedule: Schedule) -> None:
    section = section_of(schedule)
    assert 1 <= section.start < section.stop <= len(schedule) + 1
    low, high = SECTION_BOUNDS
    wanted = min(max(SECTION_UPDATES * schedule.chunk_length, low), high)
    sample = 2 / SAMPLE_RATE  # blocks begin and end on whole samples
    seconds = seconds_of(section, schedule)
    assert seconds <= wanted + schedule.chunk_length + sample
    is_whole = len(section) == len(schedule)
    assert seconds == pytest.approx(schedule.total / SAMPLE_RATE) if is_whole else seconds >= wanted - sample


@given(schedules)
def test_a_section_is_in_the_middle(schedule: Schedule) -> None:
    section = section_of(schedule)
    before, after = section.start - 1, len(schedule) - (section.stop - 1)
    assert after - before in (0, 1)


class CountingRuntime:
    """Hears one local speaker all the time, and counts the windows it was given."""

    execution: Execution = "native"
    batch: int = 32

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


@pytest.fixture(scope="module")
def embedding(embedding: SpeakerEmbedding) -> SpeakerEmbedding:
    """Cut as CAM++ is, of features that are no work: what is counted here is who asks for them, and when."""
    rows = np.random.default_rng(0).random((1 + 30 * SAMPLE_RATE // embedding.step, embedding.channels), np.float32)
    return replace(embedding, features=lambda samples: rows[: 1 + (len(samples) - FBANK_WIDTH) // embedding.step])


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
    timed = time_loop(excerpt, point, counting, embedding, CLUSTERING, clock=lambda: counting.windows)
    assert counting.windows == updates
    assert timed.rtf == pytest.approx(updates / seconds)
    assert timed.updates == (1,) * updates


def test_windows_end_at_what_was_heard_and_are_not_copied(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """C = 1 s in 12 s: updates 2 … 11, the first of them before a whole window was heard."""
    heard = excerpt[: 12 * SAMPLE_RATE]
    time_loop(heard, OperatingPoint(1.0, 0.5), counting, embedding, CLUSTERING)
    assert len(counting.heard) == 10
    length = counting.contract.window
    for update, (window,) in enumerate(counting.heard, start=2):
        end = round((update + 0.5) * SAMPLE_RATE)
        np.testing.assert_array_equal(window, window_at(heard, end - length, length))
    assert all(map(np.shares_memory, counting.heard, counting.heard[1:]))


def test_the_clock_is_read_where_a_stage_ends_and_nowhere_else(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """Before all, five times in each of 34 updates, and after the last pooling and the clustering."""
    readings = iter(range(1 + 34 * 5 + 2))
    point = OperatingPoint(0.3, 0.0)  # 34 updates reach 10 s: 10.2 s
    timed = time_loop(excerpt, point, counting, embedding, CLUSTERING, clock=lambda: next(readings))
    assert list(readings) == []
    assert timed.rtf == pytest.approx((34 * 5 + 2) / 10.2)  # from the first reading to the last
    assert timed.stages == {"segmentation": 34, "embedding": 34 + 1, "clustering": 34 + 1, "other": 2 * 34}
    assert timed.updates == (5,) * 34


@dataclass
class Moments:
    """A clock that only work moves: a window takes 1 s, a block of features 10 s, a clustering 100 s."""

    now: float = 0.0

    def take(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class SlowRuntime:
    inner: CountingRuntime
    take: Callable[[float], None]
    execution: Execution = "native"
    batch: int = 32

    @property
    def contract(self) -> Contract:
        return self.inner.contract

    def scores(self, windows: np.ndarray) -> np.ndarray:
        self.take(float(len(windows)))
        return self.inner.scores(windows)


def slow(counting: CountingRuntime, embedding: SpeakerEmbedding) -> tuple[Moments, SlowRuntime, SpeakerEmbedding]:
    moments = Moments()

    def features(samples: np.ndarray) -> np.ndarray:
        moments.take(10.0)
        return embedding.features(samples)

    return moments, SlowRuntime(counting, moments.take), replace(embedding, features=features)


def test_every_stage_is_charged_with_its_own_time(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C = 0.5 s in 30 s: updates 21 … 40, of which 22, 24, … 40 complete a block of features."""
    moments, runtime, slow_embedding = slow(counting, embedding)

    def slow_cluster(voices: np.ndarray, pairs: Pairs, settings: ClusteringSettings) -> np.ndarray:
        moments.take(100.0)
        return cluster(voices, pairs, settings)

    monkeypatch.setattr(chunkwise, "cluster", slow_cluster)
    timed = time_loop(excerpt, OperatingPoint(0.5, 0.0), runtime, slow_embedding, CLUSTERING, clock=lambda: moments.now)
    assert timed.stages == {"segmentation": 20.0, "embedding": 100.0, "clustering": 100.0, "other": 0.0}
    assert timed.updates == (1.0, 11.0) * 10  # the clustering belongs to no update
    assert timed.rtf == pytest.approx(220.0 / 10.0)  # but to the cost


def test_features_that_wait_for_context_are_made_where_the_recording_ends(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """5.5 s are five blocks, and a sixth one that is never completed: nobody's update, but not for free."""
    moments, runtime, slow_embedding = slow(counting, embedding)
    short = excerpt[: 11 * SAMPLE_RATE // 2]
    timed = time_loop(short, OperatingPoint(1.0, 0.0), runtime, slow_embedding, CLUSTERING, clock=lambda: moments.now)
    assert timed.updates == (11.0, 11.0, 11.0, 11.0, 11.0, 1.0)
    assert timed.stages["embedding"] == 60.0


def test_what_waits_for_context_is_not_made_where_the_recording_goes_on(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """Of 11 s the first ten updates are timed, which hear 10.5 s: ten blocks are ready, and the next one waits."""
    moments, runtime, slow_embedding = slow(counting, embedding)
    heard = excerpt[: 11 * SAMPLE_RATE]
    timed = time_loop(heard, OperatingPoint(1.0, 0.5), runtime, slow_embedding, CLUSTERING, clock=lambda: moments.now)
    assert len(timed.updates) == 10
    assert timed.stages["embedding"] == 100.0


def test_features_of_what_was_heard_before_are_made_outside_the_timed_region(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """C = 1 s in 30 s: updates 11 … 20. Of blocks of 1 s 10 are ready at 10 s, 20 at 20 s."""
    made = 0

    def features(samples: np.ndarray) -> np.ndarray:
        nonlocal made
        made += 1
        return embedding.features(samples)

    counted = replace(embedding, features=features)
    timed = time_loop(excerpt, OperatingPoint(1.0, 0.0), counting, counted, CLUSTERING, clock=lambda: made)
    assert made == 20
    assert timed.rtf == pytest.approx((20 - 10) / 10.0)


def test_a_warm_up_is_a_shorter_section(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    point = OperatingPoint(0.02, 0.0)
    timed = time_loop(excerpt, point, counting, embedding, CLUSTERING, updates=3, clock=lambda: counting.windows)
    assert counting.windows == 3
    assert timed.rtf == pytest.approx(3 / 0.06)


def test_a_recording_shorter_than_a_chunk_is_timed_whole(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    short = excerpt[: SAMPLE_RATE // 2]
    point = OperatingPoint(2.0, 0.0)
    timed = time_loop(short, point, counting, embedding, CLUSTERING, clock=lambda: counting.windows)
    assert timed.rtf == pytest.approx(1 / 0.5)


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
    timed = time_offline(excerpt, counting, embedding, CLUSTERING, seconds, clock=lambda: counting.windows)
    assert counting.windows == windows
    assert timed.rtf == pytest.approx(windows / heard)
    first = round((30.0 - heard) / 2 * SAMPLE_RATE)
    length = round(min(heard, 10.0) * SAMPLE_RATE)
    np.testing.assert_array_equal(counting.heard[0][0, :length], excerpt[first : first + length])


def test_offline_windows_are_batched_and_every_feature_is_made_inside_the_timed_region(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """30 s are 21 windows of 10 s, and each is heard on its own."""
    made = 0

    def features(samples: np.ndarray) -> np.ndarray:
        nonlocal made
        made += 1
        return embedding.features(samples)

    counted = replace(embedding, features=features)
    first, again = (time_offline(excerpt, counting, counted, CLUSTERING, clock=lambda: made) for _ in range(2))
    assert (first.rtf, again.rtf) == pytest.approx((21 / 30.0, 21 / 30.0))  # nothing is kept
    assert [len(windows) for windows in counting.heard] == [21, 21]


def test_offline_every_stage_is_charged_with_its_own_time(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime
) -> None:
    """pyannote.audio's own pipeline tells where its steps end: 21 windows."""
    moments, runtime, slow_embedding = slow(counting, embedding)
    timed = time_offline(excerpt, runtime, slow_embedding, CLUSTERING, clock=lambda: moments.now)
    assert timed.stages == {"segmentation": 21.0, "embedding": 210.0, "clustering": 0.0, "other": 0.0}
    assert timed.rtf == pytest.approx(231.0 / 30.0)
    assert timed.updates == ()


def test_offline_the_clustering_is_told_apart(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, counting: CountingRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments, runtime, _ = slow(counting, embedding)
    cluster = AgglomerativeClustering.__call__

    def slowly(self: AgglomerativeClustering, *arguments: object, **named: object) -> object:
        moments.take(100.0)
        return cluster(self, *arguments, **named)

    monkeypatch.setattr(AgglomerativeClustering, "__call__", slowly)
    timed = time_offline(excerpt, runtime, embedding, CLUSTERING, clock=lambda: moments.now)
    assert timed.stages == {"segmentation": 21.0, "embedding": 0.0, "clustering": 100.0, "other": 0.0}
