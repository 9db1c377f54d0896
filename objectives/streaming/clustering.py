"""Find the speakers of a recording among voices of one second each. Needs no torch.

The distance of two voices is the cosine distance of their embeddings, moved by what the segmentation says of them:
windows that cover both give them to one local speaker or to two. Clusters are cut out of an average-linkage tree. Their
number is the one with the best silhouette, unless a threshold or a number of speakers is given.
"""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist, squareform

from objectives.models.released_pipeline import CLUSTERING_METHOD, MIN_CLUSTER_SIZE

UNNAMED = -1  # name of a local speaker who is not active
# Most voices that are clustered. Their distances take 4 n² bytes: 50 MB here. An hour of uninterrupted speech has as
# many. A longer recording is clustered by the voices of every n-th second.
MOST_VOICES = 3600
ALWAYS_WHOLE = MOST_VOICES / 2  # seconds, two people speaking at once; no recording this short has more voices
# The constants below were chosen on dispatch-sim's train and calib and on conversations simulated from its train (one,
# two and three speakers), and on AMI's train and calib.
SEGMENTATION_WEIGHT = 0.15  # most that the segmentation moves a cosine distance
SEGMENTATION_PRIOR = 3.0  # windows that must agree before half of that is used
LEAST_SILHOUETTE = 0.2  # of a cut into several speakers
TOGETHER, LEAST_IF_TOGETHER = (
    0.95,
    0.37,
)  # the same, if a larger share of windows than 0.95 hear them as one local speaker
FEW, APART_IF_FEW = 4, 0.75  # fewer voices than this are cut at this distance
APART = 0.5  # mean distance from which two of a known number of speakers have both been heard
STRAY_SHARE, STRAY_MOST = 0.05, 3.0  # a cluster with less than this share of the voices, or fewer than 3, is no speaker
MOST_SPEAKERS = 5  # considered, plus one for each VOICES_A_SPEAKER voices beyond
VOICES_A_SPEAKER = 60


@dataclass(frozen=True)
class ClusteringSettings:
    """How the number of speakers is found.

    threshold: of the tree, instead of the best silhouette; the offline mode, which is pyannote.audio's, always has one,
    the embedding's own if this is None.
    speakers: least and most number of speakers, if known.
    method: of the offline mode.
    """

    threshold: float | None = None
    speakers: tuple[int, int] | None = None
    method: str = CLUSTERING_METHOD

    def __post_init__(self) -> None:
        if self.speakers is not None and not 1 <= self.speakers[0] <= self.speakers[1]:
            raise ValueError(f"speakers is {self.speakers}: give a number from 1 up, or the least and the most")

    def offline_threshold(self, own: float) -> float:
        """Return the threshold of the offline mode. own: the embedding's."""
        return own if self.threshold is None else self.threshold

    def min_cluster_size(self, seconds: float) -> int:
        """Return the number of windows, `seconds` apart, that span 12 s: the released pipeline's 12 windows."""
        return max(1, round(MIN_CLUSTER_SIZE / seconds))

    @property
    def words(self) -> str:
        """What the speakers of a chunk-wise recording are found by."""
        by = "silhouette" if self.threshold is None else f"threshold {self.threshold:g}"
        if self.speakers is None:
            return by
        least, most = self.speakers
        return f"{most} speakers" if least == most else f"{by}, {least} to {most} speakers"


@dataclass(frozen=True)
class Pairs:
    """Pairs of voices that windows cover both of.

    one, other: (pairs,) numbers of the voices. windows: (pairs,) how many windows cover both. together: (pairs,) how
    many of them give both to one local speaker.
    """

    one: np.ndarray
    other: np.ndarray
    windows: np.ndarray
    together: np.ndarray

    def of(self, chosen: np.ndarray) -> "Pairs":
        """Return the pairs among the chosen voices, (voices,) ascending numbers, which are numbered anew from 0."""
        kept = np.isin(self.one, chosen) & np.isin(self.other, chosen)
        one, other = np.searchsorted(chosen, self.one[kept]), np.searchsorted(chosen, self.other[kept])
        return Pairs(one, other, self.windows[kept], self.together[kept])

    def said_together(self, clusters: np.ndarray) -> float:
        """Return the share of windows that give voices of different clusters to one local speaker, 0 if there are
        none."""
        apart = clusters[self.one] != clusters[self.other]
        return float(self.together[apart].sum() / max(self.windows[apart].sum(), 1))


def voice_distances(voices: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return the distances of voices: (voices, dimension) → (voices, voices) float32."""
    directions = unit(voices).astype(np.float32)
    distance = 1 - directions @ directions.T
    moved = SEGMENTATION_WEIGHT * (pairs.windows - 2.0 * pairs.together) / (pairs.windows + SEGMENTATION_PRIOR)
    distance[pairs.one, pairs.other] += moved
    distance[pairs.other, pairs.one] += moved
    np.fill_diagonal(distance, 0)
    return np.maximum(distance, 0)


def cluster(voices: np.ndarray, pairs: Pairs, settings: ClusteringSettings, ended: bool = True) -> np.ndarray:
    """Find the speakers among voices: (voices, dimension) → (voices,) int, the speaker of each, numbered from 0.

    ended: the recording has ended; if not, some speakers may not have spoken yet.
    """
    if len(voices) < 2:
        return np.zeros(len(voices), int)
    least, most = settings.speakers or (1, max(MOST_SPEAKERS, len(voices) // VOICES_A_SPEAKER))
    distance = voice_distances(voices, pairs)
    if least == most:
        found = _by_number(voices, distance, most, ended)
    else:
        tree = linkage(squareform(distance, checks=False), "average")
        least = least if ended else 1
        if settings.threshold is not None:
            found = _by_threshold(tree, distance, settings.threshold, (least, most) if settings.speakers else None)
        elif len(voices) < FEW:
            found = _by_threshold(tree, distance, APART_IF_FEW, (least, most))
        else:
            found = _by_silhouette(tree, distance, pairs, least, most)
    numbered: np.ndarray = np.unique(found, return_inverse=True)[1]
    return numbered


def _by_number(voices: np.ndarray, distance: np.ndarray, number: int, ended: bool) -> np.ndarray:
    """Return this many clusters, or fewer if the recording has not ended and some are not yet apart.

    They are Ward's, which are of similar size, so that a stray voice is not taken for a speaker.
    """
    tree = linkage(unit(voices), "ward")
    for count in range(number, 1, -1):
        found = fcluster(tree, count, "maxclust")
        names, own = np.unique(found, return_inverse=True)
        member = np.eye(len(names))[own] / np.bincount(own)  # (voices, clusters), so that products are means
        between = (member.T @ distance @ member)[~np.eye(len(names), dtype=bool)]
        if ended or (len(names) == count and between.min() >= APART):
            return found
    return np.zeros(len(voices), int)


def _by_threshold(
    tree: np.ndarray, distance: np.ndarray, threshold: float, speakers: tuple[int, int] | None
) -> np.ndarray:
    """Return the cut at the threshold, or the nearest one with as many clusters as there can be speakers."""
    found = _without_strays(distance, fcluster(tree, threshold, "distance"))
    count = len(np.unique(found))
    least, most = speakers or (count, count)
    return found if least <= count <= most else fcluster(tree, least if count < least else most, "maxclust")


def _by_silhouette(tree: np.ndarray, distance: np.ndarray, pairs: Pairs, least: int, most: int) -> np.ndarray:
    """Return the cut into `least` to `most` clusters with the best mean silhouette.

    If nearly all windows give voices of different clusters to one local speaker, a single person may have been cut in
    two, and the cut needs a good silhouette. The segmentation can be mistaken, and so can the embeddings.
    """
    best, found = -1.0, fcluster(tree, least, "maxclust")
    for count in range(max(2, least), min(most, len(distance) - 1) + 1):
        clusters = _without_strays(distance, fcluster(tree, count, "maxclust"))
        if len(np.unique(clusters)) < max(2, least):
            continue
        silhouette = mean_silhouette(distance, clusters)
        least_silhouette = LEAST_IF_TOGETHER if pairs.said_together(clusters) > TOGETHER else LEAST_SILHOUETTE
        doubtful = silhouette < least_silhouette
        if silhouette > best and not (doubtful and least == 1):
            best, found = silhouette, clusters
    return found


def mean_silhouette(distance: np.ndarray, clusters: np.ndarray) -> float:
    """Return the mean of (b - a) / max(a, b) over elements: a is the mean distance to the rest of its own cluster, b to
    the nearest other one (Rousseeuw 1987). 0 for an element that is a cluster of its own.

    >>> points = np.array([0.0, 1.0, 10.0, 11.0])
    >>> round(mean_silhouette(np.abs(points[:, None] - points), np.array([0, 0, 1, 1])), 3)
    0.9
    """
    names, own = np.unique(clusters, return_inverse=True)
    member = np.eye(len(names))[own]  # (elements, clusters)
    size = member.sum(axis=0)
    every, sums = np.arange(len(own)), distance @ member
    inside = sums[every, own] / np.maximum(size[own] - 1, 1)
    mean = sums / size
    mean[every, own] = np.inf
    outside = mean.min(axis=1)
    width = (outside - inside) / np.maximum(np.maximum(outside, inside), 1e-9)
    return float(np.where(size[own] > 1, width, 0.0).mean())


def _without_strays(distance: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Merge each cluster that is too small to be a speaker into the nearest large one."""
    names, sizes = np.unique(clusters, return_counts=True)
    small = sizes < min(STRAY_MOST, STRAY_SHARE * len(clusters))
    if not small.any() or small.all():
        return clusters
    large = names[~small]
    to_large = np.stack([distance[:, clusters == name].mean(axis=1) for name in large], axis=1)
    merged = clusters.copy()
    for name in names[small]:
        merged[clusters == name] = large[to_large[clusters == name].mean(axis=0).argmin()]
    return merged


def centroids_of(voices: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Return the mean voice of each speaker: (voices, dimension), (voices,) → (speakers, dimension)."""
    count = speakers.max() + 1 if len(speakers) else 0
    means = [voices[speakers == speaker].mean(axis=0) for speaker in range(count)]
    return np.array(means).reshape(count, voices.shape[-1])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1, NaN for those too short to have a direction: (…, dimension) → the same shape."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 1e-9, length, np.nan)


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
