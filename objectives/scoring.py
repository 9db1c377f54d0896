"""Diarization error rate as counts that add up (paper, Sec. 4.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from pyannote.core import Annotation, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from objectives._merging import merged
from objectives.collar import COLLAR


@dataclass(frozen=True)
class ErrorCounts:
    """Seconds of false alarm, missed detection and confusion, and of scored reference speech (`total`).

    Counts of several recordings are added; a rate is derived from the sum and never averaged.
    """

    false_alarm: float = 0.0
    missed_detection: float = 0.0
    confusion: float = 0.0
    total: float = 0.0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.false_alarm + other.false_alarm,
            self.missed_detection + other.missed_detection,
            self.confusion + other.confusion,
            self.total + other.total,
        )

    def percent(self, seconds: float) -> float:
        """`seconds` as a percentage of the scored reference speech.

        Raises ZeroDivisionError where nothing was scored: there is no rate of nothing.
        """
        return 100.0 * seconds / self.total

    @property
    def seconds(self) -> float:
        """Seconds of error of any kind."""
        return self.false_alarm + self.missed_detection + self.confusion

    @property
    def der(self) -> float:
        """Diarization error rate in percent."""
        return self.percent(self.seconds)


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


def pool(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Sum of the counts of several recordings."""
    return sum(counts, ErrorCounts())
