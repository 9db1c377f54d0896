"""Provisional names: who has one keeps it, who cannot be told apart yet has none."""

import numpy as np
import pytest

from objectives.models.embedding import Features
from objectives.streaming.chunkwise import ChunkwiseSession, Emitted
from objectives.streaming.clustering import UNNAMED
from objectives.streaming.hypothesis import Turn
from objectives.streaming.loop import LiveLoop
from objectives.streaming.provisional_labels import GROWTH, LiveNames, LiveTurns
from objectives.streaming.schedule import ENDLESS, Schedule
from tests.support.sign_models import CLUSTERING, SignRuntime, sign_embedding, speech

A, B = np.array([1.0, 0.1]), np.array([0.1, 1.0])
NOBODY = np.full(2, np.nan)
NO_FEATURES: Features = np.zeros((0, 1), np.float16)


class Heard:
    """A session as LiveNames sees it: what its next block holds, and how its anchors cluster."""

    def __init__(self) -> None:
        self.embedding = sign_embedding()
        self.anchors = 1
        self.clusterings = 0
        self.found = np.zeros((0, 2))
        self.block = Emitted(np.zeros(0, int), np.zeros((0, 2), bool), np.zeros(2, bool), np.zeros((2, 2)))

    def centroids(self, most: int) -> np.ndarray:
        self.clusterings += 1
        return self.found

    def latest(self, features: Features) -> Emitted:
        return self.block

    def speak(self, *embeddings: np.ndarray) -> None:
        """One cell, in which these local speakers speak."""
        count = len(embeddings)
        self.block = Emitted(np.array([0]), np.ones((1, count), bool), np.ones(count, bool), np.array(embeddings))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def names(heard: Heard) -> LiveNames:
    return LiveNames(heard)


def now(names: LiveNames) -> tuple[int, ...]:
    _, (told,) = names.latest(NO_FEATURES)
    return told


def grown(heard: Heard, *centroids: np.ndarray) -> None:
    heard.anchors *= 2
    heard.found = np.array(centroids).reshape(-1, 2)


def test_nobody_has_a_name_before_anybody_is_clustered(heard: Heard, names: LiveNames) -> None:
    heard.speak(A, B)
    assert now(names) == (UNNAMED, UNNAMED)


def test_a_local_speaker_beside_the_only_cluster_has_no_name_yet(heard: Heard, names: LiveNames) -> None:
    grown(heard, A)
    heard.speak(B, A)
    assert now(names) == (UNNAMED, 0)
    heard.speak(B)  # alone, there is nobody else it could be
    assert now(names) == (0,)


def test_too_little_speech_for_an_embedding_has_no_name(heard: Heard, names: LiveNames) -> None:
    grown(heard, A, B)
    heard.speak(NOBODY, B)
    assert now(names) == (UNNAMED, 1)


@pytest.mark.parametrize("order", [(A, B), (B, A)])
def test_a_name_stays_with_the_most_similar_cluster(
    heard: Heard, names: LiveNames, order: tuple[np.ndarray, ...]
) -> None:
    grown(heard, A)
    heard.speak(A)
    assert now(names) == (0,)
    grown(heard, *order)
    heard.speak(A, B)
    assert now(names) == (0, 1)
    grown(heard, *order[::-1])
    assert now(names) == (0, 1)


def test_a_name_that_lost_its_cluster_is_not_given_to_another(heard: Heard, names: LiveNames) -> None:
    grown(heard, A, B)
    heard.speak(A)
    now(names)
    grown(heard, B)  # A was merged into nothing
    now(names)
    grown(heard, B, A)
    heard.speak(A, B)
    assert now(names) == (2, 1)


def test_no_more_names_than_there_can_be_speakers(heard: Heard) -> None:
    names = LiveNames(heard, most=2)
    heard.speak(A, B)
    given: set[int] = set()
    for centroids in ((A, B), (A,), (A, B), (B,), (B, A)):
        grown(heard, *centroids)
        given |= set(now(names)) - {UNNAMED}
    assert given == {0, 1}
    assert sorted(names.final(heard.found, speaker) for speaker in range(2)) == [0, 1]
    grown(heard, A)
    alone = heard.found
    assert {names.final(alone, 0), names.final(alone, 1)} == {0, 1}  # one beyond the clusters


def test_clusterings_become_rare(heard: Heard, names: LiveNames) -> None:
    grown(heard, A)
    heard.speak(A)
    for heard.anchors in range(1, 1000):
        now(names)
    assert heard.clusterings == pytest.approx(np.log(1000) / np.log(GROWTH), abs=8)


def test_final_names_are_those_that_were_given(heard: Heard, names: LiveNames) -> None:
    grown(heard, A, B)
    heard.speak(A)
    now(names)
    last = np.array([B, A])
    assert [names.final(last, cluster) for cluster in (0, 1)] == [1, 0]
    # beyond the clusters: somebody with too little speech, whom nobody was called
    assert [names.final(last, spare) for spare in (2, 3)] == [2, 3]


def test_without_any_cluster_there_are_final_names_too(names: LiveNames) -> None:
    assert [names.final(np.zeros((0, 2)), speaker) for speaker in (0, 1)] == [0, 1]


def test_two_who_alternate_for_long_keep_their_names() -> None:
    """With a real session: blocks of 1 s, features in blocks of 2 s, clusterings again and again."""
    waveform = speech(*[(who, 3.0) for who in (1, -1)] * 25)
    loop = LiveLoop(Schedule(ENDLESS, 1.0, 0.5), SignRuntime(), sign_embedding(), CLUSTERING)
    names = LiveNames(loop.session)
    called: dict[float, set[int]] = {1.0: set(), -1.0: set()}
    for update in range(1, 145):
        loop.update(update, waveform[slice(*Schedule(ENDLESS, 1.0, 0.5).news(update))])
        starts, speaking = names.latest(loop.features)
        for start, who in zip(starts, speaking, strict=True):
            if update > 12 and who:
                # frames lie around their centres
                at = waveform[[max(0, start - 300), start + 300]]
                if at[0] == at[1]:
                    called[float(at[0])].update(who)
    assert isinstance(loop.session, ChunkwiseSession)
    assert all(len(names - {UNNAMED}) == 1 for names in called.values())
    assert called[1.0] & called[-1.0] <= {UNNAMED}


# --- turns whose names are provisional


def blocks(*told: list[tuple[int, ...]]) -> list[Turn]:
    """The turns of blocks of ten samples a cell."""
    turns, ended, start = LiveTurns(), [], 0
    for speaking in told:
        starts = start + 10 * np.arange(len(speaking))
        ended += turns.block(starts, speaking)
        start += 10 * len(speaking)
    return [*ended, *turns.end(start)]


def test_speech_that_goes_on_into_the_next_block_was_its_speakers() -> None:
    assert blocks([(), (UNNAMED,)], [(4,), ()]) == [(10, 30, 4)]


def test_within_a_block_one_local_speaker_is_not_another() -> None:
    assert blocks([(UNNAMED,), (4,)]) == [(0, 10, UNNAMED), (10, 20, 4)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((UNNAMED,), (4, 5)),  # either of the two
        ((UNNAMED, 4), (4,)),  # 4 spoke besides
        ((UNNAMED,), (UNNAMED, 4)),  # goes on
        ((UNNAMED,), ()),  # ends
        ((4,), (5,)),  # both are named
        ((4,), (UNNAMED,)),  # who speaks now may be somebody else
    ],
)
def test_otherwise_turns_are_what_was_told(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    both = set(before) & set(after)
    expected = [(0, 20 if who in both else 10, who) for who in before]
    expected += [(10, 20, who) for who in after if who not in both]
    assert sorted(blocks([before], [after])) == sorted(expected)


def test_seconds_are_covered_whatever_the_names() -> None:
    assert blocks([(UNNAMED, UNNAMED)], [(3,)]) == [(0, 20, 3)]
