"""Tune the clustering threshold of an embedding, once, on recordings set aside for it."""

from collections.abc import Callable, Sequence

from objectives import machine
from objectives.clustering import ClusteringSettings
from objectives.errors import EvaluationError
from objectives.evaluation import Evaluator
from objectives.operating_point import OperatingPoint
from objectives.scoring import ErrorCounts, score


def threshold_sweep(
    evaluator: Evaluator,
    thresholds: Sequence[float],
    point: OperatingPoint,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[list[tuple[float, float]], float]:
    """Pooled DER (%) of an operating point at each threshold, and the best one: the middle of the lowest plateau, since
    its edges are chance. Streaming and the offline mode hear other features, and may want other thresholds.

    Raises CorpusError where a recording cannot be read, EvaluationError where nothing can be scored.
    """
    counts = dict.fromkeys(thresholds, ErrorCounts())
    for done, recording in enumerate(evaluator.recordings, start=1):
        with machine.working():
            windows = evaluator.windows(recording, point)
            for threshold in thresholds:
                labels = evaluator.accuracy.labels(recording, point, windows, ClusteringSettings(threshold))
                counts[threshold] += score(recording.reference, labels, recording.annotated)
            windows.keep()
        on_progress(done / len(evaluator.recordings))
    if all(errors.total == 0 for errors in counts.values()):
        raise EvaluationError("no reference speech is left to score outside the collar: use longer recordings")
    points = [(threshold, errors.der) for threshold, errors in counts.items()]
    return points, plateau_middle(points)


def plateau_middle(points: Sequence[tuple[float, float]], tolerance: float = 0.05) -> float:
    """The middle threshold of the longest run of neighbours within `tolerance` points of DER of the lowest."""
    lowest = min(der for _, der in points)
    runs: list[list[float]] = [[]]
    for threshold, der in sorted(points):
        if der <= lowest + tolerance:
            runs[-1].append(threshold)
        elif runs[-1]:
            runs.append([])
    longest = max(runs, key=len)
    return longest[(len(longest) - 1) // 2]
