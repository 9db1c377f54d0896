"""Name local speakers while the recording is still being heard. A name, once given, is final. Needs no torch.

Incremental clustering with overlap-aware constrained assignment (Coria et al., ASRU 2021, arXiv 2109.06483). In
addition, this uses the audio that two consecutive windows share: a local speaker who is the same in both is expected to
be the same speaker.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from objectives.streaming.clustering import UNNAMED

EXPECTED = 0.2  # cosine distance by which a voice may be farther from its expected speaker than from others
SHARED = 0.25  # least share of a local speaker's speech that two windows must have in common to expect a name
SHARED_SECONDS = 0.75  # or this many seconds, if that is less
SHORTEST = 1e-12  # least length of a vector that has a direction
NEVER = 1e3  # cost of a forbidden pair


@dataclass(frozen=True)
class Heard:
    """The local speakers of a window.

    embeddings: (speakers, dimension), NaN if not known.
    activity: (frames, speakers) bool.
    moved: frames by which the window has moved on since the previous one.
    frame_seconds: duration of a frame.
    """

    embeddings: np.ndarray
    activity: np.ndarray
    moved: int
    frame_seconds: float

    @property
    def active(self) -> np.ndarray:
        """(speakers,) bool: who speaks in the window."""
        return np.any(self.activity, axis=0)

    @property
    def speech(self) -> np.ndarray:
        """(speakers,) seconds of speech in the window."""
        return np.sum(self.activity, axis=0) * self.frame_seconds

    @property
    def alone(self) -> np.ndarray:
        """(speakers,) seconds in which nobody else speaks."""
        alone = self.activity & (self.activity.sum(axis=1, keepdims=True) == 1)
        return np.sum(alone, axis=0) * self.frame_seconds


@dataclass
class SpeakerMemory:
    """Every speaker heard so far.

    tau_active, rho_update, delta_new: see OnlineTracking. most: number of names; None for any number.

    Each speaker is represented by the sum of its embeddings' directions, weighted by how long it spoke alone. The sum
    is zero for a speaker who has a name but has not yet spoken alone for long enough.
    """

    tau_active: float
    rho_update: float
    delta_new: float
    dimension: int
    most: int | None = None
    _sums: list[np.ndarray] = field(default_factory=list)
    _last: list[int] = field(default_factory=list)  # number of the window in which each speaker was last heard
    _windows: int = 0
    _activity: np.ndarray | None = None  # (frames, speakers) bool, in the previous window
    _names: np.ndarray = field(default_factory=lambda: np.zeros(0, int))  # (speakers,) in the previous window

    def __len__(self) -> int:
        """Number of speakers."""
        return len(self._sums)

    def name(self, heard: Heard) -> np.ndarray:
        """Name the local speakers of the next window: (speakers,) int, UNNAMED for those not active.

        Names are 0, 1, … in order of appearance. Two local speakers of one window never get the same one, unless there
        are no more.
        """
        self._windows += 1
        directions = _directions(heard.embeddings)
        known = ~np.isnan(directions).any(axis=1) & heard.active
        voiced = known & (heard.speech >= self.tau_active)  # enough speech to compare voices
        expected = self._expected(heard)
        distance = self._distance(directions)
        names = self._assigned(heard.active, voiced, expected, distance)
        for local in np.flatnonzero(heard.active & (names == UNNAMED)):
            remembered = voiced[local] and heard.alone[local] >= self.rho_update and not self._full
            names[local] = self._new() if remembered else self._likeliest(distance[local], known[local], names)
        for local in np.flatnonzero(voiced & (heard.alone >= self.rho_update)):
            self._sums[names[local]] = self._sums[names[local]] + heard.alone[local] * directions[local]
        for name in names[heard.active]:
            self._last[name] = self._windows
        self._activity, self._names = heard.activity, names
        return names

    def _assigned(
        self, active: np.ndarray, voiced: np.ndarray, expected: np.ndarray, distance: np.ndarray
    ) -> np.ndarray:
        """Return the names, (speakers,) int, of the local speakers who are close enough to a known speaker, or who are
        named by expectation alone. UNNAMED for the others."""
        cost = np.where(voiced[:, None], distance, np.inf)
        for local in np.flatnonzero(expected != UNNAMED):
            who = expected[local]
            voiceless = not self._sums[who].any()
            if voiceless or not voiced[local]:
                # nothing contradicts the expectation, but a good match of somebody's voice still comes first
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
        """Return who each local speaker was in the previous window, by the speech in the audio that both windows share:
        (speakers,) int, UNNAMED if not known."""
        expected = np.full(heard.activity.shape[1], UNNAMED)
        if self._activity is None or heard.moved >= len(heard.activity):
            return expected
        before = self._activity[heard.moved :].astype(int)
        now = heard.activity[: len(before)].astype(int)
        common = before.T @ now * heard.frame_seconds  # (previous speakers, current speakers) seconds
        enough = np.minimum(SHARED * heard.speech, SHARED_SECONDS)
        for earlier, local in zip(*linear_sum_assignment(common, maximize=True), strict=True):
            if common[earlier, local] > 0 and common[earlier, local] >= enough[local]:
                expected[local] = self._names[earlier]
        return expected

    def _distance(self, directions: np.ndarray) -> np.ndarray:
        """Return the cosine distance, (local speakers, speakers). Infinite if the local speaker has no embedding or the
        speaker no voice yet."""
        if not self._sums:
            return np.zeros((len(directions), 0))
        centres = _directions(np.array(self._sums))
        return np.nan_to_num(1.0 - directions @ centres.T, nan=np.inf)

    def _likeliest(self, distance: np.ndarray, known: bool, names: np.ndarray) -> int:
        """Return the nearest speaker whom nobody in this window has been given. If no voice can be compared, return the
        speaker heard most recently; if none is free, a new one, or if there are no more, one that is not free.

        The segmentation decides whether somebody speaks, so a local speaker always gets a name.
        """
        free = [who for who in range(len(self)) if who not in names]
        if not free and self._full:
            free = list(range(len(self)))
        voiced = [who for who in free if who < len(distance) and np.isfinite(distance[who])]
        if known and voiced:
            return min(voiced, key=lambda who: distance[who])
        return max(free, key=lambda who: self._last[who]) if free else self._new()

    @property
    def _full(self) -> bool:
        return self.most is not None and len(self) >= self.most

    def _new(self) -> int:
        self._sums.append(np.zeros(self.dimension))
        self._last.append(self._windows)
        return len(self._sums) - 1


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1: (n, dimension) → the same shape, NaN for those too short to have a direction."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return vectors / np.where(length > SHORTEST, length, np.nan)
