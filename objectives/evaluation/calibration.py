"""Tune the thresholds of an embedding, once, on recordings set aside for this."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Generic, TypeVar

from pyannote.core import Annotation

from objectives import machine
from objectives.corpora.corpus import Recording
from objectives.evaluation.evaluator import Evaluator
from objectives.evaluation.scoring import refuse_unscored, score
from objectives.measurement import ErrorCounts, pool
from objectives.operating_point import OnlineTracking, OperatingPoint
from objectives.runtime.window_predictions import WindowClasses

T = TypeVar("T")
OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Swept(Generic[T]):
    """One value of a sweep, and its errors by recording (URI)."""

    value: T
    counts: Mapping[str, ErrorCounts]

    @property
    def der(self) -> float:
        """DER in percent, pooled over the recordings."""
        return pool(self.counts.values()).der


TAU_ACTIVE = (0.0, 0.5)  # seconds
RHO_UPDATE = (0.5, 1.0, 2.0)  # seconds
DELTA_NEW = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))  # cosine distance, 0.20 … 0.80


def threshold_sweep(
    evaluator: Evaluator,
    thresholds: Sequence[float],
    point: OperatingPoint,
    on_progress: OnProgress = lambda fraction: None,
) -> tuple[list[Swept[float]], float]:
    """Return the errors of an operating point at each threshold, and the best threshold.

    The best is the middle of the lowest plateau, since the position of its edges is chance. Streaming and the offline
    mode use different features and may need different thresholds.

    Raises CorpusError if a recording cannot be read, EvaluationError if nothing can be scored.
    """

    def labels(recording: Recording, windows: WindowClasses, threshold: float) -> Annotation:
        settings = replace(evaluator.accuracy.clustering, threshold=threshold)
        return evaluator.accuracy.labels(recording, point, windows, settings)

    found = _sweep(evaluator, thresholds, point, labels, on_progress)
    return found, plateau_middle([(one.value, one.der) for one in found])


def online_sweep(
    evaluator: Evaluator, point: OperatingPoint, on_progress: OnProgress = lambda fraction: None
) -> tuple[list[Swept[OnlineTracking]], OnlineTracking]:
    """Return the errors of an online operating point at each triple of thresholds, and the best triple.

    The best has the lowest mean DER together with its neighbours in delta_new, since what one value alone gains is
    chance.

    Raises as `threshold_sweep` does.
    """

    def labels(recording: Recording, windows: WindowClasses, tracking: OnlineTracking) -> Annotation:
        return evaluator.accuracy.labels(recording, replace(point, online=tracking), windows)

    triples = [OnlineTracking(*triple) for triple in product(TAU_ACTIVE, RHO_UPDATE, DELTA_NEW)]
    found = _sweep(evaluator, triples, point, labels, on_progress)
    return found, steadiest([(one.value, one.der) for one in found])


def _sweep(
    evaluator: Evaluator,
    values: Iterable[T],
    point: OperatingPoint,
    labels: Callable[[Recording, WindowClasses, T], Annotation],
    on_progress: OnProgress,
) -> list[Swept[T]]:
    counts: dict[T, dict[str, ErrorCounts]] = {value: {} for value in values}
    for done, recording in enumerate(evaluator.recordings, start=1):
        with machine.working():
            windows = evaluator.windows(recording, point)
            for value, scored in counts.items():
                hypothesis = labels(recording, windows, value)
                scored[recording.uri] = score(recording.reference, hypothesis, recording.annotated)
            windows.keep()
        on_progress(done / len(evaluator.recordings))
    found = [Swept(value, scored) for value, scored in counts.items()]
    refuse_unscored(count for one in found for count in one.counts.values())
    return found


def steadiest(points: Sequence[tuple[OnlineTracking, float]]) -> OnlineTracking:
    """Return the triple with the lowest mean of its own DER and that of its two neighbours in delta_new."""
    known = dict(points)
    deltas = sorted({tracking.delta_new for tracking in known if tracking.delta_new is not None})
    means = {}
    for before, delta, after in zip(deltas, deltas[1:], deltas[2:], strict=False):
        for tracking in [each for each in known if each.delta_new == delta]:
            three = [known[replace(tracking, delta_new=one)] for one in (before, delta, after)]
            means[tracking] = sum(three) / len(three)
    return min(means, key=lambda tracking: means[tracking])


def plateau_middle(points: Sequence[tuple[float, float]], tolerance: float = 0.05) -> float:
    """Return the middle threshold of the plateau: the longest run of neighbours within `tolerance` points of the lowest
    DER."""
    lowest = min(der for _, der in points)
    runs: list[list[float]] = [[]]
    for threshold, der in sorted(points):
        if der <= lowest + tolerance:
            runs[-1].append(threshold)
        elif runs[-1]:
            runs.append([])
    longest = max(runs, key=len)
    return longest[(len(longest) - 1) // 2]
