"""Keys of finished models and of the windows that they are trained on: what makes a model changes its key, and nothing
else does."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.cache.files import content_key
from objectives.cache.model_store import StoredModel
from objectives.compression import compressor as compression
from objectives.compression import recovery, training_windows
from objectives.compression.compressor import Compressor
from objectives.compression.settings import CompressionSettings, QuantizationOptions, RecoverySettings
from objectives.compression.training_data import CalibrationData, TrainingData
from objectives.corpora.corpus import Corpus, Recording
from objectives.operating_point import PRECISIONS, UNPRUNED, Precision, Pruning
from tests.support import key_ingredients as ingredients
from tests.support.key_ingredients import OTHER_RECORDING, RECORDING, assert_each_counts, fields_of
from tests.support.networks import small_network

OTHER_RECOVERY = {
    "method": "bce", "steps": 121, "qat_steps": 61, "windows": 481, "batch": 9, "learning_rate": 2e-3,
}  # fmt: skip
OTHER_QUANTIZATION = {"group_size": 32, "clipping": "mse", "sincnet": "int8"}


LINEAR_40 = Pruning("linear", 0.4)
MODELS = [(pruning, precision) for pruning in (UNPRUNED, LINEAR_40) for precision in PRECISIONS]
EVERY = set(MODELS)
PRUNED = {model for model in MODELS if model[0] != UNPRUNED}
LOW_BIT = {model for model in MODELS if model[1].startswith("int")}
QAT = {model for model in MODELS if model[1].endswith("_qat")}
TRAINED = PRUNED | QAT
# what changes where a setting does
SETTINGS: Mapping[str, tuple[object, set[tuple[Pruning, Precision]]]] = {
    "iterations": (5, PRUNED),
    "seed": (1, TRAINED),
    **{name: (other, TRAINED) for name, other in OTHER_RECOVERY.items()},
    "steps": (121, PRUNED),
    "qat_steps": (61, QAT),
    **{name: (other, LOW_BIT) for name, other in OTHER_QUANTIZATION.items()},
}


@pytest.fixture
def recording_of(tmp_path: Path) -> Callable[..., Recording]:
    assert fields_of(Recording) == {"uri", "audio", "duration", "reference", "annotated"}
    return functools.partial(ingredients.recording_of, tmp_path)


@pytest.fixture
def compressor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording_of: Callable[..., Recording]) -> Compressor:
    """One whose models are nothing but their keys."""

    def named(ingredients: Mapping[str, Any], suffix: str, *_: Any) -> StoredModel:
        story = {"params": 1, "kept": {}}
        return StoredModel(content_key(**ingredients), Path(suffix), 1, "", "", 0.0, ingredients, story)

    monkeypatch.setattr(compression, "kept_model", named)
    (tmp_path / "base.bin").write_bytes(b"a base")
    corpus = Corpus(
        "calls",
        {
            "train": (recording_of(**RECORDING),),
            "calib": (recording_of(**{**RECORDING, "uri": "two", "frequency": 300.0}),),
        },
    )
    return Compressor(tmp_path / "base.bin", CompressionSettings(), TrainingData(corpus), CalibrationData(corpus))


def keys_of(compressor: Compressor) -> dict[tuple[Pruning, Precision], str]:
    return {(pruning, precision): compressor.finish(pruning, precision).key for pruning, precision in MODELS}


def changed(one: Mapping[Any, str], other: Mapping[Any, str]) -> set[Any]:
    return {model for model in one if one[model] != other[model]}


def test_every_model_has_a_key_of_its_own(compressor: Compressor) -> None:
    keys = list(keys_of(compressor).values())
    for pruning in (Pruning("linear", 0.2), Pruning("hidden", 0.4), Pruning("both", 0.4)):
        keys += [compressor.finish(pruning, precision).key for precision in PRECISIONS]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_changes_the_models_that_it_makes_and_no_others(compressor: Compressor, name: str) -> None:
    settings, (other, expected) = compressor.settings, SETTINGS[name]
    parts = {"recovery": fields_of(RecoverySettings), "quantization": fields_of(QuantizationOptions)}
    assert SETTINGS.keys() == fields_of(CompressionSettings) - parts.keys() | set().union(*parts.values())
    part = next((part for part, fields in parts.items() if name in fields), None)
    if part is None:
        settings = dataclasses.replace(settings, **{name: other})
    else:
        within = dataclasses.replace(getattr(settings, part), **{name: other})
        settings = dataclasses.replace(settings, **{part: within})
    assert settings != compressor.settings
    assert changed(keys_of(compressor), keys_of(dataclasses.replace(compressor, settings=settings))) == expected


def test_so_does_what_models_are_made_from(
    compressor: Compressor, tmp_path: Path, recording_of: Callable[..., Recording]
) -> None:
    known = keys_of(compressor)
    other_base = tmp_path / "other.bin"
    other_base.write_bytes(b"another base")
    other = Corpus("calls", {split: (recording_of(**OTHER_RECORDING),) for split in ("train",)})
    other_calib = Corpus("calls", {"calib": (recording_of(**OTHER_RECORDING),)})
    for change, expected in (
        ({"base": other_base}, EVERY),
        ({"training": TrainingData(other)}, TRAINED),
        ({"calibration": CalibrationData(other_calib)}, LOW_BIT),
        ({"trusted": frozenset("0" * 64)}, set()),
    ):
        assert changed(known, keys_of(dataclasses.replace(compressor, **change))) == expected, change
    same_elsewhere = tmp_path / "same.bin"
    same_elsewhere.write_bytes(b"a base")
    assert keys_of(dataclasses.replace(compressor, base=same_elsewhere)) == known


def test_so_does_the_code_that_makes_them(compressor: Compressor, monkeypatch: pytest.MonkeyPatch) -> None:
    known = keys_of(compressor)
    assert compression.TRAINING_CODE == (recovery.CODE_VERSION, training_windows.CODE_VERSION)
    for owner, name, other, expected in (
        (compression, "CODE_VERSION", -1, EVERY),
        (compression, "TRAINING_CODE", (-1, training_windows.CODE_VERSION), TRAINED),
        (compression, "TRAINING_CODE", (recovery.CODE_VERSION, -1), TRAINED),
        (compression, "torchao_version", "another", LOW_BIT),
        (recovery, "device", lambda: torch.device("cuda"), TRAINED),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, other)
            assert changed(known, keys_of(compressor)) == expected, name


# --- windows to train on


def test_training_windows_are_those_of_their_models_recordings_number_seed_and_code(
    compressor: Compressor, monkeypatch: pytest.MonkeyPatch, recording_of: Callable[..., Recording]
) -> None:
    network, asked = small_network(), []
    kept = dict.fromkeys(("features", "teacher", "classes", "annotated"), torch.zeros(1))
    monkeypatch.setattr(training_windows, "_loaded", lambda name, make: asked.append(name) or kept)
    data = {
        "one": TrainingData(Corpus("calls", {"train": (recording_of(**RECORDING),)})),
        "other": TrainingData(Corpus("calls", {"train": (recording_of(**OTHER_RECORDING),)})),
    }

    def key(teacher: str, front: str, train: str, windows: int, seed: int, code: int) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(training_windows, "CODE_VERSION", code)
            training_windows.draw_windows(network, network, (teacher, front), data[train], windows, seed)
        return asked[-1]

    assert_each_counts(
        key,
        {"teacher": "a", "front": "a'", "train": "one", "windows": 8, "seed": 0, "code": 1},
        {"teacher": "b", "front": "b'", "train": "other", "windows": 9, "seed": 1, "code": 2},
    )


def test_a_compressor_asks_for_the_windows_of_its_own_settings(
    compressor: Compressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(compression, "load_segmentation", lambda *_: small_network())
    monkeypatch.setattr(compression, "draw_windows", lambda teacher, front, *rest: asked.append(rest[:-1]))
    (tmp_path / "other.bin").write_bytes(b"another base")

    def key(base: str, sincnet: str, windows: int, seed: int) -> tuple[Any, ...]:
        recovered = RecoverySettings(windows=windows)
        settings = CompressionSettings(recovery=recovered, seed=seed)
        one = dataclasses.replace(compressor, base=tmp_path / base, settings=settings)
        one._windows(QuantizationOptions(sincnet=sincnet), lambda stage, share: None)
        return asked[-1]

    assert_each_counts(
        key,
        {"base": "base.bin", "sincnet": "fp32", "windows": 8, "seed": 0},
        {"base": "other.bin", "sincnet": "int8", "windows": 9, "seed": 1},
    )
    assert asked[-1][1] is compressor.training
