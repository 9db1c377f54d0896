"""Local speakers → speakers of the recording, by the released pipeline's clustering. Needs no torch.

Anchors are clustered as pyannote.audio does it; every local speaker then goes to the nearest centroid, two local
speakers of one window never to the same one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from objectives.models.released_pipeline import CLUSTERING_METHOD, MIN_CLUSTER_SIZE

MIN_ACTIVE_RATIO = 0.2  # of a window, pyannote.audio's
ANCHOR_SECONDS = 1.0  # anchors are taken every max(C, 1 s)
UNNAMED = -1  # of a local speaker that is not active
# Local speakers that found clusters at most: clustering takes their number squared times 8 bytes, so 0.4 GB, and some
# ten seconds. With anchors a second apart there are so many after an hour in which two speak in every window; after 40
# minutes at the earliest, with three. Recordings that have fewer are clustered whole.
MOST_FOUNDERS = 7200
ALWAYS_WHOLE = MOST_FOUNDERS / 3 * ANCHOR_SECONDS  # seconds of a recording


@dataclass(frozen=True)
class ClusteringSettings:
    """The released pipeline's, but for `threshold`, which belongs to an embedding."""

    threshold: float
    method: str = CLUSTERING_METHOD

    def min_cluster_size(self, anchor_seconds: float) -> int:
        """The released pipeline's 12 windows a second apart, as 12 s of anchors that lie `anchor_seconds` apart."""
        return max(1, round(MIN_CLUSTER_SIZE / anchor_seconds))


def speaks_enough(activity: np.ndarray) -> np.ndarray:
    """Who speaks alone for at least 20 % of the window, pyannote.audio's rule: (frames, speakers) bool → (speakers,)
    bool."""
    alone = activity & (activity.sum(axis=1, keepdims=True) == 1)
    enough: np.ndarray = alone.sum(axis=0) >= MIN_ACTIVE_RATIO * len(activity)
    return enough


def speaker_centroids(
    embeddings: np.ndarray, anchor: np.ndarray, enough: np.ndarray, settings: ClusteringSettings, anchor_seconds: float
) -> np.ndarray:
    """Cluster the anchors' local speakers → (clusters, dimension), none where no local speaker has an embedding.

    embeddings: (local speakers, dimension), NaN where not known. anchor: (local speakers,) number of the anchor of
    each, in their order. enough: (local speakers,) bool, by `speaks_enough`; others do not found clusters, unless there
    is nobody else. Of more than MOST_FOUNDERS, those of every n-th anchor found clusters, so that their spacing grows.
    """
    known = ~np.isnan(embeddings).any(axis=1)
    founders = np.flatnonzero(known & enough)
    if len(founders) == 0:
        founders = np.flatnonzero(known)
    if len(founders) == 0:
        return np.zeros((0, embeddings.shape[-1]))
    # those of an anchor stay together: every n-th local speaker might always be the same person
    nth = np.unique(anchor[founders], return_inverse=True)[1]
    every = 1
    while np.count_nonzero(nth % every == 0) > MOST_FOUNDERS:
        every += 1
    rows = embeddings[founders[nth % every == 0]]
    clusters = agglomerate(rows, settings.method, settings.threshold, settings.min_cluster_size(anchor_seconds * every))
    # means of the embeddings as they are, though their directions are what was clustered
    return np.stack([rows[clusters == cluster].mean(axis=0) for cluster in range(clusters.max() + 1)])


def name_local_speakers(embeddings: np.ndarray, active: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Assign the active local speakers of each window to the nearest centroids, each centroid at most once a window.

    embeddings: (windows, speakers, dimension). active: (windows, speakers) bool. centroids: (clusters, dimension).
    Returns (windows, speakers) int, UNNAMED where not active. Every active local speaker gets a name, if need be beyond
    the clusters: whether somebody speaks is the segmentation's to say, and is never taken back by the clustering.
    """
    names = np.full(active.shape, UNNAMED)
    similarity = _similarity(embeddings, centroids)
    for window in np.flatnonzero(active.any(axis=1)):
        local = np.flatnonzero(active[window])
        rows, columns = linear_sum_assignment(similarity[window][local], maximize=True)
        names[window, local[rows]] = columns
    return names


def _similarity(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """(windows, speakers, clusters + speakers) cosine similarity; the added columns are spare names that anything
    beats, so that there are always enough."""
    windows, speakers, dimension = embeddings.shape
    spare = np.full((windows, speakers, speakers), -3.0)
    if len(centroids) == 0:
        return spare
    cosine = 1.0 - cdist(embeddings.reshape(-1, dimension), centroids, metric="cosine")
    # a local speaker with too little speech for an embedding fits all centroids equally badly
    known = np.nan_to_num(cosine.reshape(windows, speakers, -1), nan=-2.0)
    return np.concatenate([known, spare], axis=-1)


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
