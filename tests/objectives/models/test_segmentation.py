import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.errors import ModelError
from objectives.models.segmentation import (
    DEFAULT_SEGMENTATION,
    Contract,
    file_sha256,
    load_segmentation,
    parameter_count,
    segmentation_checkpoint,
)
from objectives.runtime.runtime import OnnxRuntime
from tests.support.checkpoints import Change, as_speaker_embedding, changed_checkpoint

# segmentation-3.0: SincNet's strides are 10 · 3 · 3 · 3 = 270 samples, its receptive field 991
CONTRACT = Contract(window=160_000, frames=589, field=991, centre=495, step=270, speakers=3, max_at_once=2)


def test_the_contract_is_read_off_the_model(runtime: OnnxRuntime) -> None:
    assert runtime.contract == CONTRACT


def test_frames_of_the_contract_are_those_that_the_model_returns() -> None:
    model = load_segmentation(fetch("segmentation-3.0"))
    with torch.inference_mode():
        scores = model(torch.zeros(1, 1, CONTRACT.window))
    assert scores.shape == (1, CONTRACT.frames, len(CONTRACT.powerset))


def test_powerset_classes_are_nobody_one_and_pairs() -> None:
    assert CONTRACT.powerset.astype(int).tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [1, 1, 0],
        [1, 0, 1],
        [0, 1, 1],
    ]


@given(st.integers(0, CONTRACT.window - 1))
def test_frame_at_is_the_frame_with_the_nearest_centre(offset: int) -> None:
    centres = CONTRACT.centre + CONTRACT.step * np.arange(CONTRACT.frames)
    distance = np.abs(centres - offset)
    assert distance[CONTRACT.frame_at(offset)] == distance.min()


@given(st.integers(1, CONTRACT.frames - 1))
def test_a_frame_begins_where_the_one_before_it_ends(frame: int) -> None:
    start = CONTRACT.frame_start(frame)
    assert CONTRACT.frame_at(start) == frame
    assert CONTRACT.frame_at(start - 1) == frame - 1


def test_beyond_the_outermost_centres_are_the_outermost_frames() -> None:
    assert CONTRACT.frame_at(np.array([0, CONTRACT.window - 1])).tolist() == [0, 588]


def test_the_default_is_the_pinned_asset() -> None:
    assert segmentation_checkpoint(DEFAULT_SEGMENTATION) == fetch("segmentation-3.0")


def test_a_path_names_itself_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    assert segmentation_checkpoint(str(tmp_path / "model.bin")) == tmp_path / "model.bin"
    with pytest.raises(ModelError, match=rf"{tmp_path}/other.bin.*no such file.*{DEFAULT_SEGMENTATION}"):
        segmentation_checkpoint(str(tmp_path / "other.bin"))


def test_parameters_and_hash_of_the_pinned_file() -> None:
    path = fetch("segmentation-3.0")
    assert parameter_count(load_segmentation(path)) == 1_473_265
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_loaded_model_is_in_evaluation_mode() -> None:
    model = load_segmentation(fetch("segmentation-3.0"))
    assert isinstance(model, PyanNet)
    assert not model.training


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(10_000))


def truncated(path: Path) -> None:
    content = fetch("segmentation-3.0").read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.touch()


def only_weights(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path)


@pytest.mark.parametrize("write", [random_bytes, truncated, empty, only_weights])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "model.bin"
    write(path)
    with pytest.raises(ModelError, match=rf"^{path}: not a pyannote.audio checkpoint .*\. Give a file"):
        load_segmentation(path)


def without_powerset(checkpoint: dict[str, Any]) -> None:
    specifications = checkpoint["pyannote.audio"]["specifications"]
    specifications.problem = type(specifications.problem).MULTI_LABEL_CLASSIFICATION
    specifications.powerset_max_classes = None
    for remembered in ("powerset", "num_powerset_classes"):
        vars(specifications).pop(remembered, None)
    checkpoint["state_dict"] |= {"classifier.weight": torch.zeros(3, 128), "classifier.bias": torch.zeros(3)}


def at_8_khz(checkpoint: dict[str, Any]) -> None:
    checkpoint["hyper_parameters"]["sample_rate"] = 8_000


def in_stereo(checkpoint: dict[str, Any]) -> None:
    checkpoint["hyper_parameters"]["num_channels"] = 2


def of_5_seconds(checkpoint: dict[str, Any]) -> None:
    checkpoint["pyannote.audio"]["specifications"].duration = 5.0


def without_a_layer(checkpoint: dict[str, Any]) -> None:
    del checkpoint["state_dict"]["linear.1.weight"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (as_speaker_embedding, "holds a WeSpeakerResNet34, not a PyanNet"),
        (without_powerset, "no powerset output"),
        (at_8_khz, "only supports 16kHz"),
        (in_stereo, "Only mono audio"),
        (of_5_seconds, "window of 5 s is too short"),
        (without_a_layer, "linear.1.weight"),
    ],
)
def test_a_model_that_cannot_serve_is_refused_with_the_reason(tmp_path: Path, change: Change, reason: str) -> None:
    path = changed_checkpoint(tmp_path / "model.bin", change)
    with pytest.raises(ModelError, match=reason) as refusal:
        load_segmentation(path)
    assert str(refusal.value).startswith(f"{path}: ")
