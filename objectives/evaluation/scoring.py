"""Diarization error rate as counts that add up (paper, Sec. 4.2)."""

from collections.abc import Iterable

from pyannote.core import Annotation, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from objectives.corpora.turns import COLLAR, merged
from objectives.errors import EvaluationError
from objectives.measurement import ErrorCounts, pool


def score(reference: Annotation, hypothesis: Annotation, scored: Timeline) -> ErrorCounts:
    """Score `hypothesis` inside `scored` (the UEM), with pyannote.metrics.

    Overlapped speech is included, the collar is 0.5 s, and speakers are mapped by the best one-to-one mapping. On both
    sides, turns of one speaker that touch or overlap are merged first.
    """
    reference, hypothesis = merged(reference), merged(hypothesis)
    metric = DiarizationErrorRate(collar=COLLAR, skip_overlap=False)
    components = metric.compute_components(reference, hypothesis, uem=scored)
    return ErrorCounts(
        false_alarm=float(components["false alarm"]),
        missed_detection=float(components["missed detection"]),
        confusion=float(components["confusion"]),
        total=float(components["total"]),
    )


def refuse_unscored(counts: Iterable[ErrorCounts]) -> None:
    """Raise EvaluationError if no reference speech was scored."""
    if pool(counts).total == 0:
        raise EvaluationError("no reference speech is left to score outside the collar: use longer recordings")
