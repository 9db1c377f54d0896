"""Where training windows are taken from, and what a line does to them: by hand, and by how often."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pyannote.core import Annotation, Segment, Timeline

from objectives.compression import training_windows
from objectives.compression.training_data import TrainingData
from objectives.compression.training_windows import MOST_HELD_BACK, OUTSIDE, _hold_back, _random_places, _regular_places
from objectives.corpora.corpus import SAMPLE_RATE, Corpus, Recording
from objectives.corpora.simulation.channel import augmented
from tests.support.networks import small_network
from tests.support.sign_models import CONTRACT

WINDOW = CONTRACT.window / SAMPLE_RATE  # seconds


def recordings(*durations: float) -> list[Recording]:
    reference = Annotation()
    reference[Segment(0.0, 1.0)] = "ana"
    return [
        Recording(f"call{number}", Path("none"), seconds, reference, Timeline())
        for number, seconds in enumerate(durations)
    ]


def test_each_second_is_as_likely_as_another_and_edges_are_heard_as_in_streaming() -> None:
    short, long = recordings(20.0, 180.0)
    places = _random_places([short, long], 4000, CONTRACT, np.random.default_rng(0))
    of = {one.uri: [start / SAMPLE_RATE for who, start in places if who is one] for one in (short, long)}
    assert len(of["call1"]) / 4000 == pytest.approx(0.9, abs=0.02)
    for recording in (short, long):
        starts = of[recording.uri]
        last = recording.duration - WINDOW + OUTSIDE
        assert -OUTSIDE <= min(starts) < -OUTSIDE + 0.03 * recording.duration
        assert last - 0.03 * recording.duration < max(starts) <= last
        assert np.mean(starts) == pytest.approx((last - OUTSIDE) / 2, abs=0.05 * recording.duration)


def test_both_ends_of_where_a_window_may_begin_are_drawn() -> None:
    """A recording of one sample leaves two places: the last window that may not reach it, and the next."""
    places = _random_places(recordings(1 / SAMPLE_RATE), 50, CONTRACT, np.random.default_rng(0))
    assert WINDOW == 2 * OUTSIDE
    assert {start for _, start in places} == {-80_000, -79_999}


@pytest.mark.parametrize(("count", "held"), [(1, 1), (2, 1), (8, 1), (9, 2), (10, 2), (12, 2), (15, 2), (21, 4)])
def test_a_sixth_is_held_back_and_which_is_drawn(count: int, held: int) -> None:
    everybody = tuple(recordings(*[10.0] * count))
    trained, back = _hold_back(everybody, np.random.default_rng(0))
    assert len(back) == held
    if count > 1:
        assert {one.uri for one in trained} | {one.uri for one in back} == {one.uri for one in everybody}
        assert len(trained) + len(back) == count
        draws = [_hold_back(everybody, np.random.default_rng(seed))[1] for seed in range(20)]
        assert len({tuple(one.uri for one in drawn) for drawn in draws}) > 1


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(4.0, [0]), (10.0, [0]), (14.9, [0]), (15.0, [0, 5]), (20.0, [0, 5, 10]), (24.0, [0, 5, 10])],
)
def test_held_back_windows_lie_five_seconds_apart_inside_of_a_recording(seconds: float, starts: list[int]) -> None:
    places = _regular_places(recordings(seconds), CONTRACT)
    assert [start / SAMPLE_RATE for _, start in places] == starts


def test_of_many_held_back_windows_as_many_as_are_wanted_are_taken_evenly() -> None:
    places = _regular_places(recordings(10 + 5 * 2 * (MOST_HELD_BACK - 1)), CONTRACT)
    assert [start / SAMPLE_RATE for _, start in places] == [10 * number for number in range(MOST_HELD_BACK)]


# --- the line


class Drawn:
    """Stands for a random generator: what is drawn is told."""

    def __init__(self, chances: list[float], levels: list[float]):
        self._chances, self._levels = iter(chances), iter(levels)
        self.asked: list[tuple[float, float]] = []

    def random(self) -> float:
        return next(self._chances)

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return next(self._levels)

    def standard_normal(self, count: int) -> np.ndarray:
        return np.random.default_rng(1).standard_normal(count)


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def tone_of(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)


@pytest.mark.parametrize(("decibels", "factor"), [(0.0, 1.0), (6.0, 1.99526), (-12.0, 0.251189)])
def test_a_gain_is_that_of_an_amplitude(decibels: float, factor: float) -> None:
    drawn = Drawn([0.5, 0.5], [decibels])  # neither band nor noise
    np.testing.assert_allclose(augmented(tone_of(1000), drawn), factor * tone_of(1000), rtol=1e-5, atol=1e-6)
    assert drawn.asked == [(-12.0, 6.0)]


@pytest.mark.parametrize("decibels", [10.0, 20.0, 30.0])
def test_noise_is_so_many_decibels_below_the_window(decibels: float) -> None:
    window = 0.1 * tone_of(1000)
    drawn = Drawn([0.5, 0.49], [decibels, 0.0])
    noise = augmented(window, drawn) - window
    assert 10 * np.log10(power(window) / power(noise)) == pytest.approx(decibels, abs=0.2)
    assert drawn.asked == [(10.0, 30.0), (-12.0, 6.0)]


@pytest.mark.parametrize(("hertz", "passes"), [(80, False), (400, True), (1000, True), (3000, True), (6000, False)])
def test_half_of_the_windows_pass_through_the_telephone_band(hertz: float, passes: bool) -> None:
    window = tone_of(hertz)
    inside = augmented(window, Drawn([0.49, 0.5], [0.0]))[SAMPLE_RATE // 2 :]
    assert (power(inside) > 0.3 * power(window)) == passes
    assert passes or power(inside) < 0.01 * power(window)
    np.testing.assert_array_equal(augmented(window, Drawn([0.5, 0.5], [0.0])), window)


def test_what_is_trained_on_is_augmented_and_what_is_held_back_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: Iterator[float] = iter(range(1, 100))
    monkeypatch.setattr(training_windows, "augmented", lambda window, random: np.full_like(window, next(heard)))
    monkeypatch.setattr(Recording, "waveform", lambda self: np.zeros(round(self.duration * SAMPLE_RATE), np.float32))
    monkeypatch.setattr(Recording, "content_hash", "none")
    seen: list[np.ndarray] = []

    def features(base: object, windows: np.ndarray) -> torch.Tensor:
        seen.extend(window[0] for window in windows)
        return torch.zeros(len(windows), CONTRACT.frames, 60)

    monkeypatch.setattr(training_windows, "_features", features)
    network = small_network()
    data = TrainingData(Corpus("calls", {"train": tuple(recordings(30.0, 40.0, 20.0))}))
    made = training_windows._draw(network, network, data, 5, 0, lambda fraction: None)
    assert seen[:5] == [1, 2, 3, 4, 5]
    assert len(seen) == len(made["features"]) > 5
    assert not any(seen[5:])
