"""Names that are given as a recording is heard, by hand-made voices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.clustering import UNNAMED
from objectives.speaker_memory import Heard, SpeakerMemory

ANNA, BERT, CARL = np.eye(3)
NOBODY = np.full(3, np.nan)
FRAMES, SECONDS = 100, 0.1  # a window of ten seconds


def memory(tau: float = 0.0, rho: float = 1.0, delta: float = 0.5) -> SpeakerMemory:
    return SpeakerMemory(tau, rho, delta, dimension=3)


def heard(*speakers: tuple[np.ndarray, slice], moved: int = 100) -> Heard:
    """Local speakers by their voice and when they speak; by default a window that shares nothing with the last."""
    activity = np.zeros((FRAMES, len(speakers)), bool)
    for local, (_, when) in enumerate(speakers):
        activity[when, local] = True
    return Heard(np.array([voice for voice, _ in speakers]), activity, moved, SECONDS)


def towards(voice: np.ndarray, other: np.ndarray, distance: float) -> np.ndarray:
    """A voice at a cosine distance from `voice`, in the plane of both."""
    cosine = 1.0 - distance
    return cosine * voice + np.sqrt(1.0 - cosine**2) * other


def test_a_voice_is_known_again_and_another_is_somebody_new() -> None:
    known = memory()
    assert known.name(heard((ANNA, slice(0, 50)))).tolist() == [0]
    assert known.name(heard((BERT, slice(0, 50)))).tolist() == [1]
    assert known.name(heard((towards(ANNA, CARL, 0.4), slice(0, 50)))).tolist() == [0]
    assert known.name(heard((towards(BERT, CARL, 0.6), slice(0, 50)))).tolist() == [2]
    assert len(known) == 3


def test_two_of_a_window_are_never_the_same() -> None:
    known = memory()
    known.name(heard((ANNA, slice(0, 50))))
    near, nearer = towards(ANNA, BERT, 0.3), towards(ANNA, BERT, 0.1)
    assert known.name(heard((near, slice(0, 50)), (nearer, slice(50, 100)))).tolist() == [1, 0]


def test_who_says_little_gets_the_nearest_name_and_is_not_remembered() -> None:
    known = memory(rho=2.0)
    known.name(heard((ANNA, slice(0, 50)), (BERT, slice(50, 100))))
    strange = towards(BERT, CARL, 0.8)
    assert known.name(heard((strange, slice(0, 19)))).tolist() == [1]
    assert len(known) == 2
    # had it been remembered, what is between both would be Bert's now
    assert known.name(heard((towards(CARL, BERT, 0.05), slice(0, 50)))).tolist() == [2]


@pytest.mark.parametrize("until", [10, 80])
def test_a_voice_weighs_as_much_as_it_was_heard_alone(until: int) -> None:
    """Eight seconds of Anna, then one second of somebody between her and Bert, who passes for Anna: she stays who she
    was. Seven more seconds of the same, while Carl speaks, change nothing."""
    known = memory()
    known.name(heard((ANNA, slice(0, 80))))
    names = known.name(heard((towards(ANNA, BERT, 0.4), slice(0, until)), (CARL, slice(10, 100))))
    assert names.tolist() == [0, 1]
    # 75 degrees from Anna: nobody's, unless the second window weighed as much as the first
    assert known.name(heard((towards(ANNA, BERT, 1 - np.cos(np.radians(75))), slice(0, 50)))).tolist() == [2]


def test_what_two_windows_share_tells_who_it_is_before_the_voice_does() -> None:
    known = memory()
    assert known.name(heard((NOBODY, slice(80, 100)), (ANNA, slice(0, 50)))).tolist() == [0, 1]
    # a second later: the voiceless one goes on, now as the second local speaker
    assert known.name(heard((ANNA, slice(0, 40)), (BERT, slice(70, 100)), moved=10)).tolist() == [1, 0]
    # and what it was given is its own from now on
    assert known.name(heard((BERT, slice(0, 50)))).tolist() == [0]


def test_a_voice_may_be_farther_from_whom_it_is_expected_to_be() -> None:
    for moved, name in ((10, 0), (100, 1)):
        known = memory()
        known.name(heard((ANNA, slice(0, 50))))
        assert known.name(heard((towards(ANNA, BERT, 0.6), slice(0, 50)), moved=moved)).tolist() == [name]


def test_who_speaks_less_than_tau_is_told_by_what_windows_share_and_not_by_the_voice() -> None:
    known = memory(tau=1.0)
    known.name(heard((ANNA, slice(0, 50)), (BERT, slice(50, 100))))
    assert known.name(heard((ANNA, slice(91, 100)), (BERT, slice(40, 90)), moved=10)).tolist() == [0, 1]
    assert known.name(heard((ANNA, slice(0, 9)), (ANNA, slice(40, 60)))).tolist() == [1, 0]


@given(
    st.lists(
        st.tuples(
            st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=3, max_size=3),
            st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=5, max_size=5),
            st.integers(0, 6),
        ),
        max_size=12,
    ),
    st.floats(0, 3),
    st.floats(0, 3),
    st.floats(0, 2),
)
def test_everybody_who_speaks_has_a_name_of_its_own(
    windows: list[tuple[list[list[float]], list[list[bool]], int]], tau: float, rho: float, delta: float
) -> None:
    known = SpeakerMemory(tau, rho, delta, dimension=3)
    for voices, activity, moved in windows:
        window = Heard(np.array(voices), np.array(activity), moved, 1.0)
        names = known.name(window)
        given_ = names[window.active].tolist()
        assert len(set(given_)) == len(given_)
        assert all(0 <= name < len(known) for name in given_)
        assert (names[~window.active] == UNNAMED).all()


@pytest.mark.parametrize("count", [200])
def test_names_are_few_however_long_it_listens(count: int) -> None:
    known = memory()
    for number in range(count):
        known.name(heard((ANNA if number % 3 else BERT, slice(0, 50))))
    assert len(known) == 2
