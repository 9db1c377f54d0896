"""Local speakers → speakers of the recording, by the released pipeline's clustering. Needs no torch.

Anchors are clustered as pyannote.audio does it; every local speaker then goes to the nearest centroid, two local
speakers of one window never to the same one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from objectives.agglomeration import agglomerate
from objectives.released import CLUSTERING_METHOD, MIN_CLUSTER_SIZE

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
