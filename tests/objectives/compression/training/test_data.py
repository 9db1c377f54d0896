"""Recordings that are evaluated cannot reach training or calibration: what happens to somebody who tries."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

from objectives.compression.training_data import CalibrationData, TrainingData, refuse_leakage
from objectives.corpora.corpus import Corpus, Recording
from objectives.corpora.sources import load_corpus
from objectives.errors import CorpusError, LeakageError
from tests.support.corpora import RATE, rttm, tone, write_audio, write_recording

Make = Callable[[Corpus], TrainingData | CalibrationData]
SPLITS = {"train": ["one", "two"], "calib": ["three"], "eval": ["four"], "test": ["five"]}


def write_corpus(folder: Path, splits: Mapping[str, Iterable[str]] = SPLITS) -> Path:
    for uri in (uri for uris in splits.values() for uri in uris):
        if not list(folder.glob(f"{uri}.*")):
            write_recording(folder, uri)
    (folder / "splits.json").write_text(json.dumps({split: list(uris) for split, uris in splits.items()}))
    return folder


def copied(folder: Path, uri: str, name: str, suffix: str = ".wav", subtype: str | None = None) -> None:
    """The audio of a recording in another file, with a reference of its own."""
    samples, rate = soundfile.read(folder / f"{uri}.wav", dtype="float32")
    soundfile.write(folder / f"{name}{suffix}", samples, rate, subtype=subtype)
    (folder / f"{name}.rttm").write_text(rttm(name, [(0.5, 1.0, "ana")]))


def test_each_is_its_split(tmp_path: Path) -> None:
    corpus = load_corpus(write_corpus(tmp_path))
    assert TrainingData(corpus).recordings == corpus.split("train")
    assert CalibrationData(corpus).recordings == corpus.split("calib")


def test_a_corpus_without_the_split_says_which_there_are(tmp_path: Path) -> None:
    corpus = load_corpus(write_corpus(tmp_path, {"eval": ["four"]}))
    with pytest.raises(CorpusError, match=r"no recording in split 'train': use one of eval"):
        TrainingData(corpus)
    with pytest.raises(CorpusError, match=r"no recording in split 'calib'"):
        CalibrationData(corpus)


def test_other_recordings_cannot_be_handed_in(tmp_path: Path) -> None:
    corpus = load_corpus(write_corpus(tmp_path))
    evaluated = corpus.split("eval")
    data = TrainingData(corpus)
    with pytest.raises(TypeError):
        TrainingData(recordings=evaluated)
    with pytest.raises(TypeError):
        TrainingData(corpus, evaluated)
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(data, recordings=evaluated)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.recordings = evaluated
    assert data.recordings == corpus.split("train")


@pytest.mark.parametrize("make", [TrainingData, CalibrationData])
@pytest.mark.parametrize("evaluated", ["eval", "test"])
@pytest.mark.parametrize(("suffix", "subtype"), [(".flac", "PCM_16"), (".flac", "PCM_24"), (".wav", "PCM_16")])
def test_a_copy_in_another_format_is_recognised(
    tmp_path: Path, make: Make, evaluated: str, suffix: str, subtype: str
) -> None:
    write_recording(tmp_path, "original")
    copied(tmp_path, "original", "copy", suffix, subtype)
    learnt = "train" if make is TrainingData else "calib"
    corpus = load_corpus(write_corpus(tmp_path, {learnt: ["one", "copy"], evaluated: ["four", "original"]}))
    with pytest.raises(LeakageError) as refusal:
        make(corpus)
    message = str(refusal.value)
    assert f"split {evaluated}: 'original' ({tmp_path}/original.wav) would be evaluated" in message
    assert f"{learnt} holds 'copy' ({tmp_path}/copy{suffix}), the same audio in another file" in message
    assert f"Take it out of {learnt}" in message


def test_the_same_file_under_another_name_does_not_even_make_a_corpus(tmp_path: Path) -> None:
    write_recording(tmp_path, "original")
    (tmp_path / "copy.wav").write_bytes((tmp_path / "original.wav").read_bytes())
    (tmp_path / "copy.rttm").write_text(rttm("copy", [(0.5, 1.0, "ana")]))
    with pytest.raises(CorpusError, match="are the same audio"):
        load_corpus(write_corpus(tmp_path, {"train": ["one", "copy"], "eval": ["original"]}))


def test_a_recording_of_another_corpus_in_the_train_folder_is_refused_where_it_is_evaluated(tmp_path: Path) -> None:
    """Two corpora know nothing of each other: each is sound alone."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    evaluated = load_corpus(write_corpus(theirs, {"eval": ["four", "five"]})).split("eval")
    ours.mkdir()
    for name, suffix in (("smuggled", ".wav"), ("smuggled", ".rttm")):
        (ours / f"{name}{suffix}").write_bytes(
            (theirs / f"five{suffix}").read_bytes().replace(b" five ", b" smuggled ")
        )
    data = TrainingData(load_corpus(write_corpus(ours, {"train": ["one", "smuggled"], "eval": ["two"]})))
    refuse_leakage(data, evaluated[:1])
    with pytest.raises(LeakageError, match=r"'five' .* would be evaluated.* train holds 'smuggled' .*the same file"):
        refuse_leakage(data, evaluated)


def test_one_uri_is_one_recording_whatever_its_audio(tmp_path: Path) -> None:
    data = CalibrationData(load_corpus(write_corpus(tmp_path / "ours")))
    theirs = write_corpus(tmp_path / "theirs", {"eval": ["three"]})
    write_audio(theirs / "three.wav", tone(3.0, frequency=1234.0))
    with pytest.raises(LeakageError, match=r"calib holds 'three' .*of the same URI"):
        refuse_leakage(data, load_corpus(theirs).split("eval"))


@pytest.mark.parametrize("make", [TrainingData, CalibrationData])
def test_evaluating_all_splits_is_refused(tmp_path: Path, make: Make) -> None:
    corpus = load_corpus(write_corpus(tmp_path))
    data = make(corpus)
    refuse_leakage(data, corpus.split("eval"))
    refuse_leakage(data, corpus.split("test"))
    with pytest.raises(LeakageError, match="would be evaluated"):
        refuse_leakage(data, corpus.split("all"))


def test_audio_of_the_same_length_is_not_the_same_audio() -> None:
    """14 excerpts of 30 s: every pair is compared."""
    corpus = load_corpus("ami-excerpts")
    refuse_leakage(TrainingData(corpus), [*corpus.split("calib"), *corpus.split("eval")])


@pytest.mark.parametrize(("apart", "same"), [(1.5 / 2**15, True), (3.0 / 2**15, False), (0.005, False)])
def test_audio_that_differs_anywhere_is_other_audio(tmp_path: Path, apart: float, same: bool) -> None:
    """By one sample of all that are compared, and by more than rounding to 16 bits explains."""
    write_corpus(tmp_path, {"train": ["one"], "eval": ["four"]})
    samples, _ = soundfile.read(tmp_path / "one.wav", dtype="float32")
    samples[16_000] += apart
    write_audio(tmp_path / "four.wav", samples)
    corpus = load_corpus(tmp_path)
    if same:
        with pytest.raises(LeakageError, match="the same audio in another file"):
            TrainingData(corpus)
    else:
        TrainingData(corpus)


def test_files_of_other_lengths_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recording(tmp_path, "one", seconds=2.0)
    write_recording(tmp_path, "four", seconds=2.5)
    corpus = load_corpus(write_corpus(tmp_path, {"train": ["one"], "eval": ["four"]}))

    def decode(self: Recording) -> np.ndarray:
        pytest.fail(f"{self.uri} was decoded")

    monkeypatch.setattr(Recording, "waveform", decode)
    TrainingData(corpus)


def test_fingerprints_change_with_what_is_learnt_from(tmp_path: Path) -> None:
    def fingerprints(change: Callable[[Path], object], folder: Path) -> tuple[str, str]:
        write_corpus(folder)
        change(folder)
        corpus = load_corpus(folder)
        return TrainingData(corpus).fingerprint, CalibrationData(corpus).fingerprint

    def write_turn(folder: Path, uri: str) -> None:
        (folder / f"{uri}.rttm").write_text(rttm(uri, [(0.5, 1.25, "ana")]))

    train, calib = fingerprints(lambda folder: None, tmp_path / "a")
    assert fingerprints(lambda folder: None, tmp_path / "b") == (train, calib)  # wherever it lies

    def other_eval(folder: Path) -> None:
        write_audio(folder / "four.wav", tone(2.0, frequency=99.0))
        write_turn(folder, "four")

    assert fingerprints(other_eval, tmp_path / "c") == (train, calib)
    new_train, same_calib = fingerprints(lambda folder: write_turn(folder, "two"), tmp_path / "d")
    assert new_train != train
    assert same_calib == calib
    # no activation range comes from a reference
    assert fingerprints(lambda folder: write_turn(folder, "three"), tmp_path / "e") == (train, calib)

    def other_audio(folder: Path) -> None:
        for uri in ("one", "three"):
            write_audio(folder / f"{uri}.wav", tone(2.0, RATE, frequency=99.0 if uri == "one" else 55.0))

    new_train, new_calib = fingerprints(other_audio, tmp_path / "f")
    assert new_train != train
    assert new_calib != calib
