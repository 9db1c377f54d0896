"""The errors of an operating point with its segmentation, its clustering or both of them made perfect."""

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Literal, get_args

from pyannote.core import Annotation

from objectives import machine
from objectives.accuracy import AccuracyPlane
from objectives.corpus import Recording
from objectives.errors import EvaluationError
from objectives.evaluation import Evaluator, OnProgress
from objectives.operating_point import OperatingPoint
from objectives.oracle import ReferenceWindows, labels_named
from objectives.scoring import ErrorCounts, pool, score
from objectives.windows import LocalSpeakers

# What is perfect (objectives/oracle.py says how), in the order in which it is told
Condition = Literal["none", "segmentation", "clustering", "both"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)

Isolated = Mapping[Condition, Mapping[str, ErrorCounts]]  # errors by recording (URI)


def isolate(
    evaluator: Evaluator,
    point: OperatingPoint,
    on_progress: OnProgress = lambda stage, fraction: None,
    conditions: Collection[Condition] = CONDITIONS,
) -> Isolated:
    """Errors of each of the evaluator's recordings under these conditions, from the same windows.

    Raises EvaluationError where a recording cannot be read or nothing can be scored, and what `Evaluator.model` raises.
    """
    model = evaluator.model(point, on_progress)
    counts: dict[Condition, dict[str, ErrorCounts]] = {condition: {} for condition in conditions}
    tell: Callable[[float], None] = lambda done: on_progress("accuracy", done)  # noqa: E731
    plane = evaluator.accuracy
    with closing(plane.heard(evaluator.recordings, point, model.key, evaluator.runtime(point), tell)) as heard:
        for recording, windows in heard:
            with machine.working():
                reference = ReferenceWindows(windows.waveform, windows.contract, recording.reference)
                for condition, scored in counts.items():
                    said = _labels(plane, recording, point, windows, reference, condition)
                    scored[recording.uri] = score(recording.reference, said, recording.annotated)
    if any(pool(scored.values()).total == 0 for scored in counts.values()):
        raise EvaluationError("no reference speech is left to score outside the collar: use longer recordings")
    return counts


def _labels(
    plane: AccuracyPlane,
    recording: Recording,
    point: OperatingPoint,
    windows: LocalSpeakers,
    reference: ReferenceWindows,
    condition: Condition,
) -> Annotation:
    if condition in ("segmentation", "both"):
        windows = reference
    if condition in ("none", "segmentation"):
        return plane.labels(recording, point, windows)
    return labels_named(plane, recording, point, windows, reference)
