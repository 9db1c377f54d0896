"""Local speakers → speakers while a recording is still being heard: a name that is given is never taken back.

Incremental clustering with overlap-aware constrained assignment (Coria et al., ASRU 2021, arXiv 2109.06483), and beyond
it the use of what two windows share: whoever is the same local speaker there is expected to be the same speaker.
Needs no torch.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from objectives.streaming.clustering import UNNAMED

EXPECTED = 0.2  # cosine distance by which a voice may be farther from the speaker that it is expected to be
SHARED = 0.25  # of a local speaker's speech, at least, that two windows must share to be expected to be the same
SHARED_SECONDS = 0.75  # or so much, where it speaks long
SHORTEST = 1e-12  # length of a vector that has a direction
NEVER = 1e3  # cost of a pair that must not be


@dataclass(frozen=True)
class Heard:
    """The local speakers of a window. embeddings: (speakers, dimension), NaN where not known. activity: (frames,
    speakers) bool. moved: frames by which the window has moved on since the one before. frame_seconds: of a frame."""

    embeddings: np.ndarray
    activity: np.ndarray
    moved: int
    frame_seconds: float

    @property
    def active(self) -> np.ndarray:
        """(speakers,) bool."""
        return np.any(self.activity, axis=0)

    @property
    def speech(self) -> np.ndarray:
        """(speakers,) seconds of speech in the window."""
        return np.sum(self.activity, axis=0) * self.frame_seconds

    @property
    def alone(self) -> np.ndarray:
        """(speakers,) seconds during which nobody else speaks."""
        alone = self.activity & (self.activity.sum(axis=1, keepdims=True) == 1)
        return np.sum(alone, axis=0) * self.frame_seconds


@dataclass
class SpeakerMemory:
    """Everybody who was heard. tau_active, rho_update, delta_new: see OnlineTracking.

    A speaker is the sum of the directions of its voice, weighted by how long it spoke alone; the sum is zero as long as
    it has a name only, because too little of it was heard.
    """

    tau_active: float
    rho_update: float
    delta_new: float
    dimension: int
    _sums: list[np.ndarray] = field(default_factory=list)
    _last: list[int] = field(default_factory=list)  # window in which each was heard last
    _windows: int = 0
    _activity: np.ndarray | None = None  # of the window before
    _names: np.ndarray = field(default_factory=lambda: np.zeros(0, int))  # in the window before

    def __len__(self) -> int:
        """Number of speakers."""
        return len(self._sums)

    def name(self, heard: Heard) -> np.ndarray:
        """Who the local speakers of the next window are: (speakers,) int, UNNAMED where not active, else 0, 1, … in the
        order of appearance, two of one window never the same."""
        self._windows += 1
        directions = _directions(heard.embeddings)
        known = ~np.isnan(directions).any(axis=1) & heard.active
        told = known & (heard.speech >= self.tau_active)  # by its voice
        expected = self._expected(heard)
        distance = self._distance(directions)
        names = self._assigned(heard.active, told, expected, distance)
        for local in np.flatnonzero(heard.active & (names == UNNAMED)):
            remembered = told[local] and heard.alone[local] >= self.rho_update
            names[local] = self._new() if remembered else self._likeliest(distance[local], known[local], names)
        for local in np.flatnonzero(told & (heard.alone >= self.rho_update)):
            self._sums[names[local]] = self._sums[names[local]] + heard.alone[local] * directions[local]
        for name in names[heard.active]:
            self._last[name] = self._windows
        self._activity, self._names = heard.activity, names
        return names

    def _assigned(self, active: np.ndarray, told: np.ndarray, expected: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """(speakers,) names of those who are near enough to somebody, or known by nothing but what is expected."""
        cost = np.where(told[:, None], distance, np.inf)
        for local in np.flatnonzero(expected != UNNAMED):
            who = expected[local]
            voiceless = not self._sums[who].any()
            if voiceless or not told[local]:
                # nothing speaks against it; a voice that fits somebody well still comes first
                cost[local, who] = 0.0 if voiceless else self.delta_new - EXPECTED
            else:
                cost[local, who] -= EXPECTED
        allowed = cost < self.delta_new
        locals_ = np.flatnonzero(active)
        rows, columns = linear_sum_assignment(np.where(allowed, cost, NEVER)[locals_])
        names = np.full(len(active), UNNAMED)
        for local, who in zip(locals_[rows], columns, strict=True):
            if allowed[local, who]:
                names[local] = who
        return names

    def _expected(self, heard: Heard) -> np.ndarray:
        """(speakers,) who the local speakers were in the window before, by the speech that both windows hold."""
        expected = np.full(heard.activity.shape[1], UNNAMED)
        if self._activity is None or heard.moved >= len(heard.activity):
            return expected
        before = self._activity[heard.moved :].astype(int)
        now = heard.activity[: len(before)].astype(int)
        common = before.T @ now * heard.frame_seconds  # (speakers before, speakers now) seconds
        enough = np.minimum(SHARED * heard.speech, SHARED_SECONDS)
        for earlier, local in zip(*linear_sum_assignment(common, maximize=True), strict=True):
            if common[earlier, local] > 0 and common[earlier, local] >= enough[local]:
                expected[local] = self._names[earlier]
        return expected

    def _distance(self, directions: np.ndarray) -> np.ndarray:
        """(local speakers, speakers) cosine distance; infinite where one of the two has no voice."""
        if not self._sums:
            return np.zeros((len(directions), 0))
        centres = _directions(np.array(self._sums))
        return np.nan_to_num(1.0 - directions @ centres.T, nan=np.inf)

    def _likeliest(self, distance: np.ndarray, known: bool, names: np.ndarray) -> int:
        """The nearest voice that nobody of this window has; where there is none, who was heard last; else somebody
        new: whether somebody speaks is the segmentation's to say, and is never taken back."""
        free = [who for who in range(len(self)) if who not in names]
        voiced = [who for who in free if np.isfinite(distance[who])]
        if known and voiced:
            return min(voiced, key=lambda who: distance[who])
        return max(free, key=lambda who: self._last[who]) if free else self._new()

    def _new(self) -> int:
        self._sums.append(np.zeros(self.dimension))
        self._last.append(self._windows)
        return len(self._sums) - 1


def _directions(vectors: np.ndarray) -> np.ndarray:
    """(n, dimension) of length 1; NaN where there is no direction."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return vectors / np.where(length > SHORTEST, length, np.nan)
