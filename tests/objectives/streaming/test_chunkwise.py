"""A chunk-wise session: what it says of a recording is what all its windows say, and it keeps little of them."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import features_of
from objectives.streaming import chunkwise
from objectives.streaming.chunkwise import ChunkwiseSession
from objectives.streaming.clustering import ClusteringSettings, Pairs, centroids_of, cluster, unit
from objectives.streaming.hypothesis import Hypothesis
from objectives.streaming.schedule import Schedule, fill_gaps
from objectives.streaming.stretches import VOTES, Heard, Stretches, chosen_features
from tests.support.sign_models import CLUSTERING, CONTRACT, SignRuntime, sign_embedding, speech

S = SAMPLE_RATE
CHANNELS = sign_embedding().channels
FEATURES_A_SECOND = S // sign_embedding().step
lengths = {
    "seconds": st.floats(0.1, 25.0),
    "chunk_length": st.floats(0.1, 5.0),
    "right_context": st.just(0.0) | st.floats(0.01, 5.0),
}


def anybody(random: np.random.Generator, contract: Contract = CONTRACT) -> np.ndarray:
    """A window of turns of 0.5 s and more, overlaps and silence: (frames, speakers) bool."""
    states = random.integers(0, len(contract.powerset), contract.frames // 30 + 1)
    states[random.random(len(states)) < random.random()] = 0
    return np.repeat(contract.powerset[states], 30, axis=0)[: contract.frames]


def some_features(random: np.random.Generator, seconds: float) -> np.ndarray:
    return random.normal(size=(round(seconds * FEATURES_A_SECOND), CHANNELS)).astype(np.float16)


def streamed(
    schedule: Schedule, windows: list[np.ndarray], features: np.ndarray, clustering: ClusteringSettings = CLUSTERING
) -> tuple[ChunkwiseSession, list[np.ndarray]]:
    """A session after these windows, and its blocks. Features come in blocks of a second."""
    session = ChunkwiseSession(schedule, CONTRACT, sign_embedding(), clustering)
    blocks = []
    for update, activity in enumerate(windows, start=1):
        blocks.append(session.emit(update, activity))
        session.pool(features[: schedule.heard(update) // S * FEATURES_A_SECOND])
        session.name_block()
    session.pool(features, last=True)
    return session, blocks


def named(
    schedule: Schedule, windows: list[np.ndarray], features: np.ndarray, clustering: ClusteringSettings = CLUSTERING
) -> Hypothesis:
    session, _ = streamed(schedule, windows, features, clustering)
    return session.name(session.centroids())


def heard_by(waveform: np.ndarray, schedule: Schedule) -> list[np.ndarray]:
    """What the model of signs hears in each update's window."""
    padded = np.concatenate([np.zeros(CONTRACT.window, np.float32), waveform])
    ends = [schedule.heard(update) for update in range(1, len(schedule) + 1)]
    scores = SignRuntime().scores(np.stack([padded[end : end + CONTRACT.window] for end in ends]))
    heard: np.ndarray = CONTRACT.powerset[scores.argmax(axis=-1)]
    return list(heard)


def at_once(hypothesis: Hypothesis) -> np.ndarray:
    """Number of people who speak in each sample."""
    count = np.zeros(hypothesis.total, int)
    for start, end, _ in hypothesis.turns:
        count[start:end] += 1
    return count


# --- the plain formula


def plainly(schedule: Schedule, windows: list[np.ndarray], features: np.ndarray) -> Hypothesis:
    """Everything at once from all windows, stretch by stretch and cell by cell."""
    embedding, updates = sign_embedding(), len(windows)
    heard = [Heard.at(schedule, CONTRACT, update, windows[update - 1]) for update in range(1, updates + 1)]
    taken = [
        window for update, window in enumerate(heard, start=1) if schedule.is_anchor(update) or update == len(windows)
    ]
    stretches = [(second * S, min((second + 1) * S, schedule.total)) for second in range(-(-schedule.total // S))]
    votes: list[list[tuple[Heard, np.ndarray, np.ndarray]]] = [[] for _ in stretches]
    voices, speech_of, founded_by, whole_of = [], [], [], []
    for number, (start, end) in enumerate(stretches):
        whole = end - start == S
        over = [index for index, window in enumerate(taken) if window.block_end >= end]
        for index in over:
            window = taken[index]
            covers = max(0, window.start) <= start
            late = window.block_end - end >= VOTES * S
            if not covers or (index > over[0] and late) or (not whole and window is not taken[-1]):
                continue
            first, last = CONTRACT.frame_at(np.array([start, end - 1]) - window.start)
            if not window.filled[first : last + 1].any():
                continue
            around = max(start - S // 2, window.start, 0), min(end + S // 2, window.end)
            _, chosen = chosen_features(embedding, CONTRACT, window, *around)
            pooled = np.array([embedding.pool(features[frames[frames < len(features)]]) for frames in chosen])
            votes[number].append((window, pooled, np.array([len(frames) for frames in chosen]) / FEATURES_A_SECOND))
            if index > over[0]:
                continue
            _, chosen = chosen_features(embedding, CONTRACT, window, start, end)
            for speaker, frames in enumerate(chosen):
                if len(frames) >= 0.8 * FEATURES_A_SECOND:
                    voices.append(embedding.pool(features[frames[frames < len(features)]]))
                    cells = np.flatnonzero(window.filled[first : last + 1, speaker]) + first
                    speech_of.append(CONTRACT.frame_start(cells) + CONTRACT.step // 2 + window.start)
                    founded_by.append(index)
                    whole_of.append(whole)
    together = np.zeros((2, len(voices), len(voices)))  # windows over both, and those that give them to one
    for index, window in enumerate(taken):
        said = {}
        for voice, samples in enumerate(speech_of):
            # nothing is compared any more when the last, partial stretch is taken in
            if founded_by[voice] <= index and samples[0] >= window.start and whole_of[voice]:
                spoken = window.activity[CONTRACT.frame_at(samples - window.start)].sum(axis=0)
                if spoken.max() >= 0.5 * len(samples):
                    said[voice] = spoken.argmax()
        for one in said:
            for other in said:
                if other < one:
                    together[:, one, other] += 1, said[one] == said[other]
    one, other = np.nonzero(together[0])
    pairs = Pairs(one, other, *together[:, one, other].astype(np.float32))
    found = np.array(voices).reshape(-1, 2)
    directions = unit(centroids_of(found, cluster(found, pairs, CLUSTERING)))
    starts, count = cells_of(schedule, windows)
    scores = np.zeros((len(starts), len(directions)), np.float32)
    for cell, at in enumerate(starts):
        for window, pooled, seconds in votes[at // S]:
            first, last = CONTRACT.frame_at(np.array([at // S * S, stretches[at // S][1] - 1]) - window.start)
            active = window.filled[np.clip(CONTRACT.frame_at(at - window.start), first, last)]
            similar = np.nan_to_num(unit(pooled) @ directions.T) * np.minimum(seconds, 1.0)[:, None]
            scores[cell] += (active @ similar) / max(active.sum(), 1)
    voted = np.flatnonzero((scores != 0).any(axis=1))
    speaking = []
    for cell, wanted in enumerate(count):
        near = min(voted, key=lambda other: (abs(other - cell), other), default=cell)
        likeliest = [*np.argsort(-scores[near], kind="stable"), *range(len(directions), len(directions) + wanted)]
        speaking.append(tuple(likeliest[:wanted]))
    return Hypothesis.from_cells(starts, schedule.total, speaking)


def cells_of(schedule: Schedule, windows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """First samples of all cells, and how many speak in each."""
    starts, count = [], []
    for update, activity in enumerate(windows, start=1):
        start, end = schedule.block(update)
        window_start = schedule.heard(update) - CONTRACT.window
        first, last = CONTRACT.frame_at(np.array([start, end - 1]) - window_start)
        starts += [start, *(CONTRACT.frame_start(np.arange(first + 1, last + 1)) + window_start)]
        count += fill_gaps(activity, CONTRACT.step)[first : last + 1].sum(axis=1).tolist()
    return np.array(starts), np.array(count)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), **lengths)
def test_labels_are_those_of_the_plain_formula(
    seed: int, seconds: float, chunk_length: float, right_context: float
) -> None:
    random = np.random.default_rng(seed)
    schedule = Schedule(round(seconds * S), chunk_length, right_context)
    windows = [anybody(random) for _ in range(len(schedule))]
    features = some_features(random, seconds)
    assert named(schedule, windows, features) == plainly(schedule, windows, features)


# --- speech is the segmentation's to say


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), **lengths)
def test_names_never_remove_speech_or_add_any(
    seed: int, seconds: float, chunk_length: float, right_context: float
) -> None:
    random = np.random.default_rng(seed)
    schedule = Schedule(round(seconds * S), chunk_length, right_context)
    windows = [anybody(random) for _ in range(len(schedule))]
    session, blocks = streamed(schedule, windows, some_features(random, seconds))
    starts, count = cells_of(schedule, windows)
    assert [block.sum(axis=1).tolist() for block in blocks] == [
        part.tolist() for part in np.split(count, np.cumsum([len(block) for block in blocks])[:-1])
    ]
    said = at_once(session.name(session.centroids()))
    np.testing.assert_array_equal(said, np.repeat(count, np.diff([*starts, schedule.total])))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    least=st.integers(1, 3),
    more=st.integers(0, 2),
    threshold=st.none() | st.floats(0.0, 1.9),
    **lengths,
)
def test_never_more_names_than_there_can_be_speakers(
    seed: int,
    least: int,
    more: int,
    threshold: float | None,
    seconds: float,
    chunk_length: float,
    right_context: float,
) -> None:
    random = np.random.default_rng(seed)
    most = least + more
    schedule = Schedule(round(seconds * S), chunk_length, right_context)
    windows = [anybody(random) for _ in range(len(schedule))]
    features = some_features(random, seconds)
    hypothesis = named(schedule, windows, features, ClusteringSettings(threshold, (least, most)))
    assert len({name for _, _, name in hypothesis.turns}) <= most
    unlimited = at_once(named(schedule, windows, features))
    np.testing.assert_array_equal(at_once(hypothesis), np.minimum(unlimited, most))


def test_one_speaker_is_one_even_where_two_speak_at_once() -> None:
    both = np.zeros((CONTRACT.frames, 3), bool)
    both[:, :2] = True
    schedule = Schedule(5 * S, 1.0, 0.0)
    features = some_features(np.random.default_rng(0), 5.0)
    assert named(schedule, [both] * 5, features, ClusteringSettings(speakers=(1, 1))).turns == ((0, 5 * S, 0),)


def test_nobody_speaks() -> None:
    schedule = Schedule(7 * S // 2, 1.0, 0.5)
    session, _ = streamed(
        schedule, [np.zeros((CONTRACT.frames, 3), bool)] * 4, some_features(np.random.default_rng(0), 3.5)
    )
    assert session.centroids().shape == (0, 2)
    assert session.name(session.centroids()) == Hypothesis(schedule.total, ())


@pytest.mark.parametrize("seconds", [0.01, 0.3, 0.79, 0.99])
def test_a_recording_that_is_shorter_than_a_stretch_has_one_name(seconds: float) -> None:
    waveform = speech((1, seconds))
    schedule = Schedule(len(waveform), 0.2, 0.1)
    hypothesis = named(schedule, heard_by(waveform, schedule), features_of(sign_embedding(), waveform))
    assert {name for _, _, name in hypothesis.turns} == ({0} if at_once(hypothesis).any() else set())
    assert at_once(hypothesis).any() == (seconds > 0.1)


# --- votes


def test_later_windows_name_what_the_window_that_emitted_it_confuses() -> None:
    """The second voice begins at 6 s. The window that ends at 7 s gives its first 0.4 s to the first speaker."""
    waveform = speech((1, 6.0), (-1, 6.0))
    begin = CONTRACT.frame_at(9 * S)

    def at(seconds: int, sample: int) -> set[int]:
        schedule = Schedule(seconds * S, 1.0, 0.0)
        windows = heard_by(waveform[: schedule.total], schedule)
        windows[6][begin : begin + 23] = [True, False, False]
        turns = named(schedule, windows, features_of(sign_embedding(), waveform[: schedule.total])).turns
        return {name for start, end, name in turns if start <= sample < end}

    first, second = S, 6 * S + 9 * S // 10
    confused = 6 * S + S // 5
    assert at(12, first) != at(12, second)
    assert at(12, confused) == at(12, second)
    assert at(7, confused) == at(7, first), "no later window votes: this test shows nothing"


def test_cells_that_no_window_votes_on_take_the_nearest_ones_speakers() -> None:
    """Blocks of 0.5 s, of which every second window votes: only the one that does not vote hears speech from 10 to
    10.5 s, between the first voice, which ends at 9.8 s, and the second one, which begins at 10.7 s."""
    waveform = speech((1, 9.8), (0, 0.9), (-1, 5.3))
    schedule = Schedule(len(waveform), 0.5, 0.0)
    windows = heard_by(waveform, schedule)
    assert schedule.block(21) == (10 * S, 21 * S // 2)
    assert not schedule.is_anchor(21)
    windows[20][CONTRACT.frame_at(19 * S // 2) :, 2] = True
    turns = named(schedule, windows, features_of(sign_embedding(), waveform)).turns
    (a,) = {name for start, end, name in turns if start <= S < end}
    (b,) = {name for start, end, name in turns if start <= 13 * S < end}
    assert a != b
    called = [{name for start, end, name in turns if start <= sample < end} for sample in (10 * S, 21 * S // 2 - 1)]
    assert called == [{a}, {b}]
    split = next(end for start, end, name in turns if start <= 10 * S < end)
    assert abs(split - 10.25 * S) < 270


def test_a_threshold_that_is_given_is_used() -> None:
    waveform = speech((1, 8.0), (-1, 8.0))
    schedule = Schedule(len(waveform), 1.0, 0.5)
    windows, features = heard_by(waveform, schedule), features_of(sign_embedding(), waveform)

    def names(settings: ClusteringSettings) -> int:
        return len({name for _, _, name in named(schedule, windows, features, settings).turns})

    # the voices have a distance of 2, and the windows say that they are two
    assert names(ClusteringSettings(1.9)) == names(CLUSTERING) == 2
    assert names(ClusteringSettings(2.3)) == 1


# --- many hours


@pytest.mark.parametrize(("chunk_length", "right_context"), [(4.6, 5.0), (4.9, 4.5), (5.0, 5.0)])
def test_every_second_is_voted_on_although_no_window_covers_it_whole(chunk_length: float, right_context: float) -> None:
    both = np.zeros((CONTRACT.frames, 3), bool)
    both[:, 0] = True
    schedule = Schedule(60 * S, chunk_length, right_context)
    session, _ = streamed(schedule, [both] * len(schedule), some_features(np.random.default_rng(0), 60.0))
    session.pool(np.zeros((0, 1), np.float16), last=True)
    assert [len(votes) > 0 for votes in session._stretches.votes] == [True] * 60


def test_of_more_voices_than_can_be_clustered_every_nth_stretch_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people at once for 20 s, so two voices a second. Half of the stretches are 20 voices, and a third 14."""
    both = np.zeros((CONTRACT.frames, 3), bool)
    both[:, :2] = True
    schedule = Schedule(20 * S, 1.0, 0.0)
    session, _ = streamed(schedule, [both] * 20, some_features(np.random.default_rng(0), 20.0))
    asked: list[int] = []

    def counted(voices: np.ndarray, pairs: Pairs, settings: ClusteringSettings) -> np.ndarray:
        asked.append(len(voices))
        assert not len(pairs.one) or pairs.one.max() < len(voices)
        return cluster(voices, pairs, settings)

    monkeypatch.setattr(chunkwise, "cluster", counted)
    for most in (40, 39, 20, 19, 14):
        session.centroids(most)
    assert asked == [40, 20, 20, 14, 14]


def test_memory_is_that_of_the_votes() -> None:
    """Two people in every window and voices of 192 numbers: four votes a second, of three voices each."""
    seconds, dimension = 600, 192
    embedding = dataclasses.replace(
        sign_embedding(), weight=np.ones((dimension, 2), np.float32), bias=np.zeros(dimension, np.float32)
    )
    two = np.zeros((CONTRACT.frames, 3), bool)
    two[:, :2] = True
    schedule, features = Schedule(seconds * S, 1.0, 0.0), some_features(np.random.default_rng(0), seconds)
    stretches = Stretches(CONTRACT, embedding)
    tracemalloc.start()
    try:
        for update in range(1, seconds + 1):
            stretches.hear(Heard.at(schedule, CONTRACT, update, two))
            stretches.pool(features)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert stretches.founded == seconds
    assert stretches.nbytes < 1.1 * seconds * (VOTES * 3 + 2) * dimension * 4 + 1024 * dimension * 4
    assert taken < 1.4 * stretches.nbytes
    assert max(len(votes) for votes in stretches.votes) == VOTES
