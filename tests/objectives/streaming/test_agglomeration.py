"""Clusters are those of pyannote.audio's own clustering."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.backends.pyannote import AgglomerativeClustering
from objectives.streaming.clustering import agglomerate


def stock(embeddings: np.ndarray, method: str, threshold: float, min_cluster_size: int) -> np.ndarray:
    clustering = AgglomerativeClustering(metric="cosine")
    clustering.instantiate({"method": method, "threshold": threshold, "min_cluster_size": min_cluster_size})
    # it normalises what it is given in place
    return clustering.cluster(embeddings.copy(), min_clusters=1, max_clusters=len(embeddings))


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 150),
    voices=st.integers(1, 6),
    noise=st.sampled_from([0.05, 0.3, 1.0]),
    method=st.sampled_from(["centroid", "average", "complete", "single", "ward"]),
    threshold=st.floats(0.05, 1.9),
    min_cluster_size=st.integers(1, 12),
)
def test_clusters_are_pyannotes(
    seed: int, count: int, voices: int, noise: float, method: str, threshold: float, min_cluster_size: int
) -> None:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(voices, 8))
    embeddings = centres[random.integers(0, voices, count)] + noise * random.normal(size=(count, 8))
    embeddings = embeddings.astype(np.float32)
    ours = agglomerate(embeddings, method, threshold, min_cluster_size)
    np.testing.assert_array_equal(ours, stock(embeddings, method, threshold, min_cluster_size))


@pytest.mark.parametrize(
    ("count", "few", "clusters"),
    [
        # of so many embeddings a tenth, rounded as Python does, makes a cluster
        (19, 1, 1),  # 1.9: 2
        (14, 1, 2),  # 1.4: 1
        (24, 2, 2),  # 2.4: 2
        (25, 2, 2),  # 2.5: 2, as pyannote.audio rounds halves to even
        (26, 2, 1),  # 2.6: 3
        (35, 3, 1),  # 3.5: 4
        (119, 11, 1),  # 11.9: 12
        (200, 12, 2),  # never more than the minimum
        (200, 11, 1),
    ],
)
def test_a_tenth_of_all_is_rounded_to_the_nearest(count: int, few: int, clusters: int) -> None:
    embeddings = np.array([(1.0, 0.0)] * (count - few) + [(0.0, 1.0)] * few)
    found = agglomerate(embeddings, "centroid", threshold=0.5, min_cluster_size=12)
    assert len(set(found)) == clusters
    np.testing.assert_array_equal(found, stock(embeddings, "centroid", 0.5, 12))


def test_a_small_cluster_joins_the_nearest_large_one() -> None:
    """Twenty of the east, twenty of the north and one in between, nearer to the north: of 41, a tenth is 4."""
    east, north, between = (1.0, 0.0), (0.0, 1.0), (0.6, 0.8)
    embeddings = np.array([east] * 20 + [between] + [north] * 20)
    clusters = agglomerate(embeddings, "centroid", threshold=0.1, min_cluster_size=12)
    assert len(set(clusters)) == 2
    assert clusters[20] == clusters[40] != clusters[0]


def test_where_no_cluster_is_large_the_threshold_gives_way() -> None:
    """Thirty directions that are all far apart: the least cluster has 3, so the cut moves until one has."""
    embeddings = np.eye(30)
    clusters = agglomerate(embeddings, "centroid", threshold=0.1, min_cluster_size=12)
    assert len(set(clusters)) == 1
    np.testing.assert_array_equal(clusters, stock(embeddings, "centroid", 0.1, 12))
