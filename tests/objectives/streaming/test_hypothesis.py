"""Cells → turns → pyannote.core."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Segment

from objectives.streaming.hypothesis import Hypothesis, Turns

cells = st.lists(st.lists(st.integers(0, 3), max_size=3, unique=True).map(tuple), max_size=30)


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


@given(cells, st.integers(0, 40))
def test_waiting_closes_every_pause_that_is_short_enough(speaking: list[tuple[int, ...]], wait: int) -> None:
    starts = [10 * place for place in range(len(speaking))]
    total = 10 * len(speaking)
    turns, known = Turns(wait), []
    for start, now in zip(starts, speaking, strict=True):
        for began, ended, speaker in turns.cell(start, now):
            assert ended + wait <= start, "nothing is told before its pause is known to be long"
            known.append((began, ended, speaker))
    known += turns.end(total)
    plain = Hypothesis.from_cells(np.array(starts, int), total, speaking).turns
    for speaker in range(4):
        merged: list[list[int]] = []
        for began, ended, who in plain:
            if who == speaker and merged and began - merged[-1][1] <= wait:
                merged[-1][1] = ended
            elif who == speaker:
                merged.append([began, ended])
        assert sorted([began, ended] for began, ended, who in known if who == speaker) == merged


def test_a_turn_is_known_when_it_has_ended() -> None:
    turns = Turns()
    assert turns.cell(0, (0,)) == []
    assert turns.cell(10, (0, 1)) == []
    assert turns.cell(20, (1, 1)) == [(0, 20, 0)]  # whoever is named twice speaks once
    assert turns.open == {1}
    assert turns.end(25) == [(10, 25, 1)]
    assert turns.end(25) == []


def test_a_pause_may_still_end_in_the_sample_that_comes_next() -> None:
    turns = Turns(wait=10)
    assert turns.cell(0, (0,)) == turns.cell(20, ()) == []
    assert turns.passed(30) == []  # 30 itself was not told, and speech that begins there closes a pause of 10
    assert turns.cell(30, (0,)) == []
    assert turns.cell(40, ()) == []
    assert turns.passed(51) == [(0, 40, 0)]


def test_a_turn_that_has_not_ended_can_be_given_to_another() -> None:
    turns = Turns()
    turns.cell(0, (7,))
    turns.rename(7, 3)
    turns.rename(8, 4)  # who has none gives none
    assert turns.cell(10, ()) == [(0, 10, 3)]


@given(speaking=cells)
def test_turns_are_the_cells_again(speaking: list[tuple[int, ...]]) -> None:
    starts = 10 * np.arange(len(speaking))
    hypothesis = Hypothesis.from_cells(starts, 10 * len(speaking), speaking)
    again: list[set[int]] = [set() for _ in speaking]
    for start, end, who in hypothesis.turns:
        for cell in range(start // 10, end // 10):
            again[cell].add(who)
    assert again == [set(now) for now in speaking]
    # turns of one speaker do not touch
    for who in range(4):
        mine = [turn for turn in hypothesis.turns if turn[2] == who]
        assert all(before[1] < after[0] for before, after in pairwise(mine))
