"""Anchors → centroids → names."""

import tracemalloc

import numpy as np
import pytest

from objectives.streaming import clustering
from objectives.streaming.clustering import (
    UNNAMED,
    ClusteringSettings,
    name_local_speakers,
    speaker_centroids,
    speaks_enough,
)

SETTINGS = ClusteringSettings(threshold=0.8)
EAST, NORTH = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])


def centroids_of(rows: list[list[np.ndarray]], enough: tuple[bool, ...] = (True, True)) -> np.ndarray:
    """Of anchors a second apart, each with the embeddings of its local speakers."""
    speakers = [(anchor, *row) for anchor, told in enumerate(rows) for row in zip(told, enough, strict=False)]
    anchor, embeddings, speak_enough = (np.array(column) for column in zip(*speakers, strict=True))
    return speaker_centroids(embeddings, anchor, speak_enough, SETTINGS, anchor_seconds=1.0)


def test_two_voices_found_two_clusters() -> None:
    centroids = centroids_of([[EAST, NORTH]] * 20)
    np.testing.assert_allclose(np.sort(centroids, axis=0), np.sort([EAST, NORTH], axis=0))


def test_a_voice_of_less_than_the_minimum_cluster_size_is_nobody() -> None:
    # 5 s of speech, and 12 s are needed where so many anchors are there
    # a tenth of the anchors is the minimum (pyannote.audio's rule for short recordings), so 7 here
    assert len(centroids_of([[EAST]] * 60 + [[NORTH]] * 5)) == 1


def test_the_minimum_cluster_size_stays_twelve_seconds() -> None:
    for spacing, size in [(1.0, 12), (2.0, 6), (5.0, 2)]:
        assert SETTINGS.min_cluster_size(spacing) == size


def test_those_who_hardly_speak_found_clusters_only_where_nobody_speaks_more() -> None:
    assert len(centroids_of([[EAST, NORTH]] * 20, enough=(True, False))) == 1
    assert len(centroids_of([[EAST, NORTH]] * 20, enough=(False, False))) == 2


def test_enough_is_a_fifth_of_the_window_alone() -> None:
    activity = np.zeros((100, 3), bool)
    activity[:20, 0] = True
    activity[30:60, 1] = activity[49:80, 2] = True  # 19 and 20 of 100 frames alone, 11 together
    np.testing.assert_array_equal(speaks_enough(activity), [True, False, True])


def test_a_centroid_is_the_mean_of_the_embeddings_as_long_as_they_are() -> None:
    longer, turned = 4 * EAST, EAST + 0.3 * NORTH
    (centroid,) = centroids_of([[EAST], [EAST], [longer], [turned]] * 5)
    np.testing.assert_allclose(centroid, (2 * EAST + longer + turned) / 4)


def test_no_speech_has_no_centroids() -> None:
    assert len(centroids_of([[np.full(3, np.nan)] * 2] * 3)) == 0
    nobody = np.zeros(0, np.int64)
    assert speaker_centroids(np.zeros((0, 3)), nobody, nobody > 0, SETTINGS, anchor_seconds=1.0).shape == (0, 3)


# --- recordings of many hours


@pytest.mark.parametrize("most", [100, 150, 199])
def test_of_more_founders_than_can_be_clustered_every_nth_anchor_remains(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Two in 100 windows: every second window leaves 100 founders, of whom 12 s are 6."""
    asked: list[tuple[np.ndarray, int]] = []

    def agglomerate(embeddings: np.ndarray, method: str, threshold: float, least: int) -> np.ndarray:
        asked.append((embeddings, least))
        return np.zeros(len(embeddings), np.int64)

    monkeypatch.setattr(clustering, "agglomerate", agglomerate)
    monkeypatch.setattr(clustering, "MOST_FOUNDERS", most)
    numbers = np.arange(200.0).reshape(100, 2, 1)
    centroids_of([list(rows) for rows in numbers])
    ((embeddings, least),) = asked
    np.testing.assert_array_equal(embeddings, numbers[::2].reshape(100, 1))
    assert least == 6


def test_as_many_founders_as_can_be_clustered_are_all_clustered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve of the north, odd anchors all of them: they are enough for somebody only if none is left out."""
    rows = [[EAST]] * 96 + [[EAST], [NORTH]] * 12
    whole = centroids_of(rows)
    assert len(whole) == 2
    monkeypatch.setattr(clustering, "MOST_FOUNDERS", len(rows))
    np.testing.assert_array_equal(centroids_of(rows), whole)
    monkeypatch.setattr(clustering, "MOST_FOUNDERS", len(rows) - 1)
    assert len(centroids_of(rows)) == 1, "the bound does nothing: this test shows nothing"


def test_two_who_take_turns_at_every_anchor_are_both_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second local speaker is the same person, but both are in every window."""
    monkeypatch.setattr(clustering, "MOST_FOUNDERS", 50)
    np.testing.assert_allclose(np.sort(centroids_of([[EAST, NORTH]] * 50), axis=0), np.sort([EAST, NORTH], axis=0))


def test_anchors_without_founders_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody speaks in every second window only: of these, every second one remains, and not all or none."""
    monkeypatch.setattr(clustering, "MOST_FOUNDERS", 50)
    unknown = np.full(3, np.nan)
    assert len(centroids_of([[unknown], [EAST]] * 100)) == 1


def test_memory_of_many_hours_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight voices in turn, two in every window, for 10 and for 80 times as many founders as can be clustered."""
    monkeypatch.setattr(clustering, "MOST_FOUNDERS", 600)
    voices = np.eye(8, dtype=np.float32)

    def peak(windows: int) -> int:
        anchor = np.repeat(np.arange(windows), 2)
        speaker = (anchor // 50 + np.tile([0, 1], windows)) % 8
        embeddings = voices[speaker] + 0.01 * np.random.default_rng(0).normal(size=(2 * windows, 8)).astype(np.float32)
        tracemalloc.start()
        try:
            found = speaker_centroids(embeddings, anchor, np.ones(2 * windows, bool), SETTINGS, anchor_seconds=1.0)
            np.testing.assert_array_equal(np.sort(found.argmax(axis=1)), np.arange(8))
            return tracemalloc.get_traced_memory()[1] - 5 * embeddings.nbytes  # what a recording is told by
        finally:
            tracemalloc.stop()

    assert peak(3000) < 2 * 600**2 * 8
    assert peak(24_000) < 2 * 600**2 * 8


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
