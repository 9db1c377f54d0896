"""Fingerprints of recordings, and keys of what is computed of them once: each ingredient, changed alone, gives another
one."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from objectives import machine
from objectives.backends.pyannote import WeSpeakerResNet34
from objectives.cache.files import content_key
from objectives.compression.compressor import FinishedModel
from objectives.compression.training_data import CalibrationData, TrainingData
from objectives.corpora.corpus import Corpus, Recording
from objectives.evaluation.accuracy import AccuracyPlane
from objectives.models import embedding_features, embedding_loading
from objectives.models.embedding import Blocks, SpeakerEmbedding
from objectives.models.embedding_features import kept_window_features, recording_features
from objectives.models.embedding_loading import wespeaker_embedding
from objectives.operating_point import Precision
from objectives.runtime import segmentation_onnx
from tests.support import key_ingredients
from tests.support.corpora import tone
from tests.support.key_ingredients import OTHER_RECORDING, RECORDING, assert_each_counts, fields_of
from tests.support.sign_models import CLUSTERING, SignRuntime, sign_embedding


@pytest.fixture
def recording_of(tmp_path: Path) -> Callable[..., Recording]:
    assert fields_of(Recording) == {"uri", "audio", "duration", "reference", "annotated"}
    return functools.partial(key_ingredients.recording_of, tmp_path)


def test_a_content_key_knows_every_ingredient_by_name_and_value() -> None:
    assert content_key(a=1, b=2) == content_key(b=2, a=1)
    different = [content_key(a=1, b=2), content_key(a=2, b=1), content_key(a=1), content_key(a=1, c=2)]
    different += [content_key(a=1, b="2"), content_key(a=1, b=[2]), content_key(a=1, b=None)]
    assert len({*different}) == len(different)


def test_a_corpus_knows_all_of_its_recordings(recording_of: Callable[..., Recording]) -> None:
    def fingerprint(name: str, split: str, **recording: Any) -> str:
        return Corpus(name, {split: (recording_of(**recording),)}).fingerprint

    assert_each_counts(
        fingerprint,
        {"name": "calls", "split": "eval", **RECORDING},
        {"name": "others", "split": "test", **OTHER_RECORDING},
    )


def test_a_corpus_knows_which_recording_says_what(recording_of: Callable[..., Recording]) -> None:
    one, two = recording_of(**RECORDING), recording_of(**OTHER_RECORDING)
    swapped = (dataclasses.replace(one, reference=two.reference), dataclasses.replace(two, reference=one.reference))
    assert Corpus("calls", {"eval": (one, two)}).fingerprint == Corpus("calls", {"eval": (two, one)}).fingerprint
    assert Corpus("calls", {"eval": (one, two)}).fingerprint != Corpus("calls", {"eval": swapped}).fingerprint
    assert Corpus("calls", {"eval": (one,)}).fingerprint != Corpus("calls", {"eval": (one, two)}).fingerprint


def test_what_is_learnt_from_is_known_and_the_name_of_the_recording_is_not(
    recording_of: Callable[..., Recording],
) -> None:
    def trained(**recording: Any) -> str:
        return TrainingData(Corpus("calls", {"train": (recording_of(**recording),)})).fingerprint

    def calibrated(frequency: float, duration: float) -> str:
        heard = {**RECORDING, "frequency": frequency, "duration": duration}
        return CalibrationData(Corpus("calls", {"calib": (recording_of(**heard),)})).fingerprint

    learnt = {name: other for name, other in OTHER_RECORDING.items() if name != "uri"}
    assert_each_counts(trained, RECORDING, learnt)
    assert trained(**{**RECORDING, "uri": "two"}) == trained(**RECORDING)
    assert_each_counts(calibrated, {"frequency": 440.0, "duration": 2.0}, {"frequency": 220.0, "duration": 1.9})


def test_the_order_of_recordings_counts_as_windows_are_drawn_in_it(recording_of: Callable[..., Recording]) -> None:
    one, two = recording_of(**RECORDING), recording_of(**OTHER_RECORDING)
    for split, data in (("train", TrainingData), ("calib", CalibrationData)):
        prints = {data(Corpus("calls", {split: order})).fingerprint for order in ((one, two), (two, one), (one,))}
        assert len(prints) == 3


def test_windows_of_a_recording_are_those_of_its_samples_model_kernel_and_processor(
    recording_of: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = AccuracyPlane(sign_embedding(), CLUSTERING, 1)

    def key(frequency: float, duration: float, model: str, kernel: str, processor: str) -> Path | None:
        recording = recording_of(**{**RECORDING, "frequency": frequency, "duration": duration})
        with monkeypatch.context() as patch:
            patch.setattr(machine, "processor", lambda: processor)
            return plane.windows(recording, model, SignRuntime(kernel=kernel))._path

    known = {"frequency": 440.0, "duration": 2.0, "model": "a", "kernel": "cpu", "processor": "x"}
    others = {"frequency": 220.0, "duration": 1.5, "model": "b", "kernel": "gpu", "processor": "y"}
    assert_each_counts(key, known, others)
    assert key(**known) is not None


def kept_under(patch: pytest.MonkeyPatch, module: Any) -> list[tuple[str, str]]:
    """Where arrays would be kept: (folder, name) each."""
    asked: list[tuple[str, str]] = []

    def kept(folder: str, name: str, make: Callable[[Path], None]) -> np.ndarray:
        asked.append((folder, name))
        return np.zeros((1, 1))

    patch.setattr(module, "kept_array", kept)
    return asked


def test_features_are_those_of_their_embedding_and_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = kept_under(monkeypatch, embedding_features)

    def key(of: str, frequency: float) -> tuple[str, str]:
        recording_features(dataclasses.replace(sign_embedding(), key=of), tone(1.0, frequency=frequency))
        return asked[-1]

    assert_each_counts(key, {"of": "a", "frequency": 440.0}, {"of": "b", "frequency": 220.0})
    # a digest that is known already is the one that would be computed, and is believed
    samples = tone(1.0)
    recording_features(sign_embedding(), samples, embedding_loading.digest_of(samples))
    recording_features(sign_embedding(), samples)
    recording_features(sign_embedding(), samples, "0" * 64)
    assert asked[-3] == asked[-2] != asked[-1]


def test_features_of_windows_are_those_of_their_length_and_step_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = kept_under(monkeypatch, embedding_features)

    def key(of: str, digest: str, length: int, step: int) -> tuple[str, str]:
        kept_window_features(dataclasses.replace(sign_embedding(), key=of), tone(1.0), digest, length, step)
        return asked[-1]

    assert_each_counts(
        key,
        {"of": "a", "digest": "0" * 64, "length": 8000, "step": 4000},
        {"of": "b", "digest": "1" * 64, "length": 4000, "step": 8000},
    )
    assert key("a", "0" * 64, 8000, 4000) != key("a", "0" * 64, 4000, 8000)
    recording_features(dataclasses.replace(sign_embedding(), key="a"), tone(1.0), "0" * 64)
    *of_windows, in_blocks = asked
    assert in_blocks not in of_windows, "features in blocks are others"


def test_an_embedding_is_known_by_weights_blocks_and_code_and_its_file_by_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files: list[str] = []
    monkeypatch.setattr(embedding_loading, "kept_file", lambda folder, name, make: files.append(name) or Path(name))
    monkeypatch.setattr(embedding_loading, "open_session", lambda *_: None)
    monkeypatch.setattr(embedding_loading, "features_by", lambda *_: lambda samples: samples)
    network = torch.nn.Identity()
    affine = (torch.zeros(1, 2), torch.zeros(1))
    blocks = {"length": 32_000, "left": 16_000, "right": 640}
    assert blocks.keys() == fields_of(Blocks)

    def made(
        digest: str, code: int, form: int = 1, name: str = "a", threads: int = 1, **blocks: int
    ) -> SpeakerEmbedding:
        with monkeypatch.context() as patch:
            patch.setattr(embedding_loading, "CODE_VERSION", code)
            patch.setattr(embedding_loading, "FORM", form)
            recipe = dataclasses.replace(embedding_loading.CAMPPLUS, blocks=Blocks(**blocks))
            return embedding_loading._assemble(recipe, name, digest, network, affine, threads)

    known = {"digest": "a", "code": 1, **blocks}
    others = {"digest": "b", "code": 2, "length": 64_000, "left": 32_000, "right": 641}
    assert_each_counts(lambda **given: made(**given).key, known, others)
    assert made(**known, name="b", threads=2).key == made(**known).key  # where it lies changes no feature
    made(**known, form=2)
    made(**known)
    assert files[-2] != files[-1]


def test_a_wespeaker_model_is_known_by_every_value_of_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    digests: list[str] = []
    monkeypatch.setattr(embedding_loading, "_assemble", lambda recipe, name, digest, *_: digests.append(digest))
    torch.manual_seed(0)
    model = WeSpeakerResNet34().eval()
    state = model.state_dict()
    wespeaker_embedding(model, "a", 1)
    names = [name for name, value in state.items() if value.is_floating_point()]
    for name in (names[0], names[-1], next(name for name in names if "running_mean" in name)):
        state[name].flatten()[-1] += 1.0
        wespeaker_embedding(model, "a", 1)
    assert len({*digests}) == 4


def test_an_onnx_file_is_that_of_its_model_kind_and_form(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[tuple[str, str]] = []
    monkeypatch.setattr(segmentation_onnx, "kept_file", lambda folder, name, make: files.append((folder, name)))

    def name(key: str, exact: bool, form: int, precision: Precision = "int8_ptq") -> tuple[str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(segmentation_onnx, "FORM", form)
            patch.setattr(segmentation_onnx, "signed_products_are_exact", lambda: exact)
            segmentation_onnx.kept_onnx(FinishedModel(key, Path("none"), precision, 1, ""))
        return files[-1]

    assert_each_counts(name, {"key": "a", "exact": True, "form": 1}, {"key": "b", "exact": False, "form": 2})
    # floating-point numbers are the same on every processor
    assert name("a", True, 1, "fp32") == name("a", False, 1, "fp32")
