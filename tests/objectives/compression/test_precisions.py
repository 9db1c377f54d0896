"""The six precisions of one pruned model, made from a tiny budget: sizes, keys, stories, and files that run."""

import functools
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyannote.core import Segment

from objectives.cache.assets import fetch
from objectives.cache.files import CACHE_VARIABLE, content_key
from objectives.cache.model_store import StoredModel
from objectives.compression import compressor as compression
from objectives.compression import low_bit
from objectives.compression.compressor import Compressor, FinishedModel, load_network
from objectives.compression.precisions import PRECISION_MODES
from objectives.compression.pyannet_head import features_of, forward_head
from objectives.compression.recovery import Loss, held_back_loss, loss_of
from objectives.compression.settings import CompressionSettings, QuantizationOptions, RecoverySettings
from objectives.compression.training_data import CalibrationData, TrainingData
from objectives.compression.training_windows import TrainingWindows, calibration_features
from objectives.corpora.corpus import SAMPLE_RATE, Corpus
from objectives.corpora.sources import load_corpus
from objectives.errors import EvaluationError, ModelError
from objectives.models.segmentation import contract_of, load_segmentation
from objectives.operating_point import PRECISIONS, UNPRUNED, Precision, Pruning
from objectives.runtime.torch_runtime import TorchRuntime, open_runtime
from tests.objectives.compression.test_compressor import scores as stock_scores
from tests.support.checkpoints import changed_checkpoint, seconds_apart
from tests.support.corpora import rttm, write_audio
from tests.support.networks import log_probabilities

MIB = 2**20
TRAIN, CALIB, EVAL = ("trn00", "trn06", "trn09"), ("trn05",), ("dev00",)
TINY = CompressionSettings(RecoverySettings(steps=4, qat_steps=2, windows=8, batch=4), iterations=2)
LINEAR_40 = Pruning("linear", 0.4)
TABLE_2 = {"fp32": 5.55, "fp16": 2.78, "int8_ptq": 1.54, "int8_qat": 1.54, "int4_ptq": 0.89, "int4_qat": 0.89}  # MiB
LOW_BIT: tuple[Precision, ...] = ("int8_ptq", "int8_qat", "int4_ptq", "int4_qat")


@pytest.fixture(scope="module")
def base() -> Path:
    return fetch("segmentation-3.0")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_corpus(folder: Path, changed: str = "", **splits: tuple[str, ...]) -> Corpus:
    """The first 12 s of AMI excerpts, that of `changed` a little softer. In FLAC: float WAV holds the time of day."""
    folder.mkdir()
    known = {recording.uri: recording for recording in load_corpus("ami-excerpts").split("all")}
    for uri in (uri for uris in splits.values() for uri in uris):
        heard = known[uri].reference.crop(Segment(0, 12), mode="intersection")
        turns = [(turn.start, turn.duration, str(who)) for turn, _, who in heard.itertracks(yield_label=True)]
        write_audio(folder / f"{uri}.flac", known[uri].waveform()[: 12 * SAMPLE_RATE] * (0.9 if uri == changed else 1))
        (folder / f"{uri}.rttm").write_text(rttm(uri, turns))
    (folder / "splits.json").write_text(json.dumps(splits))
    return load_corpus(folder)


def compressor_of(base: Path, corpus: Corpus, settings: CompressionSettings = TINY) -> Compressor:
    return Compressor(base, settings, TrainingData(corpus), CalibrationData(corpus))


@dataclass(frozen=True)
class Made:
    """The six models, and what it takes to make them again."""

    compressor: Compressor
    corpus: Corpus
    cache: Path
    models: Mapping[Precision, FinishedModel]
    told: tuple[tuple[str, float], ...]


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Linear-40 in all precisions, made in a cache of its own, which stays while the module's tests run."""
    folder, told = tmp_path_factory.mktemp("compression"), []
    corpus = write_corpus(folder / "corpus", train=TRAIN, calib=CALIB, eval=EVAL)
    compressor = compressor_of(base, corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        models = {
            precision: compressor.finish(LINEAR_40, precision, lambda stage, share: told.append((stage, share)))
            for precision in PRECISIONS
        }
    return Made(compressor, corpus, folder / "cache", models, tuple(told))


@pytest.fixture
def in_its_cache(made: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setenv(CACHE_VARIABLE, str(made.cache))
    return made


def held_back(compressor: Compressor) -> tuple[TrainingWindows, Loss]:
    """The windows that decide, as the compressor draws them, and the loss over them."""
    network = load_segmentation(compressor.base)
    windows = compressor._windows(compressor.settings.quantization, lambda stage, share: None)
    return windows, loss_of(compressor.settings.recovery.method, windows, contract_of(network))


def test_every_precision_has_an_entry_and_says_what_it_needs_and_what_runs_it() -> None:
    assert tuple(PRECISION_MODES) == PRECISIONS
    assert tuple(name for name, mode in PRECISION_MODES.items() if mode.integer_bits) == LOW_BIT
    assert {name for name, mode in PRECISION_MODES.items() if mode.trained} == {"int8_qat", "int4_qat"}
    for name, mode in PRECISION_MODES.items():
        ways = tuple(mode.execution(engine) for engine in ("onnxruntime cpu", "torch cpu", "torch cuda"))
        whole = {"fp32": ("native", "native", "native"), "fp16": ("emulated", "emulated", "native")}
        assert ways == whole.get(name, ("native", "emulated", "emulated"))


def test_sizes_are_those_of_the_papers_table_2(made: Made) -> None:
    sizes = {precision: model.size_bytes / MIB for precision, model in made.models.items()}
    assert sizes == {precision: pytest.approx(size, rel=0.03) for precision, size in TABLE_2.items()}


def test_all_tell_how_they_were_pruned(made: Made) -> None:
    for precision, model in made.models.items():
        assert model.precision == precision
        assert model.pruning == LINEAR_40
        assert model.kept == {"hidden": 128, "linear": 82}  # 128 less a fifth, twice
        assert model.params == made.models["fp32"].params < 1_473_265
    assert len({model.key for model in made.models.values()}) == 6
    assert len({model.checkpoint for model in made.models.values()}) == 6


def test_a_second_call_makes_nothing(in_its_cache: Made) -> None:
    before = {path: path.stat().st_ino for path in (in_its_cache.cache / "models").iterdir()}
    told: list[str] = []
    for precision, model in in_its_cache.models.items():
        again = in_its_cache.compressor.finish(LINEAR_40, precision, lambda stage, share: told.append(stage))
        assert again == model
    assert told == []
    assert {path: path.stat().st_ino for path in (in_its_cache.cache / "models").iterdir()} == before


def test_each_stage_is_told_to_its_end(made: Made) -> None:
    stages: dict[str, list[float]] = {}
    for stage, share in made.told:
        stages.setdefault(stage, []).append(share)
    assert list(stages) == [
        "drawing training windows",
        "recovering Linear-40, 1 of 2",
        "recovering Linear-40, 2 of 2",
        "quantization-aware training, int8_qat",
        "quantization-aware training, int4_qat",
    ]
    assert all(shares == sorted(shares) and shares[-1] == 1.0 for shares in stages.values())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_stock_pyannote_loads_pruned_models(made: Made, excerpt: np.ndarray, precision: Precision) -> None:
    windows = seconds_apart(excerpt, 2)
    expected = load_network(made.models[precision])
    with torch.inference_mode():
        own = expected(torch.from_numpy(windows.copy())[:, None])
    assert torch.equal(stock_scores(made.models[precision].checkpoint, windows), own)
    assert expected.hparams["linear"]["hidden_size"] == 82


@pytest.mark.parametrize("precision", ["fp16", *LOW_BIT])
def test_sincnet_is_that_of_the_base_to_the_bit(base: Path, made: Made, precision: Precision) -> None:
    before, after = load_segmentation(base).state_dict(), load_network(made.models[precision]).state_dict()
    for name in (name for name in before if name.startswith("sincnet.")):
        expected = before[name]
        if precision == "fp16" and "filterbank" not in name and expected.is_floating_point():
            expected = expected.half().float()
        assert torch.equal(after[name], expected), name


@torch.inference_mode()
def test_low_bit_files_load_to_what_the_runtimes_run(in_its_cache: Made, excerpt: np.ndarray) -> None:
    windows = seconds_apart(excerpt, 2)
    for precision in ("int8_qat", "int4_ptq"):
        model = in_its_cache.models[precision]
        one, two = (low_bit.load(model.checkpoint) for _ in range(2))
        waveforms = torch.from_numpy(windows.copy())[:, None]
        answers = [log_probabilities(each, features_of(each.network, waveforms).contiguous()) for each in (one, two)]
        assert torch.equal(*answers)
        emulated = TorchRuntime(model, torch.device("cpu"))
        assert emulated.execution == "emulated"
        np.testing.assert_allclose(emulated.scores(windows), answers[0].numpy(), rtol=0, atol=1e-5)
        native = open_runtime(model, 1)
        assert native.execution == "native"
        assert (native.scores(windows).argmax(-1) == emulated.scores(windows).argmax(-1)).mean() > 0.9


@pytest.mark.parametrize("bits", [8, 4])
def test_quantization_aware_training_is_never_worse_than_none(in_its_cache: Made, bits: int) -> None:
    """Both files are read again and judged on the held-back windows, whatever their stories tell."""
    windows, loss = held_back(in_its_cache.compressor)
    losses = {}
    for kind in ("ptq", "qat"):
        model = in_its_cache.models[f"int{bits}_{kind}"]
        run = functools.partial(log_probabilities, low_bit.load(model.checkpoint))
        losses[kind] = held_back_loss(run, loss, windows)
    assert losses["qat"] <= losses["ptq"] * (1 + 1e-5)
    told = in_its_cache.models[f"int{bits}_qat"].story["quantized"]["trained"]
    assert told["before"] == pytest.approx(losses["ptq"], rel=1e-4)
    assert told["after"] == pytest.approx(losses["qat"], rel=1e-4)


def test_the_story_of_recovery_is_true(in_its_cache: Made) -> None:
    model = in_its_cache.models["fp32"]
    windows, loss = held_back(in_its_cache.compressor)
    network = load_network(model)
    after = held_back_loss(functools.partial(forward_head, network), loss, windows)
    told = model.story["recovered"]
    assert [one["kept"]["linear"] for one in told] == [102, 82]
    assert [one["steps"] for one in told] == [1, 3]
    assert told[-1]["after"] == pytest.approx(after, rel=1e-4)
    assert all(one["after"] <= one["before"] for one in told)


def test_ranges_come_from_calib_alone(in_its_cache: Made) -> None:
    network = load_network(in_its_cache.models["fp32"])
    features = calibration_features(network, CalibrationData(in_its_cache.corpus))
    expected = low_bit.observe_ranges(network, features)
    for precision in LOW_BIT:
        assert low_bit.load(in_its_cache.models[precision].checkpoint).ranges == expected


def keys_of(compressor: Compressor, monkeypatch: pytest.MonkeyPatch) -> dict[Precision, str]:
    """Keys of the six models, without making one."""

    def named(ingredients: Mapping[str, Any], suffix: str, *_: Any) -> StoredModel:
        story = {"params": 1, "kept": {}}
        return StoredModel(content_key(**ingredients), Path(suffix), 1, "", "", 0.0, ingredients, story)

    with monkeypatch.context() as patch:
        patch.setattr(compression, "kept_model", named)
        return {precision: compressor.finish(LINEAR_40, precision).key for precision in PRECISIONS}


def changed_keys(one: Compressor, other: Compressor, patch: pytest.MonkeyPatch) -> set[str]:
    before, after = keys_of(one, patch), keys_of(other, patch)
    return {precision for precision in PRECISIONS if before[precision] != after[precision]}


def test_keys_hold_all_that_makes_a_model_and_nothing_that_does_not(
    base: Path, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys_of(made.compressor, monkeypatch) == {name: model.key for name, model in made.models.items()}
    corpora = {
        uri: write_corpus(tmp_path / uri, uri, train=TRAIN, calib=CALIB, eval=EVAL)
        for uri in ("dev00", "trn05", "trn06")
    }
    every, trained, low = set(PRECISIONS), {"int8_qat", "int4_qat"}, set(LOW_BIT)

    def with_settings(**changes: Any) -> set[str]:
        return changed_keys(made.compressor, replace(made.compressor, settings=replace(TINY, **changes)), monkeypatch)

    def with_corpus(uri: str) -> set[str]:
        return changed_keys(made.compressor, compressor_of(base, corpora[uri]), monkeypatch)

    assert with_corpus("dev00") == set()  # evaluated: no model knows it
    assert with_corpus("trn05") == low  # calibrates
    assert with_corpus("trn06") == every  # trains
    assert with_settings(seed=1) == every
    assert with_settings(iterations=3) == every
    assert with_settings(recovery=replace(TINY.recovery, steps=5)) == every
    assert with_settings(recovery=replace(TINY.recovery, qat_steps=3)) == trained
    assert with_settings(recovery=replace(TINY.recovery, method="bce")) == every
    assert with_settings(quantization=QuantizationOptions(clipping="mse")) == low
    assert with_settings(quantization=QuantizationOptions(sincnet="int8")) == low


def test_unpruned_models_depend_on_no_more_than_they_are_made_from(
    base: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LINEAR_40", UNPRUNED)
    other = RecoverySettings("bce", 9, 9, 9, 9, 0.1)
    settings = replace(TINY, recovery=other, iterations=7, seed=3)
    changed = changed_keys(made.compressor, replace(made.compressor, settings=settings), monkeypatch)
    assert changed == {"int8_qat", "int4_qat"}
    # what needs no recordings has the same key without any
    alone = Compressor(base)
    assert alone.finish(UNPRUNED, "fp32").key == keys_of(made.compressor, monkeypatch)["fp32"]


def test_what_a_corpus_lacks_is_said(base: Path, made: Made, empty_cache: Path) -> None:
    untrained = Compressor(base, TINY, calibration=CalibrationData(made.corpus))
    with pytest.raises(EvaluationError, match=r"no split train: name some in splits\.json, or choose"):
        untrained.finish(LINEAR_40, "fp32")
    with pytest.raises(EvaluationError, match="no split train"):
        untrained.finish(UNPRUNED, "int8_qat")
    uncalibrated = Compressor(base, TINY, TrainingData(made.corpus))
    with pytest.raises(EvaluationError, match=r"no split calib: name some in splits\.json, or choose"):
        uncalibrated.finish(UNPRUNED, "int4_ptq")
    assert untrained.finish(UNPRUNED, "int8_ptq").bits == 8


def test_options_beyond_the_paper_reach_the_file(made: Made, empty_cache: Path) -> None:
    options = QuantizationOptions(group_size=32, clipping="mse", sincnet="int8")
    brief = replace(TINY.recovery, qat_steps=1, windows=4)
    compressor = replace(made.compressor, settings=replace(TINY, quantization=options, recovery=brief))
    for precision in ("int4_ptq", "int4_qat"):
        model = low_bit.load(compressor.finish(UNPRUNED, precision).checkpoint)
        assert model.weights["lstm.0.state"].group_size == 32
        assert model.weights["classifier.weight"].group_size == 0
        assert model.weights["sincnet.conv1d.1.weight"].bits == 8


def test_an_lstm_that_cannot_be_stored_in_few_bits_is_refused(tmp_path: Path, made: Made, empty_cache: Path) -> None:
    def split_into_layers(checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"]["lstm"]["monolithic"] = False
        state = checkpoint["state_dict"]
        for name in [name for name in state if name.startswith("lstm.")]:
            kind, layer = re.fullmatch(r"lstm\.(\w+_l)(\d)(?:_reverse)?", name).groups()
            state[f"lstm.{layer}.{kind}0{'_reverse' * name.endswith('_reverse')}"] = state.pop(name)

    base = changed_checkpoint(tmp_path / "split.bin", split_into_layers)
    compressor = Compressor(base, TINY, calibration=CalibrationData(made.corpus))
    assert compressor.finish(UNPRUNED, "fp32").params == 1_473_265
    with pytest.raises(ModelError, match="cannot be stored in few bits"):
        compressor.finish(UNPRUNED, "int8_ptq")
