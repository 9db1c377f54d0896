"""Anchors → centroids → names."""

import numpy as np

from objectives.clustering import UNNAMED, ClusteringSettings, name_local_speakers, speaker_centroids

SETTINGS = ClusteringSettings(threshold=0.8)
EAST, NORTH = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])


def anchors(rows: list[list[np.ndarray]], active_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings, and activity in which each local speaker speaks alone for so many of 100 frames."""
    embeddings = np.array(rows)
    activity = np.zeros((len(rows), 100, embeddings.shape[1]), bool)
    for speaker in range(embeddings.shape[1]):
        activity[:, speaker * active_frames : (speaker + 1) * active_frames, speaker] = True
    return embeddings, activity


def test_two_voices_found_two_clusters() -> None:
    embeddings, activity = anchors([[EAST, NORTH]] * 20, active_frames=30)
    centroids = speaker_centroids(embeddings, activity, SETTINGS, anchor_seconds=1.0)
    np.testing.assert_allclose(np.sort(centroids, axis=0), np.sort([EAST, NORTH], axis=0))


def test_a_voice_of_less_than_the_minimum_cluster_size_is_nobody() -> None:
    rows = [[EAST]] * 60 + [[NORTH]] * 5  # 5 s of speech, and 12 s are needed where so many anchors are there
    # a tenth of the anchors is the minimum (pyannote.audio's rule for short recordings), so 7 here
    embeddings, activity = anchors(rows, active_frames=50)
    assert len(speaker_centroids(embeddings, activity, SETTINGS, anchor_seconds=1.0)) == 1


def test_the_minimum_cluster_size_stays_twelve_seconds() -> None:
    for spacing, size in [(1.0, 12), (2.0, 6), (5.0, 2)]:
        assert SETTINGS.min_cluster_size(spacing) == size


def test_those_who_hardly_speak_found_clusters_only_where_nobody_speaks_more() -> None:
    embeddings, activity = anchors([[EAST, NORTH]] * 20, active_frames=30)
    activity[:, 35:60, 1] = False  # NORTH: 5 of 100 frames
    assert len(speaker_centroids(embeddings, activity, SETTINGS, anchor_seconds=1.0)) == 1
    activity[:, 5:30, 0] = False
    assert len(speaker_centroids(embeddings, activity, SETTINGS, anchor_seconds=1.0)) == 2


def test_no_speech_has_no_centroids() -> None:
    nothing = np.full((3, 2, 3), np.nan)
    assert len(speaker_centroids(nothing, np.zeros((3, 100, 2), bool), SETTINGS, anchor_seconds=1.0)) == 0
    assert len(speaker_centroids(nothing[:0], np.zeros((0,)), SETTINGS, anchor_seconds=1.0)) == 0


def test_local_speakers_go_to_the_nearest_centroid() -> None:
    embeddings = np.array([[EAST, NORTH], [NORTH, EAST]])
    active = np.array([[True, True], [True, False]])
    names = name_local_speakers(embeddings, active, np.stack([EAST, NORTH]))
    np.testing.assert_array_equal(names, [[0, 1], [1, UNNAMED]])


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


def test_without_centroids_everybody_is_named_all_the_same() -> None:
    names = name_local_speakers(np.full((1, 2, 3), np.nan), np.array([[True, True]]), np.zeros((0, 3)))
    assert sorted(names[0]) == [0, 1]
