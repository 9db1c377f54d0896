"""Diarization error rate as counts that add up (paper, Sec. 4.2)."""

from pyannote.core import Annotation, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from objectives.corpora.turns import COLLAR, merged
from objectives.measurement import ErrorCounts


def score(reference: Annotation, hypothesis: Annotation, scored: Timeline) -> ErrorCounts:
    """Errors of `hypothesis` inside `scored` (the UEM), overlapped speech included, under the best one-to-one mapping
    of speakers, with a collar of 0.5 s, by pyannote.metrics. On both sides, turns of one speaker that touch or overlap
    are one."""
    reference, hypothesis = merged(reference), merged(hypothesis)
    metric = DiarizationErrorRate(collar=COLLAR, skip_overlap=False)
    components = metric.compute_components(reference, hypothesis, uem=scored)
    return ErrorCounts(
        false_alarm=float(components["false alarm"]),
        missed_detection=float(components["missed detection"]),
        confusion=float(components["confusion"]),
        total=float(components["total"]),
    )
