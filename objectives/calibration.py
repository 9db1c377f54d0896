"""Tune the clustering threshold of an embedding, once, on recordings set aside for it."""

from collections.abc import Callable, Sequence

from objectives.clustering import ClusteringSettings
from objectives.evaluation import build_evaluator
from objectives.scoring import pool


def threshold_sweep(
    corpus: str,
    split: str,
    embedding: str | None,
    thresholds: Sequence[float],
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[list[tuple[float, float]], float]:
    """Pooled DER (%) of the offline mode at each threshold, and the best one: the middle of the lowest plateau, since
    its edges are chance. Raises CorpusError where the split does not exist."""
    points = []
    with build_evaluator(corpus=corpus, split=split, embedding=embedding) as evaluator:
        for done, threshold in enumerate(thresholds, start=1):
            evaluator.clustering = ClusteringSettings(threshold)
            points.append((threshold, pool(evaluator.offline_errors().values()).der))
            on_progress(done / len(thresholds))
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
