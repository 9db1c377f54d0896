"""Who is in which conversation, what is drawn anew for each, and how loud people are."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from objectives.corpora.simulation.conversations import SimulationSettings, Studio, simulate
from objectives.corpora.simulation.speakers import Source, speech_folder
from objectives.corpora.simulation.utterances import Utterance
from tests.support.corpora import write_audio
from tests.support.speech_bursts import speech

SOURCE = Source("a/1.wav", Path("1.wav"))


class Talker:
    """Somebody who says a second at a time."""

    def __init__(self, person: str) -> None:
        self.person = person

    def draw(self) -> Utterance:
        return Utterance(self.person, SOURCE, 0, 1000, -20.0)


def studio(people: str, speakers: tuple[int, int]) -> Studio:
    voices = dict.fromkeys(people, (SOURCE,))
    decks = {person: Talker(person) for person in people}
    return Studio(voices, SimulationSettings(speakers=speakers), decks=decks)


def test_everybody_is_in_a_conversation_before_anybody_is_in_another() -> None:
    made = studio("abcde", speakers=(2, 2))
    # everybody of a conversation speaks once before it is drawn who goes on
    present = [[said.person for said in islice(made.script(place), 2)] for place in range(10)]
    assert all(len(set(people)) == 2 for people in present)
    assert Counter(person for people in present[:5] for person in people) == dict.fromkeys("abcde", 2)
    assert Counter(person for people in present for person in people) == dict.fromkeys("abcde", 4)


def test_a_conversation_is_of_the_fewest_to_the_most_people() -> None:
    made = studio("abcdef", speakers=(2, 4))
    numbers = {len({said.person for said in islice(made.script(place), 30)}) for place in range(60)}
    assert numbers == {2, 3, 4}
    few = studio("ab", speakers=(2, 4))
    assert {len({said.person for said in islice(few.script(place), 30)}) for place in range(10)} == {2}


def test_each_recording_has_a_timing_of_its_own_and_always_the_same() -> None:
    made = studio("ab", speakers=(2, 2))
    said = list(islice(made.script(0), 20))
    starts = [[turn.start for turn in made.conversation(place, said).turns] for place in (0, 1, 2, 0)]
    assert starts[0] == starts[3]
    assert len({tuple(one) for one in starts}) == 3


@pytest.mark.parametrize("recorded", [0.02, 0.1, 0.3])
def test_people_are_as_loud_as_on_a_telephone_however_they_were_recorded(tmp_path: Path, recorded: float) -> None:
    """−26 dB of full scale, and 3 dB more or less for each."""
    for person, seed in (("ana", 1), ("bea", 2), ("cy", 3)):
        sound = speech(6.0, [(0.5, 5.5)], seed=seed, level=recorded)
        write_audio(tmp_path / "speech" / person / "1.wav", sound)
    alone = SimulationSettings(overlap=0.0, speakers=(1, 1), minutes=0.3, length=0.1)
    told = simulate(speech_folder(tmp_path / "speech"), alone, tmp_path / "out")
    levels = []
    for one in told.recordings:
        _, samples = wavfile.read(tmp_path / "out" / "audio" / f"{one.uri}.wav")
        heard = [samples[16 * turn.start + 1600 : 16 * turn.end - 1600] for turn in one.conversation.turns]
        levels.append(10 * np.log10(np.mean(np.square(np.concatenate(heard) / 32767.0))))
    assert len(levels) == 3
    # what is kept of the pauses at the edges of an utterance is 0.05 dB
    assert all(-29.2 < level < -22.8 for level in levels)
