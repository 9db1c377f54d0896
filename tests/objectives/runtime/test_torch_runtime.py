import numpy as np
import pytest
import torch

from objectives.cache.assets import fetch
from objectives.compression.compressor import Compressor, FinishedModel
from objectives.compression.training_data import CalibrationData
from objectives.corpora.sources import load_corpus
from objectives.errors import ModelError
from objectives.evaluation.evaluator import build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import UNPRUNED
from objectives.runtime import low_bit_onnx, segmentation_onnx
from objectives.runtime.runtime import OnnxRuntime, local_activity
from objectives.runtime.segmentation_onnx import FORM
from objectives.runtime.torch_runtime import TorchRuntime, open_runtime
from tests.support.checkpoints import seconds_apart
from tests.support.kernel_agreement import agreement, assert_same_but_at_ties, unrest
from tests.support.networks import finish

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def windows(excerpt: np.ndarray) -> np.ndarray:
    """(8, samples) of real audio, in which local speakers come, go and overlap."""
    return seconds_apart(excerpt, 8)


@pytest.fixture(scope="module")
def in_torch() -> TorchRuntime:
    return TorchRuntime(finish(fetch("segmentation-3.0"), "fp32"), CPU)


def test_onnx_runtime_and_torch_agree_on_every_frame_but_at_ties(
    runtime: OnnxRuntime, in_torch: TorchRuntime, windows: np.ndarray
) -> None:
    onnx, torch_scores = runtime.scores(windows), in_torch.scores(windows)
    assert onnx.shape == torch_scores.shape == (8, 589, 7)
    assert onnx.dtype == torch_scores.dtype == np.float32
    assert len(np.unique(onnx.argmax(-1))) >= 4  # agreement on silence alone would say little
    assert_same_but_at_ties(onnx, torch_scores, within=1e-3)
    assert in_torch.contract == runtime.contract


def test_scores_are_log_probabilities(runtime: OnnxRuntime, windows: np.ndarray) -> None:
    np.testing.assert_allclose(np.exp(runtime.scores(windows)).sum(axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_window_means_the_same_alone_and_in_a_batch(
    runtime: OnnxRuntime, in_torch: TorchRuntime, windows: np.ndarray, kind: str
) -> None:
    model = runtime if kind == "onnx" else in_torch
    batched = model.scores(windows)
    alone = np.concatenate([model.scores(window[None]) for window in windows])
    assert_same_but_at_ties(batched, alone, within=1e-4)


def test_local_activity_is_the_powerset_class_of_the_highest_score(runtime: OnnxRuntime, windows: np.ndarray) -> None:
    activity = local_activity(runtime, windows)
    assert activity.shape == (8, 589, 3)
    assert activity.dtype == bool
    pairs = {1: (0,), 2: (1,), 3: (2,), 4: (0, 1), 5: (0, 2), 6: (1, 2), 0: ()}
    classes = runtime.scores(windows).argmax(-1)
    for window, frame in ((0, 0), (3, 100), (5, 300), (7, 588)):
        assert tuple(np.flatnonzero(activity[window, frame])) == pairs[classes[window, frame]]
    assert activity.sum(axis=-1).max() == 2


def test_a_cpu_computes_no_fp16_and_both_runtimes_say_so(in_torch: TorchRuntime, windows: np.ndarray) -> None:
    fp16 = finish(fetch("segmentation-3.0"), "fp16")
    onnx, emulated = open_runtime(fp16, 2), TorchRuntime(fp16, CPU)
    assert (onnx.execution, emulated.execution, in_torch.execution) == ("emulated", "emulated", "native")
    assert_same_but_at_ties(onnx.scores(windows[:2]), emulated.scores(windows[:2]), within=1e-3)


def test_a_cpu_gets_onnx_runtime(runtime: OnnxRuntime) -> None:
    opened = open_runtime(finish(fetch("segmentation-3.0"), "fp32"), threads=1)
    assert isinstance(opened, OnnxRuntime)
    assert opened.execution == runtime.execution == "native"


@pytest.fixture(scope="module")
def int8() -> FinishedModel:
    calibration = CalibrationData(load_corpus("ami-excerpts"))
    return Compressor(fetch("segmentation-3.0"), calibration=calibration).finish(UNPRUNED, "int8_ptq")


def test_a_cpu_has_integer_kernels_and_torch_emulates_them(int8: FinishedModel, windows: np.ndarray) -> None:
    native, emulated = open_runtime(int8, threads=1), TorchRuntime(int8, CPU)
    assert (native.execution, emulated.execution) == ("native", "emulated")
    assert native.contract == emulated.contract
    one, other = native.scores(windows), emulated.scores(windows)
    assert one.shape == other.shape == (8, 589, 7)
    assert one.dtype == other.dtype == np.float32
    np.testing.assert_allclose(np.exp(one).sum(axis=-1), 1.0, atol=1e-5)
    # eight windows full of overlap; how near the two are, and what keeps them apart, is tested in test_low_bit_onnx.py
    assert 1 - agreement(one, other) <= 4 * unrest(native.scores, windows)


def test_integer_scores_are_the_same_bits_in_any_batch_and_on_any_threads(
    int8: FinishedModel, windows: np.ndarray
) -> None:
    native = open_runtime(int8, 1)
    together = native.scores(windows)
    assert np.array_equal(np.concatenate([native.scores(window[None]) for window in windows]), together)
    assert np.array_equal(open_runtime(int8, 2).scores(windows), together)


def test_a_cache_that_moves_to_another_processor_gets_that_ones_kernels(
    int8: FinishedModel, windows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = low_bit_onnx.signed_products_are_exact()
    open_runtime(int8, 1)
    folder = int8.checkpoint.parent
    assert (folder / f"{int8.key}.{'signed' if here else 'unsigned'}.v{FORM}.onnx").exists()
    for module in (low_bit_onnx, segmentation_onnx):
        monkeypatch.setattr(module, "signed_products_are_exact", lambda: not here)
    other = open_runtime(int8, 1)
    assert (folder / f"{int8.key}.{'unsigned' if here else 'signed'}.v{FORM}.onnx").exists()
    assert other.scores(windows[:1]).shape == (1, 589, 7)


def test_torch_gives_a_window_the_same_scores_however_many_come_with_it(
    runtime: OnnxRuntime, windows: np.ndarray
) -> None:
    model = finish(fetch("segmentation-3.0"), "fp32")
    threes = TorchRuntime(model, CPU, fixed_batch=3)
    assert (threes.batch, runtime.batch) == (3, 32)
    together = threes.scores(windows)
    assert together.shape == runtime.scores(windows).shape
    for first, last in ((0, 1), (2, 4), (7, 8)):
        np.testing.assert_allclose(threes.scores(windows[first:last]), together[first:last], atol=1e-6)
    assert_same_but_at_ties(together, runtime.scores(windows), within=1e-3)


def test_a_gpu_that_is_not_there_is_missed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"'cuda'.*use cpu"):
        build_evaluator(EvaluatorSettings(device="cuda"))
    with pytest.raises(ModelError, match=r"'cuda'.*use cpu"):
        open_runtime(finish(fetch("segmentation-3.0"), "fp32"), threads=1, device="cuda")
