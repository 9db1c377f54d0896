"""Names that are given as a recording is heard, by hand-made voices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.streaming.clustering import UNNAMED
from objectives.streaming.incremental.speaker_memory import Heard, SpeakerMemory

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


def test_no_more_names_than_there_can_be_are_given() -> None:
    """The third voice has the nearest name, and two who speak in a window of one speaker share it."""
    two, one = (SpeakerMemory(0.0, 1.0, 0.5, dimension=3, most=most) for most in (2, 1))
    assert two.name(heard((ANNA, slice(0, 50)), (BERT, slice(50, 100)))).tolist() == [0, 1]
    assert two.name(heard((towards(CARL, BERT, 0.8), slice(0, 50)))).tolist() == [1]
    assert one.name(heard((ANNA, slice(0, 50)), (BERT, slice(0, 50)), (NOBODY, slice(90, 91)))).tolist() == [0, 0, 0]


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


# --- at the very edge of what the settings say


@pytest.mark.parametrize(
    ("tau", "rho", "alone", "name"),
    [(1.0, 0.5, 10, 2), (1.1, 0.5, 10, 0), (0.0, 1.0, 10, 2), (0.0, 1.1, 10, 0), (1.0, 0.5, 5, 2), (1.0, 0.6, 5, 0)],
)
def test_a_voice_is_somebody_from_tau_of_speech_and_rho_of_it_alone_on(
    tau: float, rho: float, alone: int, name: int
) -> None:
    """Carl speaks for one second, so many tenths of it alone, beside Bert: he is somebody new, or else the nearest."""
    known = memory(tau, rho)
    known.name(heard((ANNA, slice(0, 50)), (BERT, slice(50, 100))))
    names = known.name(heard((CARL, slice(0, 10)), (BERT, slice(alone, 60))))
    assert names.tolist() == [name, 1]
    if name == 2:  # and is remembered by his voice
        assert known.name(heard((CARL, slice(0, 50)))).tolist() == [2]


def test_speech_beside_others_is_not_remembered() -> None:
    known = memory()
    known.name(heard((ANNA, slice(0, 10))))
    between = towards(ANNA, BERT, 0.4)
    # eight seconds, of which nine tenths of one alone
    assert known.name(heard((between, slice(0, 80)), (CARL, slice(9, 100)))).tolist() == [0, 1]
    assert known.name(heard((towards(ANNA, BERT, 1 - np.cos(np.radians(75))), slice(0, 50)))).tolist() == [2]


def test_from_delta_on_a_voice_is_nobodys() -> None:
    known = memory(delta=1.0)
    known.name(heard((ANNA, slice(0, 50))))
    assert known.name(heard((BERT, slice(0, 50)))).tolist() == [1]
    assert known.name(heard((towards(ANNA, CARL, 0.9), slice(0, 50)))).tolist() == [0]


@pytest.mark.parametrize(("distance", "name"), [(0.65, 0), (0.75, 1)])
def test_who_is_expected_may_be_a_fifth_farther_and_no_more(distance: float, name: int) -> None:
    known = memory()
    known.name(heard((ANNA, slice(0, 50))))
    assert known.name(heard((towards(ANNA, BERT, distance), slice(0, 50)), moved=10)).tolist() == [name]


@pytest.mark.parametrize(("distance", "names"), [(0.2, [1, 0]), (0.4, [0, 2])])
def test_a_voice_that_fits_well_comes_before_who_is_expected_without_one(distance: float, names: list[int]) -> None:
    """The first speaks too little to be told by its voice and goes on from Anna; the second sounds like her."""
    known = memory(tau=1.0)
    known.name(heard((ANNA, slice(0, 50)), (BERT, slice(50, 100))))
    window = heard((ANNA, slice(0, 9)), (towards(ANNA, CARL, distance), slice(60, 100)), moved=10)
    assert known.name(window).tolist() == names


@pytest.mark.parametrize(
    ("before", "now", "name"),
    [
        # frames before are ten frames later in the window that has moved on by one second
        (slice(90, 100), slice(40, 100), 1),  # 6 s, of which both windows hold 1 s: three quarters of one are enough
        (slice(90, 100), slice(82, 100), 1),  # 0.8 of 1.8 s
        (slice(90, 100), slice(85, 90), 1),  # all of half a second
        (slice(90, 100), slice(88, 96), 1),  # 0.2 of 0.8 s: a quarter
        (slice(90, 100), slice(88, 97), 0),  # 0.2 of 0.9 s
        (slice(90, 100), slice(83, 100), 1),  # 0.7 of 1.7 s: more than a quarter
        (slice(90, 97), slice(40, 100), 0),  # 0.7 of 6 s: less than either
    ],
)
def test_a_quarter_of_the_speech_or_three_quarters_of_a_second_must_be_shared(
    before: slice, now: slice, name: int
) -> None:
    known = memory(rho=0.5)
    known.name(heard((BERT, slice(0, 50)), (ANNA, before)))
    # nobody knows the voice: it is who it is expected to be, or else the first of those heard last
    assert known.name(heard((NOBODY, now), moved=10)).tolist() == [name]


def test_a_voice_that_nobody_knows_is_taken_for_who_was_heard_last() -> None:
    known = memory()
    for voice in (ANNA, BERT, CARL, BERT):
        known.name(heard((voice, slice(0, 50))))
    assert known.name(heard((NOBODY, slice(0, 50)))).tolist() == [1]
    assert known.name(heard((NOBODY, slice(0, 50)), (BERT, slice(50, 100)))).tolist() == [2, 1]
    assert known.name(heard((ANNA, slice(0, 50)))).tolist() == [0]
    assert known.name(heard((NOBODY, slice(0, 50)))).tolist() == [0]


def test_a_short_voice_is_taken_for_the_nearest() -> None:
    known = memory(rho=2.0)
    known.name(heard((ANNA, slice(0, 30)), (BERT, slice(30, 60)), (CARL, slice(60, 100))))
    strange = np.array([0.3, 0.6, 0.4]) / np.linalg.norm([0.3, 0.6, 0.4])
    assert known.name(heard((-ANNA + strange, slice(0, 10)))).tolist() == [1]


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
