"""Voices → speakers → names, by hand."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.streaming.clustering import (
    MOST_VOICES,
    SEGMENTATION_PRIOR,
    SEGMENTATION_WEIGHT,
    TOGETHER,
    UNNAMED,
    ClusteringSettings,
    Pairs,
    centroids_of,
    cluster,
    mean_silhouette,
    name_local_speakers,
    unit,
    voice_distances,
)

UNKNOWN = ClusteringSettings()
EAST, NORTH, UP = np.eye(3)


def no_pairs() -> Pairs:
    return pairs()


def pairs(*rows: tuple[int, int, int, int]) -> Pairs:
    """Rows of one, other, windows, together."""
    one, other, windows, together = np.array(rows, int).reshape(-1, 4).T
    return Pairs(one, other, windows.astype(np.float32), together.astype(np.float32))


def neighbours(speakers: np.ndarray, together: bool, windows: int = 10) -> Pairs:
    """Pairs of voices up to ten seconds apart; windows give two voices of different speakers to one local speaker, or
    not."""
    rows = [
        (one, other, windows, windows if together or speakers[one] == speakers[other] else 0)
        for one in range(len(speakers))
        for other in range(max(0, one - 9), one)
    ]
    return pairs(*rows)


def voices(speakers: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    """One voice for each number of a speaker, (voices, 16)."""
    random = np.random.default_rng(seed)
    return np.eye(16)[speakers] + noise * random.normal(size=(len(speakers), 16)) / 4  # noise: of length 1


def found(voices: np.ndarray, settings: ClusteringSettings = UNKNOWN, known: Pairs | None = None) -> list[int]:
    """Return the speaker of each voice, numbered by their first voice."""
    names = cluster(voices, known or no_pairs(), settings).tolist()
    assert set(names) == set(range(len(set(names))))
    return [list(dict.fromkeys(names)).index(name) for name in names]


TWO = np.repeat([0, 1, 0, 1], 15)


# --- the silhouette


def test_the_silhouette_of_two_pairs_by_hand() -> None:
    """At 0 and 1, 4 and 7. For 0: a = 1, b = 5.5. For 1: 1 and 4.5. For 4: 3 and 3.5. For 7: 3 and 6.5."""
    points = np.array([0.0, 1.0, 4.0, 7.0])
    distance = np.abs(points[:, None] - points)
    expected = np.mean([4.5 / 5.5, 3.5 / 4.5, 0.5 / 3.5, 3.5 / 6.5])
    assert mean_silhouette(distance, np.array([3, 3, 5, 5])) == pytest.approx(expected)


def test_an_element_alone_in_its_cluster_counts_as_zero() -> None:
    points = np.array([0.0, 1.0, 4.0])
    distance = np.abs(points[:, None] - points)
    assert mean_silhouette(distance, np.array([0, 0, 1])) == pytest.approx((3 / 4 + 2 / 3 + 0) / 3)


def test_an_element_nearer_to_another_cluster_counts_against() -> None:
    """1 shares a cluster with 10, and is nearer to 0, which is alone. For 10: a = 9, b = 10. For 1: a = 9, b = 1."""
    points = np.array([0.0, 10.0, 1.0])
    distance = np.abs(points[:, None] - points)
    assert mean_silhouette(distance, np.array([0, 1, 1])) == pytest.approx((0 + 1 / 10 - 8 / 9) / 3)


def test_equal_elements_in_two_clusters_have_none() -> None:
    assert mean_silhouette(np.zeros((4, 4)), np.array([0, 0, 1, 1])) == 0


# --- what the segmentation says of pairs


def test_pairs_among_the_chosen_are_numbered_anew() -> None:
    chosen = pairs((1, 0, 3, 2), (4, 1, 5, 0), (4, 3, 9, 9), (7, 4, 2, 1)).of(np.array([1, 4, 7]))
    assert chosen.one.tolist() == [1, 2]
    assert chosen.other.tolist() == [0, 1]
    assert chosen.windows.tolist() == [5, 2]
    assert chosen.together.tolist() == [0, 1]


def test_said_together_is_of_windows_over_voices_of_two_clusters() -> None:
    known = pairs((1, 0, 4, 4), (2, 1, 6, 3), (3, 2, 5, 0), (3, 1, 2, 1))
    # 0 and 1 against 2 and 3: the pairs (2, 1) and (3, 1), 4 of 8 windows
    assert known.said_together(np.array([0, 0, 1, 1])) == 0.5
    assert known.said_together(np.zeros(4, int)) == 0
    assert no_pairs().said_together(np.array([0, 1])) == 0


def test_distances_are_moved_by_what_windows_say_and_are_never_negative() -> None:
    known = pairs((1, 0, 3, 0), (2, 0, 3, 3), (3, 1, 6, 3))
    distance = voice_distances(np.array([EAST, 2 * NORTH, EAST + NORTH, EAST]), known)
    share = SEGMENTATION_WEIGHT / 2  # three windows, and a prior of three
    assert SEGMENTATION_PRIOR == 3
    half = 1 - np.sqrt(0.5)
    expected = np.array(
        [[0, 1 + share, half - share, 0], [1 + share, 0, half, 1], [half - share, half, 0, half], [0, 1, half, 0]]
    )
    np.testing.assert_allclose(distance, expected, atol=1e-6)
    near = voice_distances(np.array([EAST, EAST]), pairs((1, 0, 100, 100)))
    assert near.tolist() == [[0, 0], [0, 0]]


# --- how many speakers


def test_too_few_voices_are_one_speaker() -> None:
    assert found(np.zeros((0, 3))) == []
    assert found(EAST[None]) == [0]
    assert found(np.array([EAST, 2 * EAST])) == [0, 0]
    assert found(np.array([EAST, NORTH])) == [0, 1]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_one_speaker_alone_is_one(noise: float, together: bool) -> None:
    alone = np.zeros(60, int)
    assert set(found(voices(alone, noise), known=neighbours(alone, together))) == {0}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("speakers", [2, 3, 5])
def test_clear_voices_are_told_apart_whatever_windows_say(speakers: int, together: bool) -> None:
    who = np.repeat(np.arange(speakers), 15)
    assert found(voices(who, noise=0.4), known=neighbours(who, together)) == who.tolist()


def test_doubtful_voices_are_told_apart_only_if_windows_tell_them_apart() -> None:
    """Voices with a mean silhouette between the two limits."""
    who = voices(TWO, noise=1.5)
    assert len(set(found(who, known=neighbours(TWO, together=False)))) == 2
    together = neighbours(TWO, together=True)
    assert together.said_together(TWO) > TOGETHER
    assert len(set(found(who, known=together))) == 1


def test_a_few_stray_voices_are_no_speaker() -> None:
    """Two of 62 voices sound like nobody else: they join whoever is nearest."""
    who = np.array([*TWO, 7, 7])
    strays = voices(who, noise=0.3)
    strays[-2:, 1] += 0.5
    assert found(strays) == [*TWO, 1, 1]


def test_an_exact_count_ignores_a_stray_voice() -> None:
    who = np.array([*TWO, 7])
    assert found(voices(who, noise=0.3), ClusteringSettings(speakers=(2, 2)))[:-1] == TWO.tolist()


def test_at_least_as_many_speakers_as_are_known_are_found() -> None:
    alone = voices(np.zeros(60, int), noise=1.0)
    assert len(set(found(alone, ClusteringSettings(speakers=(2, 4))))) >= 2


@given(
    seed=st.integers(0, 999),
    count=st.integers(0, 80),
    speakers=st.integers(1, 6),
    noise=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    least=st.integers(1, 4),
    more=st.integers(0, 3),
    threshold=st.none() | st.floats(0.0, 2.0),
)
def test_never_more_speakers_than_there_can_be(
    seed: int, count: int, speakers: int, noise: float, least: int, more: int, threshold: float | None
) -> None:
    who = np.random.default_rng(seed).integers(0, speakers, count)
    settings = ClusteringSettings(threshold, speakers=(least, least + more))
    names = found(voices(who, noise, seed), settings, neighbours(who, together=bool(seed % 2)))
    assert len(names) == count
    assert len(set(names)) <= least + more


@pytest.mark.parametrize(("threshold", "speakers"), [(0.5, 2), (1.05, 1)])
def test_a_threshold_that_is_given_cuts_the_tree_there(threshold: float, speakers: int) -> None:
    """The two voices have a distance of 1."""
    names = found(voices(TWO, noise=0.0), ClusteringSettings(threshold))
    assert len(set(names)) == speakers


def test_a_threshold_leaves_no_strays() -> None:
    assert len(set(found(voices(np.array([*TWO, 7, 8]), noise=0.0), ClusteringSettings(0.5)))) == 2


@pytest.mark.parametrize("speakers", [(0, 2), (3, 2), (-1, -1)])
def test_numbers_of_speakers_that_cannot_be_are_refused(speakers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="speakers is"):
        ClusteringSettings(speakers=speakers)


def test_settings_in_words() -> None:
    settings = [
        UNKNOWN, ClusteringSettings(0.55), ClusteringSettings(speakers=(2, 4)), ClusteringSettings(0.55, (1, 2)),
        ClusteringSettings(speakers=(2, 2)),
    ]  # fmt: skip
    assert [one.words for one in settings] == [
        "silhouette", "threshold 0.55", "silhouette, 2 to 4 speakers", "threshold 0.55, 1 to 2 speakers", "2 speakers"
    ]  # fmt: skip


def test_the_offline_mode_has_its_own_threshold_unless_one_is_given() -> None:
    assert UNKNOWN.offline_threshold(0.7) == 0.7
    assert ClusteringSettings(0.5).offline_threshold(0.7) == 0.5


def test_the_minimum_cluster_size_of_the_offline_mode_stays_twelve_seconds() -> None:
    for spacing, size in [(1.0, 12), (2.0, 6), (5.0, 2)]:
        assert UNKNOWN.min_cluster_size(spacing) == size


def test_a_centroid_is_the_mean_of_the_voices_as_long_as_they_are() -> None:
    centroids = centroids_of(np.array([EAST, 3 * EAST, NORTH]), np.array([0, 0, 1]))
    np.testing.assert_allclose(centroids, [2 * EAST, NORTH])
    assert centroids_of(np.zeros((0, 3)), np.zeros(0, int)).shape == (0, 3)


def test_a_vector_of_length_0_has_no_direction() -> None:
    np.testing.assert_allclose(unit(np.array([2 * EAST, np.zeros(3)])), [EAST, [np.nan] * 3])


def test_as_many_voices_as_are_ever_clustered_take_bounded_memory() -> None:
    """Eight voices in turn. Of the distances in 4 bytes there are never more than a few copies."""
    who = np.arange(MOST_VOICES // 4) // 50 % 8
    many = voices(who, noise=0.3).astype(np.float32)
    known = neighbours(who, together=False, windows=4)
    tracemalloc.start()
    try:
        names = found(many, known=known)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(set(names)) == 8
    assert peak < 8 * 4 * len(who) ** 2


# --- the names of local speakers of a window


def test_local_speakers_go_to_the_nearest_centroid() -> None:
    embeddings = np.array([[EAST, NORTH], [NORTH, EAST]])
    active = np.array([[True, True], [True, False]])
    names = name_local_speakers(embeddings, active, np.stack([EAST, NORTH]))
    np.testing.assert_array_equal(names, [[0, 1], [1, UNNAMED]])


def test_the_nearest_is_that_of_the_nearest_direction_however_long_it_is() -> None:
    far_east, near_north_east = 10 * EAST, 1.1 * EAST + NORTH
    names = name_local_speakers(
        np.array([[EAST + 0.1 * NORTH]]), np.array([[True]]), np.stack([near_north_east, far_east])
    )
    np.testing.assert_array_equal(names, [[1]])


def test_two_local_speakers_of_a_window_never_share_a_name() -> None:
    almost_east = EAST + 0.1 * NORTH
    names = name_local_speakers(np.array([[almost_east, EAST]]), np.array([[True, True]]), np.stack([EAST, NORTH]))
    np.testing.assert_array_equal(names, [[1, 0]])


def test_who_is_left_over_gets_a_spare_name_and_is_not_dropped() -> None:
    names = name_local_speakers(np.array([[EAST, NORTH]]), np.array([[True, True]]), EAST[None])
    np.testing.assert_array_equal(names, [[0, 1]])


def test_a_local_speaker_without_an_embedding_takes_what_others_leave() -> None:
    unknown = np.full(3, np.nan)
    names = name_local_speakers(np.array([[unknown, EAST]]), np.array([[True, True]]), np.stack([EAST, NORTH]))
    np.testing.assert_array_equal(names, [[1, 0]])


def test_a_voice_comes_before_an_unknown_one_however_little_it_fits() -> None:
    """The only name goes to the voice that is as far from it as can be, and a spare one to who has no voice."""
    unknown = np.full(3, np.nan)
    for voice in (EAST, NORTH, -EAST):
        names = name_local_speakers(np.array([[unknown, voice]]), np.array([[True, True]]), EAST[None])
        np.testing.assert_array_equal(names, [[1, 0]])


def test_without_centroids_everybody_is_named_all_the_same() -> None:
    names = name_local_speakers(np.full((1, 2, 3), np.nan), np.array([[True, True]]), np.zeros((0, 3)))
    assert sorted(names[0]) == [0, 1]
