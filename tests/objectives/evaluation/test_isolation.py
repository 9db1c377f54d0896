"""What is perfect under each condition, and what of it is scored."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyannote.core import Annotation, Segment, Timeline

from objectives.corpora.corpus import Recording
from objectives.errors import EvaluationError
from objectives.evaluation import oracle
from objectives.evaluation.oracle import CONDITIONS, Condition, ReferenceWindows, isolate
from objectives.measurement import ErrorCounts
from objectives.models.contract import SAMPLE_RATE
from objectives.operating_point import OperatingPoint
from tests.support.sign_models import CONTRACT

POINT = OperatingPoint()
# seconds of a turn of ten that are missed, if the segmentation is the model's, and confused, if the clustering is ours
MISSED, CONFUSED = 2.0, 3.0


def said(missed: bool, confused: bool) -> Annotation:
    annotation = Annotation()
    annotation[Segment(0.0, 10.0 - MISSED * missed - CONFUSED * confused)] = "one"
    if confused:
        annotation[Segment(7.0 - MISSED * missed, 10.0 - MISSED * missed)] = "two"
    return annotation


@dataclass
class Plane:
    """Stands for an evaluator and its plane: each way to label says what the windows that it gets deserve."""

    recordings: tuple[Recording, ...]
    asked: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> "Plane":
        return self

    def model(self, point: OperatingPoint, on_progress: object) -> SimpleNamespace:
        return SimpleNamespace(key="model")

    def runtime(self, point: OperatingPoint) -> None:
        return None

    def heard(self, recordings: Collection[Recording], *_: Any) -> Iterator[tuple[Recording, SimpleNamespace]]:
        for recording in recordings:
            waveform = np.zeros(round(recording.duration * SAMPLE_RATE), np.float32)
            yield recording, SimpleNamespace(waveform=waveform, contract=CONTRACT)

    def labels(self, recording: Recording, point: OperatingPoint, windows: object) -> Annotation:
        return said(missed=not isinstance(windows, ReferenceWindows), confused=True)


def named(plane: Plane, recording: Recording, point: object, windows: object, reference: object) -> Annotation:
    assert isinstance(reference, ReferenceWindows)
    return said(missed=windows is not reference, confused=False)


@pytest.fixture(autouse=True)
def oracle_clustering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "labels_named", named)


def recording(uri: str, end: float = 10.0) -> Recording:
    reference = Annotation()
    reference[Segment(0.0, end)] = "ana"
    return Recording(uri, Path("none"), 12.0, reference, Timeline([Segment(0.0, 12.0)]))


def test_each_condition_makes_perfect_what_it_names() -> None:
    found = isolate(Plane((recording("one"), recording("two"))), POINT)
    assert list(found) == list(CONDITIONS) == ["none", "segmentation", "clustering", "both"]
    collar = 0.25  # at either end of the turn
    expected: dict[Condition, tuple[float, float]] = {
        "none": (MISSED - collar, CONFUSED),
        "segmentation": (0.0, CONFUSED - collar),
        "clustering": (MISSED - collar, 0.0),
        "both": (0.0, 0.0),
    }
    for condition, (missed, confused) in expected.items():
        assert list(found[condition]) == ["one", "two"]
        for counts in found[condition].values():
            assert counts == ErrorCounts(0.0, pytest.approx(missed), pytest.approx(confused), pytest.approx(9.5))


def test_only_what_is_asked_for_is_labelled() -> None:
    found = isolate(Plane((recording("one"),)), POINT, conditions=["both", "none"])
    assert list(found) == ["both", "none"]


def test_speech_that_the_collar_swallows_cannot_be_told_apart() -> None:
    with pytest.raises(EvaluationError, match="no reference speech is left"):
        isolate(Plane((recording("one", end=0.4),)), POINT)
    assert isolate(Plane((recording("one", end=0.4), recording("two"))), POINT)["both"]["one"].total == 0.0
