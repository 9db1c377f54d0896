"""The streaming loop: schedule, causality, and that both planes say the same."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import SpeakerEmbedding, features_of
from objectives.models.embedding_features import recording_features
from objectives.operating_point import CHUNK_LENGTH_RANGE, RIGHT_CONTEXT_RANGE, OperatingPoint
from objectives.runtime.runtime import OnnxRuntime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.chunkwise import ChunkwiseSession
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.loop import LiveLoop, stream_batched, stream_live
from objectives.streaming.schedule import ENDLESS, Schedule, fill_gaps
from tests.support.sign_models import SignRuntime, sign_embedding, speech

CLUSTERING = ClusteringSettings()
WINDOW = 10 * SAMPLE_RATE

chunk_lengths = st.floats(*CHUNK_LENGTH_RANGE)
right_contexts = st.just(0.0) | st.floats(*RIGHT_CONTEXT_RANGE)
totals = st.integers(1, 20 * SAMPLE_RATE)


@given(totals, chunk_lengths, right_contexts)
def test_blocks_tile_the_recording_exactly_once(total: int, chunk_length: float, right_context: float) -> None:
    schedule = Schedule(total, chunk_length, right_context)
    blocks = [schedule.block(update) for update in range(1, len(schedule) + 1)]
    assert blocks[0][0] == 0
    assert blocks[-1][1] == total
    assert all(start < end for start, end in blocks)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(blocks))


@given(totals, chunk_lengths, right_contexts)
def test_an_update_hears_its_block_and_right_context_and_no_more(
    total: int, chunk_length: float, right_context: float
) -> None:
    schedule = Schedule(total, chunk_length, right_context)
    for update in range(1, len(schedule) + 1):
        start, end = schedule.block(update)
        heard = schedule.heard(update)
        assert end <= heard <= total
        # half a sample of rounding for each of C and R
        assert heard / SAMPLE_RATE <= update * chunk_length + right_context + 1 / SAMPLE_RATE
        assert start >= heard - WINDOW


@given(totals, chunk_lengths, right_contexts)
def test_news_are_what_was_heard_once_each(total: int, chunk_length: float, right_context: float) -> None:
    schedule = Schedule(total, chunk_length, right_context)
    news = [schedule.news(update) for update in range(1, len(schedule) + 1)]
    assert (news[0][0], news[-1][1]) == (0, total)
    assert [end for _, end in news] == [schedule.heard(update) for update in range(1, len(schedule) + 1)]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(news))


@given(totals, chunk_lengths)
def test_the_number_of_updates_is_the_ceiling_of_duration_over_chunk_length(total: int, chunk_length: float) -> None:
    updates = len(Schedule(total, chunk_length, 0.0))
    # block ends are rounded to samples, so the last half sample may be covered one update earlier
    assert updates - 1 < total / SAMPLE_RATE / chunk_length < updates + 0.5 / (chunk_length * SAMPLE_RATE)


def test_anchors_are_a_second_apart_below_one_second_and_every_update_above() -> None:
    short = Schedule(4 * SAMPLE_RATE, 0.25, 0.0)
    assert [update for update in range(1, 17) if short.is_anchor(update)] == [1, 4, 8, 12, 16]
    long = Schedule(10 * SAMPLE_RATE, 2.5, 0.0)
    assert all(long.is_anchor(update) for update in range(1, 5))


def test_latency_is_chunk_length_plus_right_context() -> None:
    assert OperatingPoint(0.5, 0.25).latency == 0.75
    schedule = Schedule(10 * SAMPLE_RATE, 0.5, 0.25)
    # a sample spoken at the start of a block waits for the whole block and the right context
    assert schedule.heard(3) - schedule.block(3)[0] == 0.75 * SAMPLE_RATE


def test_pauses_are_closed_only_between_speech_of_the_same_speaker() -> None:
    #           pause of 2, closed ↓  pause of 3, kept ↓     still open at the end ↓
    speaker = np.array([0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0], bool)
    expected = np.array([0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0], bool)
    other = np.zeros(11, bool)
    filled = fill_gaps(np.stack([speaker, other], axis=1), step=1600, shorter_than=0.2)
    np.testing.assert_array_equal(filled, np.stack([expected, other], axis=1))


@dataclasses.dataclass
class LoudnessRuntime:
    """A model that can be read: local speaker 0 speaks in the frames whose sample is positive, 1 where negative."""

    contract: object
    execution: str = "native"
    batch: int = 32

    def scores(self, windows: np.ndarray) -> np.ndarray:
        centres = np.arange(self.contract.frames) * self.contract.step + self.contract.centre
        samples = windows[:, centres]
        # (windows, frames)
        scores = np.zeros((*samples.shape, len(self.contract.powerset)), np.float32)
        scores[..., 0] = 0.5
        scores[..., 1] = samples > 0
        scores[..., 2] = samples < 0
        return scores


def emitted_blocks(
    waveform: np.ndarray, point: OperatingPoint, runtime: object, embedding: SpeakerEmbedding
) -> list[np.ndarray]:
    schedule = Schedule(len(waveform), point.chunk_length, point.right_context)
    loop = LiveLoop(schedule, runtime, embedding, CLUSTERING)
    return [loop.update(update, waveform[slice(*schedule.news(update))]) for update in range(1, len(schedule) + 1)]


@settings(max_examples=15, deadline=None)
@given(
    seconds=st.floats(0.1, 3.0),
    chunk_length=st.floats(0.05, 5.0),
    right_context=st.just(0.0) | st.floats(0.01, 2.0),
    cut=st.floats(0.0, 1.0),
    seed=st.integers(0, 9),
)
def test_nothing_later_than_the_right_context_changes_a_block(
    runtime: OnnxRuntime,
    embedding: SpeakerEmbedding,
    seconds: float,
    chunk_length: float,
    right_context: float,
    cut: float,
    seed: int,
) -> None:
    noise = np.random.default_rng(seed)
    waveform = noise.standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    changed = waveform.copy()
    moment = round(cut * len(waveform))
    changed[moment:] = -changed[moment:] + 1.0
    point = OperatingPoint(chunk_length, right_context)
    reader = LoudnessRuntime(runtime.contract)
    schedule = Schedule(len(waveform), chunk_length, right_context)
    before, after = (emitted_blocks(audio, point, reader, embedding) for audio in (waveform, changed))
    for update in range(1, len(schedule) + 1):
        if schedule.heard(update) <= moment:
            np.testing.assert_array_equal(before[update - 1], after[update - 1])


@pytest.mark.parametrize(("chunk_length", "right_context"), [(1.0, 0.0), (0.5, 0.7), (0.25, 2.0)])
def test_the_real_model_cannot_hear_the_future(
    excerpt: np.ndarray,
    runtime: OnnxRuntime,
    embedding: SpeakerEmbedding,
    chunk_length: float,
    right_context: float,
) -> None:
    waveform = excerpt[: 14 * SAMPLE_RATE]
    moment = 12 * SAMPLE_RATE
    changed = waveform.copy()
    changed[moment:] = np.random.default_rng(0).standard_normal(len(waveform) - moment)
    point = OperatingPoint(chunk_length, right_context)
    schedule = Schedule(len(waveform), chunk_length, right_context)
    before, after = (emitted_blocks(audio, point, runtime, embedding) for audio in (waveform, changed))
    same = [np.array_equal(one, other) for one, other in zip(before, after, strict=True)]
    untouched = [schedule.heard(update) <= moment for update in range(1, len(schedule) + 1)]
    assert all(equal for equal, free in zip(same, untouched, strict=True) if free)
    assert not all(same), "the change was heard by nobody: this test shows nothing"


@pytest.mark.parametrize(
    ("seconds", "chunk_length", "right_context"),
    [
        (14.0, 1.0, 0.5),
        (14.0, 0.37, 0.11),
        (14.0, 5.0, 5.0),
        (14.0, 5.0, 0.0),
        (3.0, 0.02, 0.0),  # shorter than the window
        (0.4, 1.0, 0.0),  # shorter than C
        (0.02, 0.05, 0.0),  # shorter than a frame of embedding features
        (7.3, 2.0, 0.01),  # a last, partial block
    ],
)
def test_the_batched_plane_says_what_the_real_loop_says(
    excerpt: np.ndarray,
    runtime: OnnxRuntime,
    embedding: SpeakerEmbedding,
    seconds: float,
    chunk_length: float,
    right_context: float,
) -> None:
    waveform = excerpt[8 * SAMPLE_RATE :][: round(seconds * SAMPLE_RATE)]
    point = OperatingPoint(chunk_length, right_context)
    features = recording_features(embedding, waveform)
    live = stream_live(waveform, point, runtime, embedding, CLUSTERING)
    batched = stream_batched(WindowClasses(waveform, runtime), features, point, embedding, CLUSTERING)
    assert batched == live
    assert live.total == len(waveform)
    assert all(0 <= start < end <= live.total for start, end, _ in live.turns)
    if seconds > 1:
        assert live.turns, "somebody speaks in this excerpt"


def test_nobody_speaks_in_silence(runtime: OnnxRuntime, embedding: SpeakerEmbedding) -> None:
    waveform = np.zeros(12 * SAMPLE_RATE, np.float32)
    hypothesis = stream_live(waveform, OperatingPoint(1.0, 0.5), runtime, embedding, CLUSTERING)
    assert hypothesis.turns == ()
    assert list(hypothesis.annotation("silence").itertracks()) == []


def test_activity_is_emitted_whatever_the_names_turn_out_to_be(
    excerpt: np.ndarray, runtime: OnnxRuntime, embedding: SpeakerEmbedding
) -> None:
    """Clustering names those who speak; it never takes back that they spoke."""
    waveform = excerpt[: 12 * SAMPLE_RATE]
    point = OperatingPoint(1.0, 0.5)
    windows, features = WindowClasses(waveform, runtime), recording_features(embedding, waveform)

    def speakers_at_once(threshold: float) -> np.ndarray:
        settings = ClusteringSettings(threshold)
        hypothesis = stream_batched(windows, features, point, embedding, settings)
        count = np.zeros(len(waveform), int)
        for start, end, _ in hypothesis.turns:
            count[start:end] += 1
        return count

    np.testing.assert_array_equal(speakers_at_once(0.01), speakers_at_once(1.99))


@settings(max_examples=20, deadline=None)
@given(total=totals, chunk_length=st.floats(0.2, 5.0), right_context=right_contexts)
def test_a_loop_that_does_not_know_the_end_says_the_same(total: int, chunk_length: float, right_context: float) -> None:
    waveform = speech((1, 3.3), (0, 2.1), (-1, 4.0), (1, 2.7), (-1, 1.9), (0, 1.2), (1, 4.8))[:total]
    endless = Schedule(ENDLESS, chunk_length, right_context)
    loop = LiveLoop(endless, SignRuntime(), sign_embedding(), CLUSTERING)
    update = 1
    while endless.heard(update) <= len(waveform):
        loop.update(update, waveform[slice(*endless.news(update))])
        update += 1
    known = loop.end(len(waveform))
    assert known == Schedule(len(waveform), chunk_length, right_context)
    for rest in range(update, len(known) + 1):
        loop.update(rest, waveform[slice(*known.news(rest))])
    point = OperatingPoint(chunk_length, right_context)
    said = loop.finish()
    assert said == stream_live(waveform, point, SignRuntime(), sign_embedding(), CLUSTERING)
    features = features_of(sign_embedding(), waveform)
    windows = WindowClasses(waveform, SignRuntime())
    assert said == stream_batched(windows, features, point, sign_embedding(), CLUSTERING)
    assert len(loop.centroids) <= 2


def test_the_latest_block_is_pooled_from_what_is_ready() -> None:
    waveform = speech((0, 0.5), (1, 5.5))
    schedule = Schedule(ENDLESS, 1.0, 0.0)
    loop = LiveLoop(schedule, SignRuntime(), sign_embedding(), CLUSTERING)
    for update in range(1, 7):
        loop.update(update, waveform[slice(*schedule.news(update))])
        session = loop.session
        latest = session.latest(loop.features)
        start, end = schedule.block(update)
        assert latest.starts[0] == start
        assert latest.starts[-1] < end
        assert len(latest.starts) == len(latest.frames)
        assert latest.active.tolist() == [True, False, False]
        # features come in blocks of 1 s that are ready at whole seconds, up to 0.04 s before: of every block at once
        np.testing.assert_allclose(latest.embeddings[0], [1.0, 0.0], atol=1e-6)
        assert np.isnan(latest.embeddings[1:]).all()
        # a stretch's voices are pooled with all of its features, so 0.04 s later; half a second is no voice
        assert len(session.centroids()) == (update >= 3)
    assert loop.session.anchors == 6


def test_looking_at_the_latest_block_changes_nothing() -> None:
    waveform = speech((1, 4.0), (0, 1.5), (-1, 5.0), (0, 2.0), (1, 4.0))
    schedule = Schedule(len(waveform), 0.7, 0.3)

    def heard(look: bool) -> object:
        loop = LiveLoop(schedule, SignRuntime(), sign_embedding(), CLUSTERING)
        for update in range(1, len(schedule) + 1):
            loop.update(update, waveform[slice(*schedule.news(update))])
            if look:
                assert isinstance(loop.session, ChunkwiseSession)
                loop.session.latest(loop.features)
                loop.session.centroids()
        return loop.finish()

    assert heard(look=True) == heard(look=False)
