"""Oracle segmentation and oracle clustering, by hand and on real recordings."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.core import Annotation, Segment, Timeline

from objectives.evaluation.oracle import ReferenceWindows, most_heard, name_by_reference, names_of_windows, stream_named
from objectives.evaluation.scoring import score
from objectives.measurement import ErrorCounts
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import features_of
from objectives.models.windows import LocalSpeakers
from objectives.operating_point import OnlineTracking, OperatingPoint
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import UNNAMED
from objectives.streaming.loop import stream_batched
from objectives.streaming.schedule import Schedule
from tests.support.sign_models import CLUSTERING, CONTRACT, SignRuntime, sign_embedding, speech

CALL = ((1, 3.3), (0, 1.4), (-1, 4.0), (1, 2.7), (-1, 1.9), (0, 0.8), (1, 4.8), (-1, 3.0))
SMALL = Contract(window=100, frames=10, field=10, centre=5, step=10, speakers=3, max_at_once=2)


def turns(*parts: tuple[str, float, float]) -> Annotation:
    reference = Annotation(uri="call")
    for track, (who, start, end) in enumerate(parts):
        reference[Segment(start, end), track] = who
    return reference


def reference_of(parts: tuple[tuple[float, float], ...]) -> Annotation:
    ends = np.cumsum([seconds for _, seconds in parts])
    told = zip(parts, ends, strict=True)
    return turns(*[(f"person {who}", end - seconds, end) for (who, seconds), end in told if who])


def errors(reference: Annotation, said: object, total: int) -> ErrorCounts:
    return score(reference, said.annotation("call"), Timeline([Segment(0, total / SAMPLE_RATE)]))


def samples(*bounds: tuple[str, int, int]) -> Annotation:
    return turns(*[(who, start / SAMPLE_RATE, end / SAMPLE_RATE) for who, start, end in bounds])


def test_a_frame_is_active_where_its_centre_lies_in_a_turn() -> None:
    # centres of the window [0, 100): 5, 15, …, 95; of the one before: -95 … -5
    reference = ReferenceWindows(
        np.zeros(200, np.float32), SMALL, samples(("a", 15, 35), ("a", 30, 46), ("b", 36, 44), ("c", 195, 200))
    )
    everybody = reference.everybody_ending_at([0, 100, 250])
    assert everybody.shape == (3, 10, 3)
    assert not everybody[0].any()
    np.testing.assert_array_equal(np.flatnonzero(everybody[1, :, 0]), [1, 2, 3, 4])  # 15, 25, 35, 45
    assert not everybody[1, :, 1:].any(), "b speaks between two centres"
    np.testing.assert_array_equal(np.flatnonzero(everybody[2, :, 2]), [4])  # 155, …, 195
    assert reference.activity_ending_at([]).shape == (0, 10, 3)


def test_turns_of_one_person_that_overlap_are_one() -> None:
    """Of three turns one into the other; where two of them overlap, somebody speaks all the same."""
    reference = ReferenceWindows(
        np.zeros(100, np.float32), SMALL, samples(("a", 10, 50), ("a", 20, 70), ("a", 70, 80), ("b", 0, 100))
    )
    (everybody,) = reference.everybody_ending_at([100])
    np.testing.assert_array_equal(np.flatnonzero(everybody[:, 0]), [1, 2, 3, 4, 5, 6, 7])
    assert reference.people == 2


def test_who_speaks_most_in_the_window_stays() -> None:
    #                    a  b  c  d
    speaks = np.array([[1, 1, 0, 0],
                       [1, 1, 1, 0],   # c, who speaks least of the three, is beyond two at a time
                       [1, 0, 1, 1],   # d, who speaks least of all, is beyond three in a window
                       [0, 1, 1, 0],
                       [1, 1, 0, 0]], bool)  # fmt: skip
    expected = [[1, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 0]]
    np.testing.assert_array_equal(most_heard(speaks, SMALL), np.array(expected, bool))
    np.testing.assert_array_equal(most_heard(np.ones((2, 1), bool), SMALL), [[True, False, False]] * 2)
    assert not most_heard(np.zeros((2, 0), bool), SMALL).any()


@given(st.integers(0, 6), st.integers(0, 2**20))
def test_the_oracle_says_what_a_model_could(people: int, seed: int) -> None:
    everybody = np.random.default_rng(seed).random((40, people)) < 0.6
    told = most_heard(everybody, CONTRACT)
    could = {tuple(row) for row in CONTRACT.powerset}
    assert {tuple(row) for row in told} <= could
    assert told.sum() <= everybody.sum()
    if people <= CONTRACT.max_at_once:
        np.testing.assert_array_equal(np.sort(told.sum(axis=0))[::-1][:people], np.sort(everybody.sum(axis=0))[::-1])


def test_local_speakers_get_the_names_of_those_with_whom_they_share_most() -> None:
    everybody = np.zeros((10, 2), bool)
    everybody[:6, 0], everybody[6:9, 1] = True, True
    activity = np.zeros((10, 3), bool)
    activity[:8, 0] = True  # shares 6 frames with person 0, 2 with person 1
    activity[3:6, 1] = True  # shares 3 frames with person 0 only, who is the other one's
    np.testing.assert_array_equal(name_by_reference(activity, everybody, 7), [0, 8, UNNAMED])
    activity[8, 1] = True  # and now 1 with person 1: 6 + 1 is more than 2 + 3
    np.testing.assert_array_equal(name_by_reference(activity, everybody, 7), [0, 1, UNNAMED])
    activity[9, 2] = True  # where nobody speaks
    np.testing.assert_array_equal(name_by_reference(activity, everybody, 7), [0, 1, 9])
    np.testing.assert_array_equal(name_by_reference(activity, everybody[:, :0], 7), [7, 8, 9])


POINTS = st.builds(
    lambda chunk, context, online: OperatingPoint(chunk, context, mode="online" if online else "chunk-wise"),
    st.floats(0.2, 5.0),
    st.just(0.0) | st.floats(0.01, 5.0),
    st.booleans(),
)


@settings(max_examples=15, deadline=None)
@given(POINTS)
def test_a_perfect_model_and_perfect_names_leave_nothing(point: OperatingPoint) -> None:
    """The signs' model is perfect, so each oracle alone leaves what the point makes of the other stage; nothing at all
    is wrong with both, but the pause of 0.8 s that is closed for who speaks on after it."""
    waveform, reference = speech(*CALL), reference_of(CALL)
    model = WindowClasses(waveform, SignRuntime())
    oracle = ReferenceWindows(waveform, CONTRACT, reference)
    ends = [Schedule(len(waveform), point.chunk_length, point.right_context).heard(update) for update in (1, 2, 3)]
    # the same people in the same frames: in the other order where the second one speaks more
    np.testing.assert_array_equal(
        np.sort(model.activity_ending_at(ends), axis=2), np.sort(oracle.activity_ending_at(ends), axis=2)
    )
    both = errors(reference, stream_named(oracle, oracle, point), len(waveform))
    assert stream_named(model, oracle, point) == stream_named(oracle, oracle, point)
    assert (both.confusion, both.missed_detection) == (0.0, 0.0)
    assert both.total == pytest.approx(19.7 - 12 * 0.25)  # six turns, a collar at both ends of each
    assert both.false_alarm <= 0.8 - 0.5 + 1e-6
    said = stream_batched(oracle, features_of(sign_embedding(), waveform), point, sign_embedding(), CLUSTERING)
    alone = errors(reference, said, len(waveform))
    assert alone.false_alarm == pytest.approx(both.false_alarm)
    assert alone.missed_detection == pytest.approx(both.missed_detection)
    assert alone.seconds >= both.seconds - 1e-9


@dataclass
class Swapping:
    """A model that takes two people for one local speaker in the first half of each window, and hears a third."""

    inner: WindowClasses

    @property
    def waveform(self) -> np.ndarray:
        return self.inner.waveform

    @property
    def contract(self) -> Contract:
        return self.inner.contract

    def activity_ending_at(self, ends: object) -> np.ndarray:
        activity = self.inner.activity_ending_at(ends).copy()
        activity[:, :300, 0] |= activity[:, :300, 1]
        activity[:, :300, 1] = False
        activity[:, 100:120, 2] = True
        return activity


@settings(max_examples=10, deadline=None)
@given(POINTS, st.booleans())
def test_oracle_clustering_leaves_who_speaks_when_to_the_model(point: OperatingPoint, real: bool) -> None:
    waveform, reference = speech(*CALL), reference_of(CALL)
    windows: LocalSpeakers = WindowClasses(waveform, SignRuntime())
    if not real:
        windows = Swapping(windows)
    said = stream_batched(windows, features_of(sign_embedding(), waveform), point, sign_embedding(), CLUSTERING)
    as_it_is = errors(reference, said, len(waveform))
    named = errors(
        reference, stream_named(windows, ReferenceWindows(waveform, CONTRACT, reference), point), len(waveform)
    )
    assert named.false_alarm == pytest.approx(as_it_is.false_alarm, abs=1e-9)
    assert named.missed_detection == pytest.approx(as_it_is.missed_detection, abs=1e-9)


def test_local_confusion_is_what_oracle_clustering_leaves() -> None:
    """By hand: a window of two people, whom the model takes for one. It is named by who speaks more, and the rest is
    confusion, but for the collar."""
    waveform = speech((1, 6.0), (0, 1.0), (-1, 3.0))  # R = 5 s and C = 5 s: both blocks come from this one window
    reference = turns(("a", 0.0, 6.0), ("b", 7.0, 10.0))
    oracle = ReferenceWindows(waveform, CONTRACT, reference)

    class One(Swapping):
        def activity_ending_at(self, ends: object) -> np.ndarray:
            activity = self.inner.activity_ending_at(ends)
            return activity.any(axis=2, keepdims=True) & np.array([True, False, False])

    one = One(WindowClasses(waveform, SignRuntime()))
    point = OperatingPoint(5.0, 5.0)
    found = errors(reference, stream_named(one, oracle, point), len(waveform))
    # a collar of 0.25 s on both sides; b's is off its 3 s at 7 s and at 10 s
    assert found.confusion == pytest.approx(3.0 - 0.5)
    # the model's one speaker pauses for 1 s, more than is closed
    assert (found.false_alarm, found.missed_detection) == (0.0, 0.0)
    assert found.total == pytest.approx(6.0 - 0.5 + 3.0 - 0.5)


def test_whom_nobody_knows_has_another_name_in_each_update() -> None:
    """The model hears somebody where the reference has nobody: two blocks, and nothing says that it is one person."""
    waveform = speech((1, 2.0))
    nobody = ReferenceWindows(waveform, CONTRACT, turns(("a", 100.0, 101.0)))
    found = stream_named(WindowClasses(waveform, SignRuntime()), nobody, OperatingPoint(1.0))
    assert [(start, end) for start, end, _ in found.turns] == [(0, 16_000), (16_000, 32_000)]
    first, second = (who for _, _, who in found.turns)
    assert first != second
    assert min(first, second) >= nobody.people


def test_closed_pauses_follow_the_names() -> None:
    waveform = speech((1, 4.0), (0, 1.5), (1, 4.0))
    reference = turns(("a", 0.0, 4.0), ("a", 5.5, 9.5))
    oracle = ReferenceWindows(waveform, CONTRACT, reference)
    point = OperatingPoint(0.5, mode="online")
    assert len(stream_named(oracle, oracle, point).turns) == 2
    waiting = replace(point, online=OnlineTracking(min_duration_off=2.0))
    assert len(stream_named(oracle, oracle, waiting).turns) == 1


def test_offline_names_are_one_row_a_person_and_one_a_local_speaker() -> None:
    waveform = speech((1, 6.0), (-1, 6.0))
    reference = turns(("a", 0.0, 6.0))
    oracle = ReferenceWindows(waveform, CONTRACT, reference)
    activity = WindowClasses(waveform, SignRuntime()).activity_ending_at([160_000, 176_000, 192_000])
    # person 0 is a; the other one is nobody's, and has the name of local speaker 1, the first beyond being 1 + 0
    np.testing.assert_array_equal(names_of_windows(oracle)(activity), [[0, 2, -1]] * 3)
