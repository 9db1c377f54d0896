"""Cells → turns → pyannote.core."""

import numpy as np
from pyannote.core import Segment

from objectives.hypothesis import Hypothesis


def test_neighbouring_cells_of_a_speaker_become_one_turn() -> None:
    starts = np.array([0, 10, 20, 30])
    #          0: 0–20 and 30–40; 1: 10–40
    speaking = [(0,), (0, 1), (1,), (1, 0)]
    hypothesis = Hypothesis.from_cells(starts, 40, speaking)
    assert hypothesis.turns == ((0, 20, 0), (10, 40, 1), (30, 40, 0))


def test_nobody_speaks() -> None:
    assert Hypothesis.from_cells(np.array([0, 10]), 20, [(), ()]).turns == ()


def test_an_annotation_is_in_seconds_and_keeps_simultaneous_turns() -> None:
    hypothesis = Hypothesis(32_000, ((0, 16_000, 0), (0, 16_000, 1)))
    annotation = hypothesis.annotation("call")
    assert annotation.uri == "call"
    assert [(segment, label) for segment, _, label in annotation.itertracks(yield_label=True)] == [
        (Segment(0, 1), "speaker00"),
        (Segment(0, 1), "speaker01"),
    ]
