"""Agglomerative clustering of speaker embeddings, as pyannote.audio 4.0 has it; needs no torch.

Labels are those of its AgglomerativeClustering, cosine metric, number of clusters unknown (a property test compares the
two): a study and a deployed point, which runs without pyannote.audio, must name speakers alike.
"""

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist

EUCLIDEAN_ONLY = ("centroid", "median", "ward")  # linkages that know no cosine distance


def agglomerate(embeddings: np.ndarray, method: str, threshold: float, min_cluster_size: int) -> np.ndarray:
    """Cluster of each embedding, numbered from 0: (embeddings, dimension) → (embeddings,) int.

    method: of scipy's linkage. threshold: distance at which clusters are not merged any more. A cluster with fewer than
    `min_cluster_size` embeddings, or a tenth of all where that is less, joins the large cluster with the nearest
    centroid; where none is large, the threshold moves as little as it takes for one to be.
    """
    count = len(embeddings)
    if count == 1:  # nothing to link
        return np.zeros(1, np.int64)
    least = min(min_cluster_size, max(1, round(0.1 * count)))
    if method in EUCLIDEAN_ONLY:
        with np.errstate(divide="ignore", invalid="ignore"):
            embeddings = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
        tree = linkage(embeddings, method=method, metric="euclidean")
    else:
        tree = linkage(embeddings, method=method, metric="cosine")
    clusters = fcluster(tree, threshold, criterion="distance") - 1
    if not _large(clusters, least).size:
        clusters = _with_one_large(tree, threshold, least)
    return _without_small(embeddings, clusters, least)


def _large(clusters: np.ndarray, least: int) -> np.ndarray:
    names, sizes = np.unique(clusters, return_counts=True)
    return names[sizes >= least]


def _with_one_large(tree: np.ndarray, threshold: float, least: int) -> np.ndarray:
    """The cut nearest to the threshold that leaves exactly one large cluster: at the latest the last merge does."""
    by_merge = tree.copy()
    by_merge[:, 2] = np.arange(len(tree))
    for merge in np.argsort(np.abs(tree[:, 2] - threshold)):
        if by_merge[merge, 3] < least:  # this merge makes no large cluster
            continue
        clusters = fcluster(by_merge, merge, criterion="distance") - 1
        if len(_large(clusters, least)) == 1:
            return clusters
    raise AssertionError("the last merge leaves one cluster of everything")


def _without_small(embeddings: np.ndarray, clusters: np.ndarray, least: int) -> np.ndarray:
    large = _large(clusters, least)
    small = np.setdiff1d(clusters, large)
    if not small.size:
        return clusters
    centroids = [np.stack([embeddings[clusters == name].mean(axis=0) for name in names]) for names in (large, small)]
    nearest = cdist(*centroids, metric="cosine").argmin(axis=0)
    merged = clusters.copy()
    for name, home in zip(small, large[nearest], strict=True):
        merged[clusters == name] = home
    return np.unique(merged, return_inverse=True)[1]
