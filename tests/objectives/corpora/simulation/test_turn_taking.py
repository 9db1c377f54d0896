"""When somebody begins to speak, by hand: every draw is the shortest that there is."""

from pathlib import Path

import pytest

from objectives.corpora.simulation.speakers import Source
from objectives.corpora.simulation.turn_taking import placed
from objectives.corpora.simulation.utterances import Utterance

SOURCE = Source("a/1.wav", Path("1.wav"))


class Shortest:
    """Chance that adds nothing to the shortest gap or overlap."""

    def exponential(self, mean: float) -> float:
        return 0.0


def said(*people: str) -> list[Utterance]:
    """A second by each."""
    return [Utterance(person, SOURCE, 0, 1000, -20.0) for person in people]


def test_somebody_who_goes_on_rests_and_another_follows_sooner() -> None:
    """0.5 s of silence first, 0.6 s before more of the same person, 0.05 s before another one."""
    held = placed(said("ana", "ana", "bea"), 0.0, Shortest())
    assert [turn.start for turn in held.turns] == [500, 2100, 3150]
    assert (held.speech, held.overlap) == (3000, 0)


@pytest.mark.parametrize(("length", "lengths"), [(3649, [1000, 1000]), (3650, [1000, 1000, 500])])
def test_a_turn_that_the_end_cuts_lasts_half_a_second_or_is_left_out(length: int, lengths: list[int]) -> None:
    held = placed(said("ana", "ana", "bea"), 0.0, Shortest(), length)
    assert [turn.length for turn in held.turns] == lengths
    assert held.speech == sum(lengths)
