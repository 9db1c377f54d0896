"""Thresholds that are tuned: what is tried, how it is scored, and which one is the best."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Annotation, Segment, Timeline

from objectives.corpora.corpus import Recording
from objectives.errors import EvaluationError
from objectives.evaluation.calibration import online_sweep, plateau_middle, steadiest, threshold_sweep
from objectives.measurement import ErrorCounts
from objectives.operating_point import OnlineTracking, OperatingPoint
from objectives.streaming.clustering import ClusteringSettings


@pytest.mark.parametrize(
    ("ders", "best"),
    [
        # thresholds 0.1, 0.2, …
        ([30.0], 0.1),
        ([30.0, 20.0, 25.0], 0.2),
        ([30.0, 20.0, 20.0, 20.0, 25.0], 0.3),  # the middle of a plateau
        ([20.0, 20.0, 20.0, 20.0], 0.2),  # of an even one, the lower middle
        ([20.0, 30.0, 20.02, 20.04, 20.0, 30.0], 0.4),  # the longest, although another is as low
        ([20.0, 20.06, 20.0, 20.0], 0.3),  # 0.06 points apart is no plateau
        ([20.0, 20.05, 20.05, 30.0], 0.2),  # 0.05 points apart is one
        ([20.0, 30.0, 20.0], 0.1),  # the first of equals
    ],
)
def test_best_is_the_middle_of_the_longest_lowest_plateau(ders: list[float], best: float) -> None:
    points = [(round(0.1 * place, 1), der) for place, der in enumerate(ders, start=1)]
    assert plateau_middle(points) == best
    assert plateau_middle(points[::-1]) == best


@given(st.dictionaries(st.integers(0, 50), st.floats(0.0, 200.0), min_size=1))
def test_best_is_a_threshold_that_was_tried_and_is_as_good_as_any(ders: dict[int, float]) -> None:
    best = plateau_middle([(float(threshold), der) for threshold, der in ders.items()])
    assert ders[int(best)] <= min(ders.values()) + 0.05


# --- sweeps


@dataclass
class Swept:
    """Stands for an evaluator: what it hears of the only turn ends as many seconds too early as `late` says."""

    recordings: tuple[Recording, ...]
    late: Callable[[float | None, OnlineTracking], float]
    kept: list[str] = field(default_factory=list)
    clustering: ClusteringSettings = field(default_factory=lambda: ClusteringSettings(0.9, (2, 3)))

    @property
    def accuracy(self) -> "Swept":
        return self

    def windows(self, recording: Recording, point: OperatingPoint) -> SimpleNamespace:
        return SimpleNamespace(keep=lambda: self.kept.append(recording.uri))

    def labels(
        self,
        recording: Recording,
        point: OperatingPoint,
        windows: SimpleNamespace,
        clustering: ClusteringSettings | None = None,
    ) -> Annotation:
        assert clustering is None or clustering.speakers == (2, 3), "a sweep changes the threshold alone"
        late = self.late(clustering and clustering.threshold, point.online)
        (turn,) = recording.reference.get_timeline()
        said = Annotation()
        said[Segment(turn.start, turn.end - late)] = "somebody"
        return said


def recordings(*turns: tuple[float, float], annotated: float = 20.0) -> tuple[Recording, ...]:
    made = []
    for number, turn in enumerate(turns):
        reference = Annotation()
        reference[Segment(*turn)] = "ana"
        made.append(Recording(f"call{number}", Path("none"), 20.0, reference, Timeline([Segment(0, annotated)])))
    return tuple(made)


def test_a_sweep_scores_each_threshold_on_each_recording() -> None:
    """What lies within a quarter of a second of either end of a turn, and after 12 s, counts for nothing."""
    swept = Swept(recordings((1.0, 9.0), (2.0, 15.0), annotated=12.0), late=lambda threshold, _: 10 * threshold)
    told: list[float] = []
    found, best = threshold_sweep(swept, (0.3, 0.1, 0.5), OperatingPoint(), told.append)
    assert [one.value for one in found] == [0.3, 0.1, 0.5]
    assert best == 0.1
    assert told == [0.5, 1.0]
    assert swept.kept == ["call0", "call1"]
    three = found[0].counts
    assert three["call0"] == ErrorCounts(missed_detection=pytest.approx(2.75), total=pytest.approx(7.5))
    assert three["call1"] == ErrorCounts(missed_detection=pytest.approx(0.0), total=pytest.approx(9.75))
    five = found[2].counts
    assert five["call1"] == ErrorCounts(missed_detection=pytest.approx(2.0), total=pytest.approx(9.75))
    assert found[2].der == pytest.approx(100 * (4.75 + 2.0) / 17.25)


def test_an_online_sweep_tries_every_triple_with_the_pauses_that_were_asked_for() -> None:
    asked: list[OnlineTracking] = []

    def late(threshold: float | None, online: OnlineTracking) -> float:
        asked.append(online)
        assert threshold is None
        return abs(online.delta_new - 0.4) + abs(online.rho_update - 1.0) + online.tau_active + 0.3

    point = OperatingPoint(mode="online", online=OnlineTracking(min_duration_off=0.1))
    found, best = online_sweep(Swept(recordings((1.0, 9.0)), late), replace(point, online=OnlineTracking()))
    assert best == OnlineTracking(0.0, 1.0, 0.4)
    assert len(found) == len({one.value for one in found}) == 2 * 3 * 13
    assert {one.delta_new for one in asked} == {round(0.2 + 0.05 * step, 2) for step in range(13)}


@pytest.mark.parametrize("turns", [[(1.0, 1.4)], [(1.0, 1.4), (3.0, 3.5)]])
def test_a_sweep_needs_speech_outside_the_collar(turns: list[tuple[float, float]]) -> None:
    with pytest.raises(EvaluationError, match="no reference speech is left"):
        threshold_sweep(Swept(recordings(*turns), lambda *_: 0.0), (0.5,), OperatingPoint())
    found, _ = threshold_sweep(Swept(recordings(*turns, (5.0, 9.0)), lambda *_: 0.0), (0.5,), OperatingPoint())
    assert found[0].der == 0.0


def test_the_steadiest_triple_has_good_neighbours() -> None:
    ders = {0.2: 30.0, 0.3: 10.0, 0.4: 30.0, 0.5: 12.0, 0.6: 11.0, 0.7: 12.0, 0.8: 9.0}
    points = [(OnlineTracking(0.0, 1.0, delta), der) for delta, der in ders.items()]
    worse = [(OnlineTracking(0.5, 1.0, delta), der + 1.0) for delta, der in ders.items()]
    # 0.7 has the lowest mean (32 / 3); 0.3 alone is low by chance, and 0.8 has one neighbour only
    assert steadiest([*worse, *points]) == OnlineTracking(0.0, 1.0, 0.7)
