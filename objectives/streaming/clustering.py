"""Map local speakers to speakers of the recording, by the released pipeline's clustering. Needs no torch.

Anchors are clustered as in pyannote.audio. Every local speaker is then assigned to the nearest centroid, and two local
speakers of one window never to the same one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from objectives.models.released_pipeline import CLUSTERING_METHOD, MIN_CLUSTER_SIZE

MIN_ACTIVE_RATIO = 0.2  # share of a window; pyannote.audio's
ANCHOR_SECONDS = 1.0  # an anchor is taken every max(C, 1 s)
UNNAMED = -1  # name of a local speaker who is not active
# Most local speakers that found clusters. Clustering n of them takes 8 n² bytes: 0.4 GB here, and about ten seconds.
# With anchors one second apart, an hour in which two people speak in every window has this many; with three people it
# takes 40 minutes, the shortest possible. Recordings with fewer founders are clustered whole.
MOST_FOUNDERS = 7200
ALWAYS_WHOLE = MOST_FOUNDERS / 3 * ANCHOR_SECONDS  # seconds; a recording no longer than this is clustered whole


@dataclass(frozen=True)
class ClusteringSettings:
    """Settings of the released pipeline's clustering, except `threshold`, which belongs to an embedding."""

    threshold: float
    method: str = CLUSTERING_METHOD

    def min_cluster_size(self, anchor_seconds: float) -> int:
        """Return the number of anchors, `anchor_seconds` apart, that span 12 s: the released pipeline's 12 windows, one
        a second."""
        return max(1, round(MIN_CLUSTER_SIZE / anchor_seconds))


def speaks_enough(activity: np.ndarray) -> np.ndarray:
    """Return who speaks alone for at least 20 % of the window, pyannote.audio's rule: (frames, speakers) bool →
    (speakers,) bool."""
    alone = activity & (activity.sum(axis=1, keepdims=True) == 1)
    enough: np.ndarray = alone.sum(axis=0) >= MIN_ACTIVE_RATIO * len(activity)
    return enough


def speaker_centroids(
    embeddings: np.ndarray, anchor: np.ndarray, enough: np.ndarray, settings: ClusteringSettings, anchor_seconds: float
) -> np.ndarray:
    """Cluster the local speakers of the anchors → (clusters, dimension), zero clusters if no local speaker has an
    embedding.

    Only local speakers who speak enough found clusters, unless there are none. If there are more than MOST_FOUNDERS,
    only those of every n-th anchor found clusters, which makes the anchors' spacing n times larger.

    embeddings: (local speakers, dimension), NaN if not known.
    anchor: (local speakers,) number of each one's anchor, in order.
    enough: (local speakers,) bool, by `speaks_enough`.
    """
    known = ~np.isnan(embeddings).any(axis=1)
    founders = np.flatnonzero(known & enough)
    if len(founders) == 0:
        founders = np.flatnonzero(known)
    if len(founders) == 0:
        return np.zeros((0, embeddings.shape[-1]))
    # take whole anchors, since every n-th local speaker might always be the same person
    nth = np.unique(anchor[founders], return_inverse=True)[1]
    every = 1
    while np.count_nonzero(nth % every == 0) > MOST_FOUNDERS:
        every += 1
    rows = embeddings[founders[nth % every == 0]]
    clusters = agglomerate(rows, settings.method, settings.threshold, settings.min_cluster_size(anchor_seconds * every))
    # average the embeddings as they are, although it is their directions that were clustered
    return np.stack([rows[clusters == cluster].mean(axis=0) for cluster in range(clusters.max() + 1)])


def name_local_speakers(embeddings: np.ndarray, active: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Assign the active local speakers of each window to the nearest centroids, at most one of them to each centroid.

    Return (windows, speakers) int, UNNAMED for those not active. Every active local speaker gets a name, if necessary
    beyond the number of clusters: the segmentation decides whether somebody speaks, and the clustering never removes
    speech.

    embeddings: (windows, speakers, dimension).
    active: (windows, speakers) bool.
    centroids: (clusters, dimension).
    """
    names = np.full(active.shape, UNNAMED)
    similarity = _similarity(embeddings, centroids)
    for window in np.flatnonzero(active.any(axis=1)):
        local = np.flatnonzero(active[window])
        rows, columns = linear_sum_assignment(similarity[window][local], maximize=True)
        names[window, local[rows]] = columns
    return names


def _similarity(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the cosine similarity, (windows, speakers, clusters + speakers).

    The added columns are spare names with a similarity below any other, so that there are always enough names.
    """
    windows, speakers, dimension = embeddings.shape
    spare = np.full((windows, speakers, speakers), -3.0)
    if len(centroids) == 0:
        return spare
    cosine = 1.0 - cdist(embeddings.reshape(-1, dimension), centroids, metric="cosine")
    # a local speaker with too little speech for an embedding is equally far from all centroids
    known = np.nan_to_num(cosine.reshape(windows, speakers, -1), nan=-2.0)
    return np.concatenate([known, spare], axis=-1)


EUCLIDEAN_ONLY = ("centroid", "median", "ward")  # linkages that do not support cosine distance


def agglomerate(embeddings: np.ndarray, method: str, threshold: float, min_cluster_size: int) -> np.ndarray:
    """Cluster embeddings: (embeddings, dimension) → (embeddings,) int, the cluster of each, numbered from 0.

    A cluster is large if it has at least `min_cluster_size` embeddings, or a tenth of all if that is fewer. Each small
    cluster joins the large one with the nearest centroid. If no cluster is large, the threshold moves by as little as
    makes one large.

    method: of scipy's linkage.
    threshold: clusters farther apart than this are not merged.
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
    """Return the cut nearest to the threshold that leaves exactly one large cluster. There always is one: the last
    merge."""
    by_merge = tree.copy()
    by_merge[:, 2] = np.arange(len(tree))
    for merge in np.argsort(np.abs(tree[:, 2] - threshold)):
        if by_merge[merge, 3] < least:  # this merge does not make a large cluster
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
