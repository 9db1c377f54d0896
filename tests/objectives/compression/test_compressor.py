"""Finished models: files that stock pyannote.audio loads, made once, of the size that is reported."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from objectives.backends.pyannote import Model
from objectives.cache.assets import fetch
from objectives.cache.files import CACHE_VARIABLE
from objectives.compression.compressor import FinishedModel
from objectives.errors import ModelError
from tests.support.checkpoints import as_speaker_embedding, changed_checkpoint, seconds_apart
from tests.support.networks import finish

MIB = 2**20
FORK = multiprocessing.get_context("fork")
PATIENCE = 60.0


@pytest.fixture(scope="module")
def base() -> Path:
    return fetch("segmentation-3.0")


@pytest.fixture(scope="module")
def fp32(base: Path) -> FinishedModel:
    return finish(base, "fp32")


@pytest.fixture(scope="module")
def fp16(base: Path) -> FinishedModel:
    return finish(base, "fp16")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def scores(checkpoint: Path, windows: np.ndarray) -> torch.Tensor:
    """What stock pyannote.audio makes of a checkpoint file: (windows, frames, classes)."""
    model = Model.from_pretrained(checkpoint)
    assert model is not None
    model.eval()
    with torch.inference_mode():
        return model(torch.from_numpy(windows.copy())[:, None])


def test_fp32_has_the_size_and_parameters_of_the_papers_baseline(fp32: FinishedModel) -> None:
    assert fp32.size_bytes / MIB == pytest.approx(5.63, abs=0.01)
    assert fp32.size_bytes == len(fp32.checkpoint.read_bytes())
    assert fp32.params == 1_473_265


def test_fp16_is_half_the_size(fp32: FinishedModel, fp16: FinishedModel) -> None:
    assert fp16.size_bytes == pytest.approx(fp32.size_bytes / 2, rel=0.01)
    assert fp16.params == fp32.params


def test_fp32_says_what_the_pinned_file_says(fp32: FinishedModel, base: Path, excerpt: np.ndarray) -> None:
    windows = seconds_apart(excerpt, 4)
    assert torch.equal(scores(fp32.checkpoint, windows), scores(base, windows))


def test_fp16_says_nearly_what_fp32_says(fp32: FinishedModel, fp16: FinishedModel, excerpt: np.ndarray) -> None:
    windows = seconds_apart(excerpt, 16)
    wide, narrow = scores(fp32.checkpoint, windows), scores(fp16.checkpoint, windows)
    assert not torch.equal(wide, narrow)  # else nothing was narrowed
    assert (wide.argmax(-1) != narrow.argmax(-1)).float().mean() < 0.001


def stored_kinds(model: FinishedModel) -> dict[str, torch.dtype]:
    checkpoint: dict[str, Any] = torch.load(model.checkpoint, weights_only=False)
    return {name: value.dtype for name, value in checkpoint["state_dict"].items() if value.is_floating_point()}


def test_weights_are_stored_in_their_precision(fp32: FinishedModel, fp16: FinishedModel) -> None:
    assert set(stored_kinds(fp32).values()) == {torch.float32}
    wide = {name for name, kind in stored_kinds(fp16).items() if kind != torch.float16}
    # frequencies in Hz and sample times, from which SincNet computes its filters: 16 bits would move the filters
    assert wide == {f"sincnet.conv1d.0.filterbank.{name}" for name in ("low_hz_", "band_hz_", "window_", "n_")}


def test_training_state_is_no_part_of_the_size_and_other_weights_are_another_model(
    tmp_path: Path, empty_cache: Path, fp32: FinishedModel
) -> None:
    def train_on(checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"]["classifier.bias"][0] -= 1.0
        checkpoint["optimizer_states"] = [{"momentum": torch.zeros(500_000)}]

    trained = changed_checkpoint(tmp_path / "trained.ckpt", train_on)
    assert trained.stat().st_size > 7 * MIB
    finished = finish(trained, "fp32")
    assert finished.size_bytes == pytest.approx(fp32.size_bytes, rel=0.001)
    assert finished.key != fp32.key


def test_the_same_bytes_elsewhere_are_the_same_model(
    tmp_path: Path, base: Path, fp32: FinishedModel, fp16: FinishedModel
) -> None:
    copy = tmp_path / "copy.bin"
    copy.write_bytes(base.read_bytes())
    assert finish(copy, "fp32") == fp32
    assert fp16.key != fp32.key


def test_concurrent_processes_make_it_once(base: Path, empty_cache: Path) -> None:
    barrier, answers = FORK.Barrier(3), FORK.SimpleQueue()

    def ask() -> None:
        torch.set_num_threads(1)  # a forked OpenMP pool has no threads
        barrier.wait(PATIENCE)
        model = finish(base, "fp16")
        status = os.stat(model.checkpoint)
        answers.put((model.checkpoint, status.st_ino, status.st_mtime_ns, model.size_bytes))

    processes = [FORK.Process(target=ask, daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    # a file made again would be another one
    assert len({answers.get() for _ in processes}) == 1
    # the fp32 model that it is made from, and itself, each with its sidecar
    left = [path.suffix for path in (empty_cache / "models").iterdir() if path.suffix != ".lock"]
    assert sorted(left) == [".bin", ".bin", ".json", ".json"]


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(10_000))


def truncated(path: Path) -> None:
    path.write_bytes(fetch("segmentation-3.0").read_bytes()[:-100])


def of_another_kind(path: Path) -> None:
    changed_checkpoint(path, as_speaker_embedding)


@pytest.mark.parametrize("write", [random_bytes, truncated, of_another_kind])
def test_what_cannot_be_finished_is_refused_by_name_and_leaves_nothing(
    tmp_path: Path, base: Path, empty_cache: Path, write: Any
) -> None:
    path = tmp_path / "model.bin"
    write(path)
    with pytest.raises(ModelError, match=rf"^{path}: .*Give a "):
        finish(path, "fp16")
    assert [left for left in (empty_cache / "models").iterdir() if left.suffix != ".lock"] == []
