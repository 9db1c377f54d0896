"""Memory that runs out, a GPU that fails, and models that answer NaN: the trial fails with its reason."""

import resource
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import objectives.evaluation.evaluator
from explorer.search.driver import run_study
from explorer.search.observer import Observer
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from explorer.workers.in_process import InProcess
from objectives.backends import library_errors
from objectives.backends.library_errors import failing_the_trial, finite
from objectives.cache.assets import fetch
from objectives.cache.files import CACHE_VARIABLE
from objectives.cache.model_cleaning import stored_models
from objectives.cache.model_store import kept_model
from objectives.compression.compressor import FinishedModel
from objectives.compression.pyannet_head import forward_head
from objectives.compression.recovery import loss_of, train, trainable_copy
from objectives.errors import DeviceError, EvaluationError, ModelError
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding_loading import load_embedding
from objectives.models.segmentation import contract_of
from objectives.operating_point import OperatingPoint
from objectives.runtime.runtime import Runtime
from objectives.runtime.torch_runtime import TorchRuntime, open_runtime
from tests.support.analytic_evaluator import measurement, small_study
from tests.support.checkpoints import changed_checkpoint
from tests.support.forked_processes import start
from tests.support.networks import finish, random_windows, small_network

WINDOWS = np.zeros((2, 10 * SAMPLE_RATE), np.float32)
ILLEGAL = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"


# --- which errors are a trial's reason


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 1.00 GiB for an array"),
        OSError(12, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("can't start new thread"),
    ],
)
def test_memory_that_runs_out_is_a_reason(error: Exception) -> None:
    gave_back: list[bool] = []
    with (
        pytest.raises(EvaluationError, match=r"the point: memory ran out.*--jobs") as raised,
        failing_the_trial("the point", lambda: gave_back.append(True)),
    ):
        raise error
    assert raised.value.__cause__ is error
    assert gave_back == [True]


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError(ILLEGAL),
        RuntimeError(ILLEGAL),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
@pytest.mark.parametrize(("lost", "kind"), [(False, EvaluationError), (True, DeviceError)])
def test_a_gpu_that_fails_is_a_reason_and_one_that_is_lost_ends_the_process(
    error: Exception, lost: bool, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def synchronize() -> None:
        if lost:
            raise RuntimeError(ILLEGAL)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    with pytest.raises(kind, match="the point: the GPU failed") as raised, failing_the_trial("the point"):
        raise error
    assert type(raised.value) is kind
    assert "kernel errors might be" not in str(raised.value), "advice for programmers"


@pytest.mark.parametrize(
    "error",
    [
        TypeError("out of memory"),
        KeyError("CUDA error"),
        RuntimeError("a bug"),
        OSError(2, "No such file"),
        ValueError(),
    ],
)
def test_a_bug_stays_a_bug(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, failing_the_trial("the point"):
        raise error
    assert raised.value is error


# --- memory that really runs out: address space is limited to what is used already


def _short_of_memory(runtimes: dict[str, Runtime], windows: np.ndarray, pipe: Any) -> None:
    for name, runtime in runtimes.items():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
        told = "nothing was refused"
        try:
            with failing_the_trial(name):
                runtime.scores(windows)
        except EvaluationError as error:
            told = str(error)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        pipe.send((told, runtime.scores(windows[:1]).shape))


@pytest.fixture(scope="module")
def model() -> FinishedModel:
    return finish(fetch("segmentation-3.0"), "fp32")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells what a process has, and limits it")
def test_memory_that_really_runs_out_fails_once(model: FinishedModel) -> None:
    ours, theirs = Pipe()
    runtimes: dict[str, Runtime] = {"onnx": open_runtime(model, 1), "torch": TorchRuntime(model, torch.device("cpu"))}
    process = start(_short_of_memory, runtimes, np.zeros((64, 10 * SAMPLE_RATE), np.float32), theirs)
    for name in runtimes:
        assert ours.poll(60)
        told, shape = ours.recv()
        assert told.startswith(f"{name}: memory ran out (")
        assert "allocate memory" in told
        assert shape == (1, 589, 7), "and goes on"
    process.join(60)
    assert process.exitcode == 0


# --- NaN


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, but for the segmentation model."""
    fetched = fetch("segmentation-3.0").parent
    folder = tmp_path / "cache"
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / fetched.name).symlink_to(fetched)
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def spoil(value: float) -> Any:
    """Change one weight of the last layer."""

    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"]["classifier.bias"][1] = value

    return change


@pytest.mark.usefixtures("cache")
def test_scores_that_are_nan_are_refused_and_the_model_is_named(tmp_path: Path) -> None:
    path = changed_checkpoint(tmp_path / "nan.bin", spoil(float("nan")))
    model = FinishedModel("0123abcd", path, "fp32", 0, "")
    said = r"model 0123abcd \(fp32\): 8246 of 8246 values are NaN or infinite"
    for runtime in (open_runtime(model, 1), TorchRuntime(model, torch.device("cpu"))):
        with pytest.raises(EvaluationError, match=said):
            runtime.scores(WINDOWS)


def test_large_numbers_are_no_nan() -> None:
    values = np.full(10, 3e38, np.float32)
    assert finite(values, "these") is values
    for wrong in (np.nan, np.inf, -np.inf):
        with pytest.raises(EvaluationError, match="these: 1 of 10 values"):
            finite(np.where(np.arange(10) == 3, np.float32(wrong), values), "these")
    with pytest.raises(EvaluationError, match="2 of 2"):
        finite(np.array([np.inf, -np.inf], np.float32), "these")


def test_features_that_are_nan_are_no_silence() -> None:
    embedding = load_embedding("campplus")
    broken = replace(embedding, features=lambda samples: embedding.features(samples) * np.float32("nan"))
    with pytest.raises(EvaluationError, match="speaker embedding campplus"):
        broken.of(np.zeros(SAMPLE_RATE, np.float32))


@pytest.mark.usefixtures("cache")
def test_a_base_with_nan_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nan\.bin: classifier\.bias holds NaN"):
        finish(changed_checkpoint(tmp_path / "nan.bin", spoil(float("nan"))), "fp32")
    assert stored_models() == []


@pytest.mark.usefixtures("cache")
def test_what_16_bits_cannot_hold_is_a_reason_and_not_kept(tmp_path: Path) -> None:
    base = changed_checkpoint(tmp_path / "large.bin", spoil(1e6))
    wide = finish(base, "fp32")
    with pytest.raises(EvaluationError, match=r"does not fit into 16 bits: classifier\.bias"):
        finish(base, "fp16")
    assert [entry.key for entry in stored_models()] == [wide.key]


@pytest.mark.usefixtures("cache")
def test_a_training_that_diverges_is_a_reason_and_not_kept() -> None:
    def make(path: Path) -> dict[str, Any]:
        learner = trainable_copy(small_network())
        windows = random_windows()
        train(
            [parameter for parameter in learner.parameters() if parameter.requires_grad],
            lambda features: forward_head(learner, features),
            loss_of("powerset", windows, contract_of(learner)),
            windows,
            steps=10,
            batch=2,
            learning_rate=1e30,
            seed=0,
        )
        path.write_bytes(b"a diverged model")
        return {}

    with pytest.raises(EvaluationError, match=r"the training diverged: after 10 steps .* is nan.*learning rate"):
        kept_model({"diverges": True}, ".bin", make)
    assert stored_models() == []


# --- the whole evaluator, and a study of it


class Failing:
    """A runtime that fails at the boundary as a library would; without an error one that hears nobody, quickly."""

    batch = 64
    execution = "native"

    def __init__(self, contract: Contract, error: Exception | None, value: float = 0.0):
        self.contract, self._error, self._value = contract, error, value
        self.kernel = f"a stand-in that answers {error!r} and {value}"

    def scores(self, windows: np.ndarray) -> np.ndarray:
        if self._error is not None:
            raise self._error
        shape = (len(windows), self.contract.frames, len(self.contract.powerset))
        return finite(np.full(shape, self._value, np.float32), "the scores of model x (fp32)")


@pytest.fixture(scope="module")
def real(excerpts: Path) -> Iterator[Evaluator]:
    """Real models and recordings."""
    with build_evaluator(EvaluatorSettings(corpus=str(excerpts))) as made:
        yield made


@pytest.fixture
def evaluator(real: Evaluator, monkeypatch: pytest.MonkeyPatch) -> Evaluator:
    """With no runtime open, and time by hand."""
    monkeypatch.setattr(real.stopwatch, "measure", lambda point, model: measurement(point).timing)
    monkeypatch.setattr(real.stopwatch, "start", lambda: None)
    real._runtimes.clear()
    return real


def run(evaluator: Evaluator, url: str) -> list[tuple[str, str]]:
    """Three fixed points. State and reason of each trial."""
    run_study("study", small_study(trials=0), InProcess(evaluator, lambda *word: None), url, Observer())
    return told(url)


def told(url: str) -> list[tuple[str, str]]:
    trials = load_study("study", url).get_trials(deepcopy=False)
    return [(trial.state.name, trial.user_attrs.get(record.ERROR, "")) for trial in trials]


def failing_with(monkeypatch: pytest.MonkeyPatch, contract: Contract, error: Exception | None, **how: float) -> None:
    """Runtimes opened from now on raise it, the first one and no other."""
    errors = [error]
    monkeypatch.setattr(
        objectives.evaluation.evaluator,
        "open_runtime",
        lambda *_, **__: Failing(contract, errors.pop() if errors else None, **how),
    )


@pytest.fixture(scope="module")
def contract(model: FinishedModel) -> Contract:
    return open_runtime(model, 1).contract


def test_a_study_goes_on_after_memory_ran_out(
    evaluator: Evaluator, contract: Contract, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_with(monkeypatch, contract, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    (state, why), *others = run(evaluator, url)
    assert state == "FAIL"
    assert "memory ran out (CUDA out of memory. Tried" in why
    assert others
    assert {state for state, _ in others} == {"COMPLETE"}


def test_a_gpu_that_is_lost_ends_the_run_and_not_the_study(
    evaluator: Evaluator, contract: Contract, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing_with(patch, contract, torch.AcceleratorError(ILLEGAL))
        patch.setattr(library_errors, "_gpu_is_lost", lambda: True)
        with pytest.raises(DeviceError, match=r"illegal memory access.*run the same command again"):
            run(evaluator, url)
    states = [state for state, _ in told(url)]
    assert states.count("FAIL") == 1
    assert "RUNNING" not in states
    with monkeypatch.context() as patch:
        failing_with(patch, contract, None)
        evaluator._runtimes.clear()  # as in a new process
        states = [state for state, _ in run(evaluator, url)]
    assert states.count("FAIL") == 1
    assert states.count("COMPLETE") > 1


def test_a_bug_of_a_runtime_stops_the_study(
    evaluator: Evaluator, contract: Contract, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_with(monkeypatch, contract, TypeError("a bug"))
    with pytest.raises(TypeError, match="a bug"):
        run(evaluator, url)


def test_nan_is_told_with_the_recording(
    evaluator: Evaluator, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator._let_go()  # of runtimes that are open
    failing_with(monkeypatch, contract, None, value=float("nan"))
    uri = evaluator.recordings[0].uri
    with pytest.raises(EvaluationError, match=rf"^{uri}: the scores of model x \(fp32\): .* NaN"):
        evaluator.measure(OperatingPoint(1.0, 0.503))  # whose windows are not kept
