"""What recovery trains on: targets by hand, windows by seed, and no recording on both sides."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pyannote.core import Annotation, Segment, Timeline

import objectives.compression.training_windows
from objectives.backends.pyannote import PyanNet
from objectives.cache.files import CACHE_VARIABLE
from objectives.compression.low_bit import with_rounded_sincnet
from objectives.compression.pyannet_head import features_of, forward_head
from objectives.compression.settings import QuantizationOptions
from objectives.compression.training_data import CalibrationData, TrainingData
from objectives.compression.training_windows import (
    HELD_BACK_STEP,
    OUTSIDE,
    TrainingWindows,
    calibration_features,
    class_of_frames,
    draw_windows,
)
from objectives.corpora.corpus import SAMPLE_RATE, Corpus, Recording
from objectives.corpora.simulation.channel import GAIN, augmented
from objectives.corpora.sources import load_corpus
from objectives.models.contract import Contract
from objectives.models.segmentation import contract_of
from objectives.models.windows import window_at
from tests.support.corpora import rttm, write_audio
from tests.support.networks import small_network

WINDOWS = 10
NAMES = ("base", "its own SincNet")
TRAIN = {"one": 12.0, "two": 17.0, "three": 4.0}  # seconds
NONE, A, B, C, AB, AC, BC = range(7)  # powerset classes of the local speakers

Place = tuple[str, int]


@pytest.fixture(scope="module")
def base() -> PyanNet:
    return small_network()


@pytest.fixture(autouse=True)
def cache(base: PyanNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one: what is drawn in a test is drawn there."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Noise that somebody speaks in; each recording another one."""
    folder = tmp_path_factory.mktemp("corpus")
    splits = {"train": list(TRAIN), "calib": ["calm"], "eval": ["even"]}
    lengths = TRAIN | {"calm": 41.0, "even": 12.0}
    for number, (uri, seconds) in enumerate(lengths.items()):
        noise = np.random.default_rng(number).standard_normal(round(seconds * SAMPLE_RATE)) / 10
        write_audio(folder / f"{uri}.wav", noise.astype(np.float32))
        (folder / f"{uri}.rttm").write_text(rttm(uri, [(0.5, 2.0, "ana"), (2.0, 1.5, "bo")]))
    (folder / "splits.json").write_text(json.dumps(splits))
    return load_corpus(folder)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """(URI, first sample) of the windows that are drawn, in their order."""
    seen: list[Place] = []

    def noting(recording: Recording, start: int, contract: Contract) -> tuple[np.ndarray, np.ndarray]:
        seen.append((recording.uri, start))
        return class_of_frames(recording, start, contract)

    monkeypatch.setattr(objectives.compression.training_windows, "class_of_frames", noting)
    return seen


def drawn(base: PyanNet, corpus: Corpus, seed: int = 0) -> TrainingWindows:
    return draw_windows(base, base, NAMES, TrainingData(corpus), WINDOWS, seed)


# frames of one second, centred on the halves
SECONDS = Contract(
    window=10 * SAMPLE_RATE,
    frames=10,
    field=SAMPLE_RATE,
    centre=SAMPLE_RATE // 2,
    step=SAMPLE_RATE,
    speakers=3,
    max_at_once=2,
)


def recording(turns: dict[str, list[tuple[float, float]]], annotated: float = 20.0) -> Recording:
    reference = Annotation()
    for who, parts in turns.items():
        for number, (start, end) in enumerate(parts):
            reference[Segment(start, end), f"{who}{number}"] = who
    return Recording("hand", Path("hand.wav"), 20.0, reference, Timeline([Segment(0, annotated)]))


TURNS = {"zoe": [(0, 6)], "bo": [(4, 7), (6.2, 9)], "cy": [(5, 7)], "ana": [(9, 19)]}


@pytest.mark.parametrize(
    ("start", "classes", "believed"),
    [
        # zoe speaks 6 frames, bo 5, cy 2 and ana 1: ana is the fourth; where three speak, cy is the third
        (0, [A, A, A, A, AB, AB, BC, B, B, NONE], 8),
        # from second 5 on ana speaks 6 frames, bo 4, cy 2 and zoe 1
        (5, [BC, BC, B, B, A, A, A, A, A, A], 3),
        # 3 s before it begins: zoe 6, bo 3 (seconds 4 to 6), cy 2, and nobody is annotated before 0
        (-3, [NONE, NONE, NONE, A, A, A, A, AB, AB, BC], None),
        # at its end, ana alone, until second 19; what is after the recording is not annotated
        (15, [A, A, A, A, NONE, NONE, NONE, NONE, NONE, NONE], 0),
    ],
)
def test_classes_of_frames_by_hand(start: int, classes: list[int], believed: int | None) -> None:
    found, annotated = class_of_frames(recording(TURNS, annotated=8.0), start * SAMPLE_RATE, SECONDS)
    assert found.tolist() == classes
    expected = [0 <= start + frame + 0.5 < 8.0 for frame in range(10)]
    assert annotated.tolist() == expected
    assert believed is None or sum(expected) == believed


def test_a_frame_is_where_its_centre_lies_and_gaps_in_the_annotation_are_not_believed() -> None:
    reference = recording({"ana": [(0.5, 1.5), (2.6, 3.4)]})
    parts = Timeline([Segment(0, 2.5), Segment(4.5, 6)])
    gappy = Recording("hand", reference.audio, 20.0, reference.reference, parts)
    classes, annotated = class_of_frames(gappy, 0, SECONDS)
    assert classes.tolist()[:4] == [A, NONE, NONE, NONE]  # 0.5 is in [0.5, 1.5), 1.5 is not, 2.5 is not yet
    assert annotated.tolist()[:7] == [True, True, False, False, True, True, False]


def test_of_those_who_speak_as_much_the_first_by_name_comes_first() -> None:
    classes, _ = class_of_frames(recording({"bo": [(0, 2)], "ana": [(2, 4)]}), 0, SECONDS)
    assert classes.tolist()[:4] == [B, B, A, A]


def test_what_lies_outside_of_a_recording_is_silence() -> None:
    waveform = np.arange(1, 6, dtype=np.float32)
    assert window_at(waveform, -2, 4).tolist() == [0, 0, 1, 2]
    assert window_at(waveform, 3, 4).tolist() == [4, 5, 0, 0]
    assert window_at(waveform, -1, 8).tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    assert window_at(waveform, 1, 3).tolist() == [2, 3, 4]
    assert not window_at(waveform, -9, 4).any()
    assert not window_at(waveform, 9, 4).any()
    assert window_at(waveform, 9, 4).dtype == np.float32


def test_the_same_seed_draws_the_same_windows_and_another_others(
    base: PyanNet, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = drawn(base, corpus), drawn(base, corpus, seed=1)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another"))
    again = drawn(base, corpus)
    for name in ("features", "teacher", "classes", "annotated"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
        assert not torch.equal(getattr(first, name)[:WINDOWS], getattr(other, name)[:WINDOWS]), name


def test_windows_are_drawn_once_for_each_base_corpus_number_and_seed(
    base: PyanNet, corpus: Corpus, places: list[Place]
) -> None:
    first = drawn(base, corpus)
    drawn_once = len(places)
    again = drawn(base, corpus)
    assert len(places) == drawn_once
    assert torch.equal(first.features, again.features)
    assert again.trained == WINDOWS
    others = [(("other", NAMES[1]), WINDOWS, 0), ((NAMES[0], "other"), WINDOWS, 0), (NAMES, 11, 0), (NAMES, WINDOWS, 1)]
    for names, number, seed in others:
        before = len(places)
        draw_windows(base, base, names, TrainingData(corpus), number, seed)
        assert len(places) > before


@pytest.mark.parametrize("seed", range(3))
def test_no_recording_is_both_trained_on_and_held_back_and_none_is_of_another_split(
    base: PyanNet, corpus: Corpus, places: list[Place], seed: int
) -> None:
    windows = drawn(base, corpus, seed)
    trained, held = ({uri for uri, _ in some} for some in (places[:WINDOWS], places[WINDOWS:]))
    assert len(places) == len(windows.features) == WINDOWS + len(windows.held_back)
    assert list(windows.held_back) == list(range(WINDOWS, len(places)))
    assert len(held) == 1  # a sixth of three recordings, and at least one
    assert not trained & held
    assert trained | held <= set(TRAIN)


def test_windows_lie_where_streaming_has_them(base: PyanNet, corpus: Corpus, places: list[Place]) -> None:
    for seed in range(3):
        drawn(base, corpus, seed)
        for uri, start in places[:WINDOWS]:
            assert start >= -OUTSIDE * SAMPLE_RATE
            assert start + 10 * SAMPLE_RATE <= max(10 - OUTSIDE, TRAIN[uri] + OUTSIDE) * SAMPLE_RATE
        (held,) = {uri for uri, _ in places[WINDOWS:]}
        count = max(1, int((TRAIN[held] - 10) // HELD_BACK_STEP) + 1)
        assert [start for _, start in places[WINDOWS:]] == [n * HELD_BACK_STEP * SAMPLE_RATE for n in range(count)]
        places.clear()


def test_a_single_recording_is_trained_on_and_held_back(base: PyanNet, corpus: Corpus, places: list[Place]) -> None:
    alone = Corpus("alone", {"train": corpus.split("train")[:1]})
    drawn(base, alone)
    assert {uri for uri, _ in places[:WINDOWS]} == {uri for uri, _ in places[WINDOWS:]}


@torch.inference_mode()
def test_features_teacher_and_classes_are_of_the_window(base: PyanNet, corpus: Corpus, places: list[Place]) -> None:
    windows = drawn(base, corpus)
    contract = contract_of(base)
    assert windows.features.shape == (len(places), contract.frames, 60)
    assert windows.teacher.shape == (len(places), contract.frames, 7)
    torch.testing.assert_close(forward_head(base, windows.features), windows.teacher, rtol=0, atol=1e-5)
    by_uri = {one.uri: one for one in corpus.split("train")}
    changed = []
    for number, (uri, start) in enumerate(places):
        classes, annotated = class_of_frames(by_uri[uri], start, contract)
        assert windows.classes[number].tolist() == classes.tolist()
        assert windows.annotated[number].tolist() == annotated.tolist()
        plain = window_at(by_uri[uri].waveform(), start, contract.window)
        features = features_of(base, torch.from_numpy(plain)[None, None])[0]
        changed.append((features - windows.features[number]).abs().max() > 1e-3)
    # a model that normalises its input does not hear a gain, which alone comes to a quarter of the windows
    assert sum(changed[:WINDOWS]) >= WINDOWS / 2
    assert not any(changed[WINDOWS:])


@torch.inference_mode()
def test_the_learner_hears_through_its_own_sincnet_and_the_teacher_through_its(base: PyanNet, corpus: Corpus) -> None:
    plain = drawn(base, corpus)
    rounded = with_rounded_sincnet(base, QuantizationOptions(sincnet="int8"))
    windows = draw_windows(base, rounded, ("base", "int8"), TrainingData(corpus), WINDOWS, 0)
    assert torch.equal(windows.teacher, plain.teacher)
    assert torch.equal(windows.classes, plain.classes)
    moved = (windows.features - plain.features).abs()
    assert 1e-3 < moved.max() < 0.5
    torch.testing.assert_close(forward_head(base, plain.features), windows.teacher, rtol=0, atol=1e-5)


def test_progress_ends_at_1(base: PyanNet, corpus: Corpus) -> None:
    told: list[float] = []
    draw_windows(base, base, NAMES, TrainingData(corpus), WINDOWS, 0, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


@torch.inference_mode()
def test_calibration_windows_are_spread_evenly_over_calib(
    base: PyanNet, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = corpus.split("calib")[0].waveform()
    expected = [
        features_of(base, torch.tensor(window_at(waveform, n * 160_000, 160_000))[None, None]) for n in range(5)
    ]
    features = calibration_features(base, CalibrationData(corpus))
    assert len(features) == 5  # 41 s: four whole windows and one that is padded
    torch.testing.assert_close(features, torch.cat(expected), rtol=0, atol=1e-4)
    monkeypatch.setattr(objectives.compression.training_windows, "MOST_CALIBRATING", 3)
    fewer = calibration_features(base, CalibrationData(corpus))
    torch.testing.assert_close(fewer, features[[0, 2, 4]], rtol=0, atol=1e-4)


def test_augmentation_is_seeded_and_keeps_silence_and_kind() -> None:
    window = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    some = [augmented(window, np.random.default_rng(seed)) for seed in range(8)]
    again = [augmented(window, np.random.default_rng(seed)) for seed in range(8)]
    assert all(np.array_equal(one, other) for one, other in zip(some, again, strict=True))
    assert all(one.dtype == np.float32 and one.shape == window.shape for one in some)
    assert len({one.tobytes() for one in some}) == 8
    # a band of 3.1 of 8 kHz has 4 dB less power, noise adds little: all is between the gains but for that
    levels = [10 * np.log10(np.mean(one**2) / np.mean(window**2)) for one in some]
    assert GAIN[0] - 6 < min(levels) < max(levels) < GAIN[1] + 1
    assert not any(augmented(np.zeros(1000, np.float32), np.random.default_rng(seed)).any() for seed in range(8))
