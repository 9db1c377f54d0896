"""The online mode without thresholds: all that was heard is clustered again, and no emitted label ever changes."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import SpeakerEmbedding, features_of
from objectives.models.embedding_features import recording_features
from objectives.operating_point import OnlineTracking, OperatingPoint
from objectives.runtime.runtime import OnnxRuntime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming import reclustering
from objectives.streaming.clustering import ClusteringSettings, cluster
from objectives.streaming.hypothesis import Hypothesis, Turn
from objectives.streaming.loop import LiveLoop, stream_batched, stream_live
from objectives.streaming.reclustering import EARLIER, LATEST, MOST_NAMES, ReclusteringSession
from objectives.streaming.schedule import ENDLESS, Schedule
from tests.support.sign_models import CLUSTERING, CONTRACT, SignRuntime, sign_embedding, speech

S = SAMPLE_RATE
CALL = speech((1, 3.3), (0, 1.4), (-1, 4.0), (1, 2.7), (-1, 1.9), (0, 0.8), (1, 4.8), (-1, 3.0))
chunk_lengths = st.floats(0.1, 5.0)
right_contexts = st.just(0.0) | st.floats(0.01, 5.0)
pauses = st.just(0.0) | st.floats(0.0, 3.0)


def online_point(chunk_length: float, right_context: float, wait: float = 0.0) -> OperatingPoint:
    tracking = OnlineTracking(min_duration_off=wait)
    return OperatingPoint(chunk_length, right_context, mode="online", online=tracking)


def heard(waveform: np.ndarray, point: OperatingPoint, clustering: ClusteringSettings = CLUSTERING) -> Hypothesis:
    return stream_live(waveform, point, SignRuntime(), sign_embedding(), clustering)


def names(hypothesis: Hypothesis) -> set[int]:
    return {name for _, _, name in hypothesis.turns}


def session_of(schedule: Schedule, clustering: ClusteringSettings = CLUSTERING) -> ReclusteringSession:
    return ReclusteringSession(schedule, CONTRACT, sign_embedding(), clustering)


def anybody(random: np.random.Generator) -> np.ndarray:
    """A window of turns of 0.5 s and more, overlaps and silence: (frames, speakers) bool."""
    states = random.integers(0, len(CONTRACT.powerset), CONTRACT.frames // 30 + 1)
    states[random.random(len(states)) < random.random()] = 0
    return np.repeat(CONTRACT.powerset[states], 30, axis=0)[: CONTRACT.frames]


def some_features(random: np.random.Generator, seconds: float) -> np.ndarray:
    embedding = sign_embedding()
    return random.normal(size=(round(seconds * S / embedding.step), embedding.channels)).astype(np.float16)


def named(
    schedule: Schedule, windows: list[np.ndarray], features: np.ndarray, clustering: ClusteringSettings = CLUSTERING
) -> Hypothesis:
    session = session_of(schedule, clustering)
    for update, activity in enumerate(windows, start=1):
        session.emit(update, activity)
        session.pool(features)
        session.name_block()
    return session.name(session.centroids())


def at_once(hypothesis: Hypothesis) -> np.ndarray:
    """How many speak at each sample."""
    count = np.zeros(hypothesis.total, int)
    for start, end, _ in hypothesis.turns:
        count[start:end] += 1
    return count


# --- labels that are final


def told_until(waveform: np.ndarray, point: OperatingPoint, updates: int, known: int) -> list[list[Turn]]:
    """The turns that became known with each of the first updates, of a recording of `known` samples."""
    schedule = Schedule(known, point.chunk_length, point.right_context)
    loop = LiveLoop(schedule, SignRuntime(), sign_embedding(), CLUSTERING, online=point.tracking)
    told = []
    for update in range(1, updates + 1):
        loop.update(update, waveform[slice(*schedule.news(update))])
        assert isinstance(loop.session, ReclusteringSession)
        told.append([*loop.session.ended])
    return told


@settings(max_examples=25, deadline=None)
@given(chunk_length=chunk_lengths, right_context=right_contexts, wait=pauses, share=st.floats(0.2, 0.9))
@example(chunk_length=4.71875, right_context=2.0, wait=1.40625, share=0.5)
@example(chunk_length=0.1, right_context=0.0, wait=0.0, share=0.9)
def test_another_future_changes_no_turn_that_was_emitted(
    chunk_length: float, right_context: float, wait: float, share: float
) -> None:
    point = online_point(chunk_length, right_context, wait)
    moment = round(share * len(CALL))
    schedule = Schedule(len(CALL), chunk_length, right_context)
    updates = sum(schedule.heard(update) <= moment for update in range(1, len(schedule) + 1))
    other = np.concatenate([CALL[:moment], -CALL[: len(CALL) - moment]])
    told = told_until(CALL, point, updates, len(CALL))
    assert told_until(other, point, updates, len(CALL)) == told
    emitted = set(itertools.chain.from_iterable(told))
    final = heard(CALL, point).turns
    assert emitted <= set(final)
    # what was not told yet is younger than the latency, or goes on
    end = schedule.block(updates)[1] if updates else 0
    assert [turn for turn in final if turn not in emitted and turn[1] + round(wait * S) < end] == []


def test_a_longer_recording_begins_with_the_labels_of_a_shorter_one() -> None:
    """Turns that end before the shorter one does, which cuts off the last of its own."""
    point = online_point(0.5, 0.25)
    whole = heard(CALL, point).turns
    for seconds in range(2, 21, 3):
        part = heard(CALL[: seconds * S], point).turns
        assert [turn for turn in part if turn[1] < (seconds - 1) * S] == [
            turn for turn in whole if turn[1] < (seconds - 1) * S
        ]


# --- both planes


@settings(max_examples=25, deadline=None)
@given(total=st.integers(1, len(CALL)), chunk_length=chunk_lengths, right_context=right_contexts, wait=pauses)
def test_both_planes_say_the_same(total: int, chunk_length: float, right_context: float, wait: float) -> None:
    waveform, point, embedding = CALL[:total], online_point(chunk_length, right_context, wait), sign_embedding()
    windows = WindowClasses(waveform, SignRuntime())
    batched = stream_batched(windows, features_of(embedding, waveform), point, embedding, CLUSTERING)
    assert batched == heard(waveform, point)
    assert batched.total == total


@pytest.mark.parametrize(
    ("seconds", "chunk_length", "right_context", "speakers"),
    [
        (14.0, 1.0, 0.5, None),
        (14.0, 1.0, 0.0, (2, 2)),
        (4.0, 0.1, 0.0, None),
        (14.0, 0.37, 0.11, (2, 2)),
        (14.0, 5.0, 5.0, None),
        (0.4, 1.0, 0.0, (2, 2)),
    ],
)
def test_both_planes_say_the_same_of_real_speech(
    excerpt: np.ndarray,
    runtime: OnnxRuntime,
    embedding: SpeakerEmbedding,
    seconds: float,
    chunk_length: float,
    right_context: float,
    speakers: tuple[int, int] | None,
) -> None:
    waveform = excerpt[8 * S :][: round(seconds * S)]
    point, clustering = online_point(chunk_length, right_context), ClusteringSettings(speakers=speakers)
    live = stream_live(waveform, point, runtime, embedding, clustering)
    features = recording_features(embedding, waveform)
    assert stream_batched(WindowClasses(waveform, runtime), features, point, embedding, clustering) == live
    assert live.turns or seconds < 1
    assert len(names(live)) <= (MOST_NAMES if speakers is None else 2)


@settings(max_examples=20, deadline=None)
@given(total=st.integers(1, len(CALL)), chunk_length=chunk_lengths, right_context=right_contexts)
def test_a_loop_that_does_not_know_the_end_says_the_same(total: int, chunk_length: float, right_context: float) -> None:
    waveform, point = CALL[:total], online_point(chunk_length, right_context)
    endless = Schedule(ENDLESS, chunk_length, right_context)
    loop = LiveLoop(endless, SignRuntime(), sign_embedding(), CLUSTERING, online=point.tracking)
    update = 1
    while endless.heard(update) <= total:
        loop.update(update, waveform[slice(*endless.news(update))])
        update += 1
    known = loop.end(total)
    for rest in range(update, len(known) + 1):
        loop.update(rest, waveform[slice(*known.news(rest))])
    assert loop.finish() == heard(waveform, point)


# --- who is who


@pytest.mark.parametrize("chunk_length", [0.1, 0.25, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("right_context", [0.0, 0.5])
def test_two_people_have_two_names_that_stay(chunk_length: float, right_context: float) -> None:
    """Before there is a voice of a person, who is new, its speech may have the other's name, but never a third one."""
    hypothesis = heard(CALL, online_point(chunk_length, right_context))
    assert names(hypothesis) == {0, 1}
    settled = round(7.0 * S)  # both have been heard for two seconds
    for start, end, name in hypothesis.turns:
        if start >= settled:
            assert {0: 1.0, 1: -1.0}[name] == CALL[(start + end) // 2]


@pytest.mark.parametrize("chunk_length", [0.1, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("speakers", [None, (1, 1), (2, 2), (1, 4)])
def test_one_person_has_one_name(chunk_length: float, speakers: tuple[int, int] | None) -> None:
    alone = speech((1, 6.3), (0, 12.0), (1, 0.7), (0, 1.0), (1, 8.0))
    assert names(heard(alone, online_point(chunk_length, 0.0), ClusteringSettings(speakers=speakers))) == {0}


def test_the_first_second_has_one_name_even_before_anybody_is_known() -> None:
    """Ten blocks before the first voice, and the voice's own cluster goes on with their name."""
    assert heard(CALL[: 3 * S], online_point(0.1, 0.0)).turns == ((0, 3 * S, 0),)


def test_two_at_once_from_the_first_second_have_two_names() -> None:
    both = np.zeros((CONTRACT.frames, 3), bool)
    both[:, :2] = True
    schedule = Schedule(4 * S, 0.1, 0.0)
    features = some_features(np.random.default_rng(0), 4.0)
    hypothesis = named(schedule, [both] * len(schedule), features)
    assert names(hypothesis) == {0, 1}
    assert (at_once(hypothesis) == 2).all()


def test_who_comes_back_has_the_old_name() -> None:
    """After more than a window and more than the latest voices are of somebody else."""
    long = (LATEST + 30.0, 15.0)
    waveform = speech((1, 6.0), (0, long[1]), (-1, long[0]), (0, long[1]), (1, 6.0))
    turns = heard(waveform, online_point(1.0, 0.0)).turns
    first, last = turns[0][2], turns[-1][2]
    assert waveform[turns[0][0] + S] == waveform[turns[-1][0] + S] == 1.0
    assert first == last
    assert len({name for _, _, name in turns}) == 2


def test_frames_that_left_the_window_say_nothing_of_its_first_frame() -> None:
    """Earlier names count by the speech that both windows cover: at C = 5 s half of the cells kept are before it."""
    session = session_of(Schedule(20 * S, 5.0, 0.0))
    session._cells, session._given = [(S, (0,)), (11 * S, (1,))], 2
    activity = np.zeros((CONTRACT.frames, 3), bool)
    activity[:, 0] = True
    session.emit(4, activity)
    assert session._latest is not None
    assert session._latest.window.start == 10 * S
    assert session._before(session._latest).tolist() == [[0.0, 1.0]]


def test_who_speaks_is_the_segmentations_to_say() -> None:
    """The same speech as chunk-wise, other names at most."""
    chunkwise = heard(CALL, OperatingPoint(0.7, 0.3))
    np.testing.assert_array_equal(at_once(heard(CALL, online_point(0.7, 0.3))), at_once(chunkwise))


# --- never more names than there can be speakers

lengths = {"seconds": st.floats(0.1, 25.0), "chunk_length": chunk_lengths, "right_context": right_contexts}


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    speakers=st.sampled_from([(1, 1), (2, 2), (1, 2), (2, 3), (3, 5)]),
    threshold=st.none() | st.floats(0.1, 1.9),
    **lengths,
)
def test_never_more_names_than_there_can_be_speakers(
    seed: int,
    speakers: tuple[int, int],
    threshold: float | None,
    seconds: float,
    chunk_length: float,
    right_context: float,
) -> None:
    random = np.random.default_rng(seed)
    schedule = Schedule(round(seconds * S), chunk_length, right_context)
    windows = [anybody(random) for _ in range(len(schedule))]
    features = some_features(random, seconds)
    hypothesis = named(schedule, windows, features, ClusteringSettings(threshold, speakers))
    assert names(hypothesis) <= set(range(speakers[1]))
    unlimited = named(schedule, windows, features)
    assert names(unlimited) <= set(range(MOST_NAMES))
    np.testing.assert_array_equal(at_once(hypothesis), np.minimum(at_once(unlimited), speakers[1]))


# --- long recordings


def test_a_long_recording_keeps_little_and_clusters_no_more_voices_than_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2,400 s of three turns and more a window. Sizes, not time: nothing that an update works on grows."""
    clustered: list[int] = []

    def counted(voices: np.ndarray, *rest: object, **more: object) -> np.ndarray:
        clustered.append(len(voices))
        return cluster(voices, *rest, **more)

    monkeypatch.setattr(reclustering, "cluster", counted)
    period, seconds = speech((1, 3.0), (0, 0.5), (-1, 4.0), (0, 0.5)), 2400
    frame = np.arange(CONTRACT.frames)
    schedule, embedding = Schedule(seconds * S, 1.0, 0.0), sign_embedding()
    session = session_of(schedule)
    features = np.tile(features_of(embedding, np.tile(period, 4))[: 8 * S // embedding.step], (seconds // 8, 1))
    cells, recent = [], []
    for update in range(1, seconds + 1):
        positions = schedule.heard(update) - CONTRACT.window + CONTRACT.frame_start(frame) + CONTRACT.step // 2
        samples = np.where(positions >= 0, period[positions % len(period)], 0)
        activity = np.stack([samples > 0, samples < 0, np.zeros_like(samples, bool)], axis=1)
        session.emit(update, activity)
        session.pool(features[: embedding.frames_before(schedule.heard(update))])
        session.name_block()
        cells.append(len(session._cells))
        recent.append(len(session._stretches._recent))
    assert max(clustered) == LATEST + EARLIER
    assert clustered.count(LATEST + EARLIER) > 1000
    assert len(clustered) <= seconds  # once for each second at most
    assert max(cells) <= 2 * CONTRACT.frames
    assert max(recent) <= 12 * CONTRACT.max_at_once
    assert not session._stretches.votes
    assert len(session._stretches._pending) <= 2 * CONTRACT.max_at_once
    assert session._stretches.nbytes < 1024 * 1024
    turns = session.name(session.centroids()).turns
    assert {name for _, _, name in turns} == {0, 1}
    settled = [turn for turn in turns if turn[0] > 10 * S]
    assert all({0: 1, 1: -1}[name] == period[(start + end) // 2 % len(period)] for start, end, name in settled)


def test_names_are_clustered_once_a_second_however_short_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(voices: np.ndarray, *rest: object, **more: object) -> np.ndarray:
        calls.append(len(voices))
        return cluster(voices, *rest, **more)

    monkeypatch.setattr(reclustering, "cluster", counted)
    heard(speech((1, 8.0)), online_point(0.05, 0.0))
    assert calls == list(range(1, len(calls) + 1))
    assert len(calls) <= 8


# --- pauses


@pytest.mark.parametrize("wait", [0.0, 2.0])
@pytest.mark.parametrize("right_context", [0.0, 1.0])
def test_a_pause_is_closed_if_it_is_waited_for(right_context: float, wait: float) -> None:
    waveform = speech((1, 5.0), (0, 1.5), (1, 5.0))
    assert len(heard(waveform, online_point(0.5, right_context, wait)).turns) == (1 if wait else 2)


def test_a_turn_waits_for_its_pause_and_no_longer() -> None:
    """It ends at 5 s. With C = 0.5 s, the block until 7 s shows that a pause of up to 1.5 s is over."""
    waveform = speech((1, 5.0), (0, 5.0))
    for wait, updates in ((0.0, 11), (1.5, 14)):
        told = told_until(waveform, online_point(0.5, 0.0, wait), 20, len(waveform))
        (known,) = [update for update, turns in enumerate(told, start=1) if turns]
        assert abs(known - updates) <= 1
        ((start, end, name),) = told[known - 1]
        assert (start, name) == (pytest.approx(0, abs=CONTRACT.step), 0)
        assert abs(end - 5 * S) <= CONTRACT.step


# --- odd recordings


@pytest.mark.parametrize("chunk_length", [0.02, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("seconds", [1 / S, 0.02, 0.5, 0.95])
def test_recordings_under_a_second(chunk_length: float, seconds: float) -> None:
    waveform = np.ones(max(1, round(seconds * S)), np.float32)
    hypothesis = heard(waveform, online_point(chunk_length, 0.0))
    assert len(hypothesis.turns) == (1 if seconds >= 0.5 else len(hypothesis.turns))
    assert names(hypothesis) <= {0}
    assert hypothesis.total == len(waveform)


@pytest.mark.parametrize("chunk_length", [0.1, 1.0, 5.0])
def test_a_recording_that_begins_with_silence(chunk_length: float) -> None:
    hypothesis = heard(speech((0, 7.0), (-1, 4.0), (1, 4.0)), online_point(chunk_length, 0.0))
    assert hypothesis.turns[0][0] == pytest.approx(7 * S, abs=CONTRACT.step)
    assert names(hypothesis) == {0, 1}


def test_nobody_speaks() -> None:
    assert heard(np.zeros(12 * S, np.float32), online_point(1.0, 0.0)).turns == ()
