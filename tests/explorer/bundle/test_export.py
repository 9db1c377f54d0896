"""`explorer export`: real bundles, loaded by whoever they are for; and what is not exported."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import optuna
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import explorer.bundle.export
import explorer.bundle.parity
from explorer.bundle.bundle import CARD, CHECKPOINT, EMBEDDING, FILES, MODEL, POINT, PROJECTION, WEIGHTS, read_bundle
from explorer.bundle.export import export_trial
from explorer.bundle.parity import Parity
from explorer.bundle.stream import Listener
from explorer.storage.study_record import IDENTITY, stored_definition
from objectives.backends.pyannote import Model
from objectives.compression.compressor import FinishedModel, load_network
from objectives.compression.low_bit import load
from objectives.errors import BundleError, StudyError
from objectives.measurement import ErrorCounts, Measurement
from objectives.operating_point import BASELINE, OperatingPoint
from objectives.runtime.segmentation_onnx import portable_onnx, write_onnx
from tests.support import sherpa_process
from tests.support.checkpoints import seconds_apart
from tests.support.export_study import LOW_BIT, THRESHOLD, Change, Exports, real_definition, real_study, real_trial
from tests.support.recommendation_study import empty_study
from tests.support.sherpa_metadata import checked_metadata

POINTS = pytest.mark.parametrize("point", [BASELINE, LOW_BIT], ids=lambda point: point.precision)


@pytest.fixture(scope="module")
def waveform(exports: Exports) -> np.ndarray:
    """Real audio: 12 s of an AMI excerpt."""
    return exports.evaluator.recordings[0].waveform()


@pytest.fixture(scope="module")
def windows(waveform: np.ndarray) -> np.ndarray:
    return seconds_apart(waveform, 3).copy()


def classes(model: Path, windows: np.ndarray) -> np.ndarray:
    """(windows, frames): the powerset argmax, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": windows[:, None]})[0].argmax(axis=-1)


# --- what a bundle holds


def test_an_online_point_is_exported_with_its_number_of_speakers(
    excerpts: Path, waveform: np.ndarray, tmp_path: Path
) -> None:
    """Without thresholds, which are not written then; another number can be given to whoever runs it."""
    point = OperatingPoint(2.0, 0.5, mode="online")
    definition = real_definition(excerpts, models={"speakers": 2}, space={"tracking": "online"})
    study, evaluator = real_study(definition)
    bundle = export_trial(study, real_trial(study, evaluator, point), tmp_path / "online")
    manifest = json.loads((bundle.folder / POINT).read_text())
    assert manifest["operating_point"]["online"] == {
        "tau_active": None, "rho_update": None, "delta_new": None, "min_duration_off": 0.0
    }  # fmt: skip
    assert manifest["clustering"]["speakers"] == [2, 2]
    assert (bundle.point, bundle.clustering.speakers) == (point, (2, 2))
    assert "the tracking of speakers\n(2 speakers, min_duration_off 0)" in (bundle.folder / CARD).read_text()
    expected = evaluator.accuracy.labels(
        evaluator.recordings[0], point, evaluator.windows(evaluator.recordings[0], point)
    )
    listener = Listener(bundle, lambda turn: None)
    listener.hear(waveform)
    account = listener.end()
    assert [(turn.start, turn.end, turn.name) for turn in account.turns] == [
        (turn.start, turn.end, who) for turn, _, who in expected.itertracks(yield_label=True)
    ]
    alone = Listener(bundle, lambda turn: None, speakers=(1, 1))
    alone.hear(waveform)
    assert alone.end().speakers == 1


@POINTS
def test_a_bundle_is_whole_and_can_be_handed_on(exports: Exports, point: OperatingPoint) -> None:
    folder, bundle = exports.folders[point], exports.bundle(point)
    named = {MODEL, WEIGHTS, EMBEDDING, PROJECTION, CARD} | ({CHECKPOINT} if point == BASELINE else set())
    assert {path.name for path in folder.iterdir()} == named | {POINT}
    assert set(bundle.manifest.files) == named
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755
    assert bundle.point == point
    assert hidden_beside(folder) == []


@POINTS
def test_what_it_says_is_what_the_trial_measured(exports: Exports, point: OperatingPoint) -> None:
    told = json.loads((exports.folders[point] / POINT).read_text())
    trial = exports.study.trials[exports.trials[point]]
    measured, parity, provenance = told["measured"], told["parity"], told["provenance"]
    assert [measured["der"], measured["size_mib"], measured["rtf"]] == trial.values
    assert told["clustering"]["threshold"] == exports.bundle(point).clustering.threshold == THRESHOLD
    assert parity["agreement"] == 1.0
    assert parity["der_bundle"] == parity["der_trial"] == pytest.approx(trial.values[0])
    assert (parity["recordings"], parity["live_seconds"]) == (2, 12.0)
    assert parity["windows"] == (24 if point == BASELINE else 12)
    assert (provenance["study"], provenance["trial"]) == ("study", trial.number)
    assert told["files"][CHECKPOINT if point == BASELINE else WEIGHTS]["bytes"] == round(trial.values[1] * 2**20)
    assert set(told["licences"]) >= set(told["files"]) - {CARD}
    assert {"explorer", "torch", "onnxruntime", "pyannote.audio", "python"} <= set(told["versions"])


@POINTS
def test_the_card_says_it_in_words(exports: Exports, point: OperatingPoint) -> None:
    card, told = (exports.folders[point] / CARD).read_text(), exports.bundle(point).manifest
    assert f"C = {point.chunk_length:g} s, R = {point.right_context:g} s" in card
    for name in told.files.keys() - {CARD}:
        assert told.files[name].sha256 in card
        assert f"`{name}`" in card
    assert f"--point {exports.folders[point].name}" in card
    assert "C and R do not carry over" in card
    assert "ORT_DISABLE_TELEMETRY=1" in card
    assert ("Model.from_pretrained" in card) == (CHECKPOINT in told.files)
    # code begins on a line of its own
    assert card.count("```") == card.count("\n```")
    assert f"DER | {told.measured['der']:.2f} %" in card


# --- whom it is for


@POINTS
def test_onnx_runtime_runs_it_and_so_does_stock_pyannote(
    exports: Exports, windows: np.ndarray, point: OperatingPoint
) -> None:
    folder = exports.folders[point]
    heard = classes(folder / MODEL, windows)
    assert heard.shape == (3, 589)
    assert len(np.unique(heard)) > 1, "somebody speaks, and not always"
    np.testing.assert_array_equal(heard, exports.evaluator.runtime(point).scores(windows).argmax(axis=-1))
    if CHECKPOINT in exports.bundle(point).manifest.files:
        stock = Model.from_pretrained(folder / CHECKPOINT).eval()
        with torch.inference_mode():
            theirs = stock(torch.from_numpy(windows)[:, None]).argmax(dim=-1).numpy()
        np.testing.assert_array_equal(theirs, heard)


def test_sherpa_onnx_hears_the_same_speech(exports: Exports, waveform: np.ndarray, tmp_path: Path) -> None:
    folder = exports.folders[LOW_BIT]
    theirs = sherpa_process.diarize(folder / MODEL, folder / EMBEDDING, waveform, tmp_path)
    ours = Listener(exports.bundle(LOW_BIT), lambda turn: None)
    ours.hear(waveform)
    moments = np.arange(0.05, 12.0, 0.1)
    speech = [
        np.array([any(turn.start <= now < turn.end for turn in turns) for now in moments])
        for turns in (ours.end().turns, theirs.get_timeline())
    ]
    # its windows look both ways, and it closes no pauses
    assert np.mean(speech[0] == speech[1]) > 0.8
    assert speech[1].mean() > 0.3


@POINTS
def test_its_files_have_the_metadata_that_sherpa_onnx_needs(exports: Exports, point: OperatingPoint) -> None:
    checked_metadata(exports.folders[point] / MODEL)
    checked_metadata(exports.folders[point] / EMBEDDING, "embedding")


def test_the_weights_without_a_pickle_are_the_checkpoints(exports: Exports) -> None:
    plain = load_file(exports.folders[BASELINE] / WEIGHTS)
    stock = load_network(exports.evaluator.model(BASELINE)).state_dict()
    assert plain.keys() == stock.keys()
    assert all(torch.equal(plain[name], stock[name]) for name in stock)


def test_low_bit_weights_are_the_trials_file(exports: Exports) -> None:
    path, model = exports.folders[LOW_BIT] / WEIGHTS, exports.evaluator.model(LOW_BIT)
    assert path.read_bytes() == model.checkpoint.read_bytes()
    assert load(path).bits == 8


# --- what is refused


@pytest.fixture
def quick(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> Exports:
    """The evaluator that has heard the recordings already, and less of them for the real loop."""
    monkeypatch.setattr(explorer.bundle.export, "build_evaluator", lambda settings: exports.evaluator)
    monkeypatch.setattr(explorer.bundle.parity, "LIVE_SECONDS", 3.0)
    return exports


def hidden_beside(folder: Path) -> list[str]:
    return [path.name for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}.")]


def refused(study: optuna.Study, number: int, folder: Path, force: bool = False) -> str:
    """What an export says that fails and leaves nothing."""
    with pytest.raises((BundleError, StudyError)) as error:
        export_trial(study, number, folder, force)
    assert not folder.exists() or force
    assert hidden_beside(folder) == []
    return str(error.value)


def test_a_model_of_another_precision_is_found_out(
    quick: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = quick.evaluator.model(OperatingPoint(precision="int4_ptq"))
    monkeypatch.setattr(explorer.bundle.export, "portable_onnx", lambda model, path: portable_onnx(coarse, path))
    said = refused(quick.study, quick.trials[BASELINE], tmp_path / "point")
    assert "nothing is exported" in said
    assert f"model.onnx is of the model {coarse.key[:12]}" in said
    share = float(said.split("model.onnx gives ")[1].split(" %")[0])
    assert 50 < share < 99.9
    assert "stock pyannote.audio gives" in said


def test_a_model_that_is_only_named_as_it_should_be_is_found_out(
    quick: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = quick.evaluator.model(OperatingPoint(precision="int4_ptq"))

    def disguised(model: FinishedModel, path: Path) -> None:
        write_onnx(replace(coarse, key=model.key), path)

    monkeypatch.setattr(explorer.bundle.export, "portable_onnx", disguised)
    said = refused(quick.study, quick.trials[LOW_BIT], tmp_path / "point")
    assert "is of the model" not in said
    assert "model.onnx gives" in said


@pytest.fixture
def unmeasured(quick: Exports, monkeypatch: pytest.MonkeyPatch) -> Exports:
    """Where only the folder matters: what lies in it is not measured again."""
    parity = Parity(**quick.bundle(LOW_BIT).manifest.parity)
    monkeypatch.setattr(explorer.bundle.export, "measure_parity", lambda *given: parity)
    return quick


@pytest.fixture
def other_trial(quick: Exports) -> Callable[[Change], tuple[optuna.Study, int]]:
    """A trial of which something else was told."""

    def tell(change: Change) -> tuple[optuna.Study, int]:
        study = empty_study(stored_definition(quick.study))
        study.set_user_attr(IDENTITY, quick.study.user_attrs[IDENTITY])
        return study, real_trial(study, quick.evaluator, LOW_BIT, change)

    return tell


def worse(told: Measurement) -> Measurement:
    counts = {uri: ErrorCounts(confusion=0.99 * one.total, total=one.total) for uri, one in told.counts.items()}
    return replace(told, counts=counts)


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        (lambda told: replace(told, size_bytes=told.size_bytes + 1), "is not the model that was measured"),
        (lambda told: replace(told, model_key="0" * 32), "ran the model 000000000000, and what is made of the same"),
        (worse, "%, and the trial's was 99.00 %"),
    ],
    ids=["size", "key", "der"],
)
def test_what_the_trial_did_not_measure_is_not_exported(
    quick: Exports,
    other_trial: Callable[[Change], tuple[optuna.Study, int]],
    tmp_path: Path,
    change: Change,
    needle: str,
) -> None:
    study, number = other_trial(change)
    assert needle in refused(study, number, tmp_path / "point")


def test_a_loop_that_says_something_else_is_found_out(
    quick: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = Listener.hear
    monkeypatch.setattr(Listener, "hear", lambda self, samples: hear(self, samples[::-1]))
    said = refused(quick.study, quick.trials[LOW_BIT], tmp_path / "point")
    assert "do not give the same turns on 48000 samples" in said


@pytest.mark.parametrize("told_by", ["trial", "study"])
def test_other_recordings_than_the_trials_are_not_compared(quick: Exports, tmp_path: Path, told_by: str) -> None:
    """Trials of an earlier version do not tell: then the study does."""
    study = empty_study(stored_definition(quick.study))
    other = {"evaluator.corpus": "another one"} if told_by == "study" else {}
    study.set_user_attr(IDENTITY, json.dumps(json.loads(quick.study.user_attrs[IDENTITY]) | other))
    data = {"corpus": "another one"} if told_by == "trial" else {}
    number = real_trial(study, quick.evaluator, LOW_BIT, lambda told: replace(told, data=data))
    said = refused(study, number, tmp_path / "point")
    assert f"trial {number} of 'study' cannot be compared: something has changed" in said
    assert "corpus: another one → " in said


def test_a_trial_that_is_not_there_or_not_complete(quick: Exports, tmp_path: Path) -> None:
    study = empty_study(stored_definition(quick.study))
    assert "no trial 7: `explorer front` names them" in refused(study, 7, tmp_path / "point")
    study.enqueue_trial({})
    assert "trial 0 of 'study' is waiting" in refused(study, 0, tmp_path / "point")


def test_a_study_of_another_program(quick: Exports, tmp_path: Path) -> None:
    study = optuna.create_study(study_name="theirs")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert "'theirs' was not made by `explorer run`" in refused(study, 0, tmp_path / "point")


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("explorer.bundle.export.portable_onnx", OSError(errno.ENOSPC, "No space left on device")),
        ("shutil.copyfile", OSError(errno.EIO, "I/O error")),
        ("explorer.bundle.export.save_file", SafetensorError("I/O error: No space left on device")),
    ],
)
def test_a_disk_that_is_full_leaves_nothing(
    quick: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def fail(*given: object) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    said = refused(quick.study, quick.trials[BASELINE], tmp_path / "point")
    assert f"{tmp_path / 'point'}: cannot be written" in said
    assert (getattr(error, "strerror", None) or str(error)) in said


# --- what lies there already


def taken(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("what was there")
    return folder


def test_nothing_is_overwritten_without_force(quick: Exports, tmp_path: Path) -> None:
    folder = taken(tmp_path / "point", *FILES)
    with pytest.raises(BundleError, match="exists: give another DIR, or --force to replace a bundle"):
        export_trial(quick.study, 0, folder)
    assert {path.read_text() for path in folder.iterdir()} == {"what was there"}


@pytest.mark.parametrize(
    ("names", "needle"),
    [
        ((MODEL,), "is not a bundle"),
        ((POINT, "thesis.tex"), "holds thesis.tex beside a bundle"),
        (None, "is not a bundle"),
    ],
    ids=["no bundle", "more than one", "file"],
)
def test_force_replaces_nothing_but_bundles(
    quick: Exports, tmp_path: Path, names: tuple[str, ...] | None, needle: str
) -> None:
    path = tmp_path / "point"
    _ = path.write_text("what was there") if names is None else taken(path, *names)
    said = refused(quick.study, 0, path, force=True)
    assert needle in said
    kept = [path] if names is None else [*path.iterdir()]
    assert {each.read_text() for each in kept} == {"what was there"}


def test_force_replaces_a_bundle_through_a_link_too(unmeasured: Exports, tmp_path: Path) -> None:
    folder = taken(tmp_path / "point", POINT, MODEL, CHECKPOINT)
    link = tmp_path / "best"
    link.symlink_to(folder)
    export_trial(unmeasured.study, unmeasured.trials[LOW_BIT], link, force=True)
    assert link.is_symlink()
    assert read_bundle(folder).point == LOW_BIT
    assert not (folder / CHECKPOINT).exists(), "of the bundle before"
    assert hidden_beside(folder) == []


def test_a_failed_export_leaves_the_bundle_that_was_there(
    quick: Exports, other_trial: Callable[[Change], tuple[optuna.Study, int]], tmp_path: Path
) -> None:
    folder = taken(tmp_path / "point", POINT)
    study, number = other_trial(worse)
    refused(study, number, folder, force=True)
    assert (folder / POINT).read_text() == "what was there"


def test_a_bundle_that_appeared_meanwhile_stays(
    unmeasured: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = tmp_path / "point", explorer.bundle.export.card

    def quicker(*given: Any) -> str:
        taken(folder, POINT)
        return write(*given)

    monkeypatch.setattr(explorer.bundle.export, "card", quicker)
    with pytest.raises(BundleError, match="cannot be written"):
        export_trial(unmeasured.study, unmeasured.trials[LOW_BIT], folder)
    assert (folder / POINT).read_text() == "what was there"
    assert hidden_beside(folder) == []


# --- offline


@pytest.fixture(scope="module")
def offline(excerpts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the released pipeline's mode."""
    point = OperatingPoint(mode="offline")
    study, evaluator = real_study(real_definition(excerpts, space={"mode": "offline"}, fixed={}))
    folder = tmp_path_factory.mktemp("offline") / "point"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer.bundle.export, "build_evaluator", lambda settings: evaluator)
        export_trial(study, real_trial(study, evaluator, point), folder)
    return folder


def test_an_offline_point_is_exported_and_not_streamed(offline: Path) -> None:
    bundle = read_bundle(offline)
    assert bundle.manifest.operating_point.chunk_length is None
    assert (bundle.manifest.parity["agreement"], bundle.manifest.parity["live_seconds"]) == (1.0, None)
    assert bundle.manifest.parity["der_bundle"] == bundle.manifest.parity["der_trial"]
    assert "An offline point has no C and R" in (offline / CARD).read_text()
    with pytest.raises(BundleError, match="offline"):
        Listener(bundle, lambda turn: None)
