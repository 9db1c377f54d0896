"""The online mode with thresholds: names are final when a block is emitted, and both planes give the same."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from objectives.errors import ModelError, OperatingPointError
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import features_of
from objectives.operating_point import OnlineTracking, OperatingPoint
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.hypothesis import Turn
from objectives.streaming.incremental.online import OnlineSession, full_tracking, tracking_of
from objectives.streaming.loop import LiveLoop, stream_batched, stream_live
from objectives.streaming.schedule import Schedule
from tests.support.sign_models import CLUSTERING, CONTRACT, TRACKING, SignRuntime, sign_embedding, speech

CALL = speech((1, 3.3), (0, 1.4), (-1, 4.0), (1, 2.7), (-1, 1.9), (0, 0.8), (1, 4.8), (-1, 3.0))
chunk_lengths = st.floats(0.2, 5.0)
right_contexts = st.just(0.0) | st.floats(0.01, 5.0)
pauses = st.just(0.0) | st.floats(0.0, 3.0)


def online_point(chunk_length: float, right_context: float, wait: float = 0.0) -> OperatingPoint:
    tracking = OnlineTracking(delta_new=TRACKING.delta_new, min_duration_off=wait)  # the others are the embedding's
    return OperatingPoint(chunk_length, right_context, mode="online", online=tracking)


def told_until(waveform: np.ndarray, point: OperatingPoint, updates: int, known: int) -> list[Turn]:
    """What the first updates told of a recording of which so many samples follow their order."""
    schedule = Schedule(known, point.chunk_length, point.right_context)
    loop = LiveLoop(schedule, SignRuntime(), sign_embedding(), CLUSTERING, online=point.tracking)
    told: list[Turn] = []
    for update in range(1, updates + 1):
        loop.update(update, waveform[slice(*schedule.news(update))])
        assert isinstance(loop.session, OnlineSession)
        told += loop.session.ended
    return told


@settings(max_examples=25, deadline=None)
@given(chunk_length=chunk_lengths, right_context=right_contexts, wait=pauses, share=st.floats(0.2, 0.9))
@example(
    chunk_length=4.71875, right_context=2.0, wait=1.40625, share=0.5
)  # over before the block ends, not its last cell
def test_no_label_ever_changes(chunk_length: float, right_context: float, wait: float, share: float) -> None:
    """Whatever follows: the same past, and another future, give the same turns in the same updates; and what was told
    on the way is what stands in the end."""
    point = online_point(chunk_length, right_context, wait)
    heard = round(share * len(CALL))
    schedule = Schedule(len(CALL), chunk_length, right_context)
    updates = sum(schedule.heard(update) <= heard for update in range(1, len(schedule) + 1))
    other = np.concatenate([CALL[:heard], -CALL[: len(CALL) - heard]])
    told = told_until(CALL, point, updates, len(CALL))
    assert told_until(other, point, updates, len(CALL)) == told
    final = stream_live(CALL, point, SignRuntime(), sign_embedding(), CLUSTERING).turns
    assert set(told) <= set(final)
    # what was not told yet is younger than the latency, or still going on
    emitted = schedule.block(updates)[1] if updates else 0
    late = [turn for turn in final if turn not in told and turn[1] + round(wait * SAMPLE_RATE) < emitted]
    assert late == []


@settings(max_examples=25, deadline=None)
@given(total=st.integers(1, len(CALL)), chunk_length=chunk_lengths, right_context=right_contexts, wait=pauses)
def test_both_planes_say_the_same(total: int, chunk_length: float, right_context: float, wait: float) -> None:
    waveform, point, embedding = CALL[:total], online_point(chunk_length, right_context, wait), sign_embedding()
    live = stream_live(waveform, point, SignRuntime(), embedding, CLUSTERING)
    windows = WindowClasses(waveform, SignRuntime())
    assert stream_batched(windows, features_of(embedding, waveform), point, embedding, CLUSTERING) == live
    assert live.total == total


def test_who_speaks_is_the_segmentations_to_say() -> None:
    """The same speech as chunk-wise, other names at most."""
    embedding, at = sign_embedding(), (0.7, 0.3)

    def speaking(point: OperatingPoint) -> np.ndarray:
        turns = stream_live(CALL, point, SignRuntime(), embedding, CLUSTERING).turns
        count = np.zeros(len(CALL), int)
        for start, end, _ in turns:
            count[start:end] += 1
        return count

    np.testing.assert_array_equal(speaking(online_point(*at)), speaking(OperatingPoint(*at)))


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.tuples(st.sampled_from([1.0, -1.0, 0.0]), st.floats(0.2, 4.0)), min_size=1, max_size=8),
    delta=st.floats(0.0, 2.0),
    most=st.integers(1, 2),
    chunk_length=chunk_lengths,
    right_context=right_contexts,
)
def test_never_more_names_than_there_can_be_speakers(
    parts: list[tuple[float, float]], delta: float, most: int, chunk_length: float, right_context: float
) -> None:
    tracking = OnlineTracking(tau_active=0.0, rho_update=0.0, delta_new=delta)
    point = OperatingPoint(chunk_length, right_context, mode="online", online=tracking)
    clustering = ClusteringSettings(speakers=(1, most))
    turns = stream_live(speech(*parts), point, SignRuntime(), sign_embedding(), clustering).turns
    assert {name for _, _, name in turns} <= set(range(most))


def test_points_without_thresholds_are_not_tracked_by_them() -> None:
    """`explorer export` writes None for them, and the embedding needs none."""
    bare = dataclasses.replace(sign_embedding(), online=OnlineTracking())
    pauses_only = OnlineTracking(min_duration_off=0.5)
    assert full_tracking(pauses_only, sign_embedding()) == full_tracking(pauses_only, bare) == pauses_only
    assert full_tracking(OnlineTracking(delta_new=0.1), sign_embedding()) == dataclasses.replace(
        TRACKING, delta_new=0.1
    )
    with pytest.raises(ModelError, match="never tuned"):
        full_tracking(OnlineTracking(delta_new=0.1), bare)


def test_two_people_who_take_turns_are_two() -> None:
    turns = stream_live(CALL, online_point(1.0, 0.5), SignRuntime(), sign_embedding(), CLUSTERING).turns
    voices = {
        who: {int(np.sign(CALL[(start + end) // 2])) for start, end, name in turns if name == who} for who in (0, 1)
    }
    assert voices == {0: {1}, 1: {-1}}
    assert {who for _, _, who in turns} == {0, 1}


def test_pauses_that_are_waited_for_count_in_the_latency() -> None:
    assert online_point(1.0, 0.5, 0.75).latency == 2.25
    assert online_point(1.0, 0.5).latency == OperatingPoint(1.0, 0.5).latency == 1.5
    with pytest.raises(OperatingPointError, match="online"):
        OperatingPoint(online=OnlineTracking(delta_new=0.5))


@pytest.mark.parametrize("wait", [0.0, 2.0])
@pytest.mark.parametrize("right_context", [0.0, 1.0])
def test_a_pause_is_closed_where_it_is_waited_for(right_context: float, wait: float) -> None:
    """Counted to the end of the latest block, after which the right context was heard but not told."""
    waveform, point = speech((1, 5.0), (0, 1.5), (1, 5.0)), online_point(0.5, right_context, wait)
    turns = stream_live(waveform, point, SignRuntime(), sign_embedding(), CLUSTERING).turns
    assert len(turns) == (1 if wait else 2)


def test_each_threshold_is_given_to_the_memory_as_what_it_is() -> None:
    thresholds = {"tau_active": 0.25, "rho_update": 0.5, "delta_new": 0.75}
    session = OnlineSession(Schedule(1, 1.0, 0.0), CONTRACT, sign_embedding(), OnlineTracking(**thresholds))
    assert {name: getattr(session._memory, name) for name in thresholds} == thresholds


def test_an_embedding_without_thresholds_of_its_own_says_how_to_get_them() -> None:
    bare = dataclasses.replace(sign_embedding(), online=OnlineTracking())
    with pytest.raises(ModelError, match=r"tau_active, rho_update, delta_new .* signs: .*calibrate --online"):
        tracking_of(OnlineTracking(), bare)
    assert tracking_of(dataclasses.replace(TRACKING, delta_new=0.1), bare).delta_new == 0.1
    assert tracking_of(OnlineTracking(delta_new=0.1), sign_embedding()) == dataclasses.replace(TRACKING, delta_new=0.1)
