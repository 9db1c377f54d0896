"""`explorer verify` on real recordings and models: what agrees, what was tampered with, and a damaged cache."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner

import objectives.evaluation.evaluator
from explorer.cli import app
from explorer.diagnostics.agreement import MOST_DER
from explorer.diagnostics.verification import Verification, verify
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from objectives.cache.assets import assets_dir
from objectives.cache.files import CACHE_VARIABLE, cache_dir
from objectives.errors import StudyError
from objectives.evaluation.evaluator import Evaluator
from objectives.machine import versions
from objectives.measurement import Measurement, Stop
from objectives.models.embedding_loading import load_embedding
from objectives.operating_point import BASELINE, OperatingPoint
from studies.search_space import params_of, suggest
from tests.support.analytic_evaluator import measurement, stopped
from tests.support.export_study import Change, real_definition, real_measurement, real_study, tell, unchanged

FP16 = OperatingPoint(2.0, 0.5, precision="fp16")  # emulated


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of these tests' own, with the assets: they damage it."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "assets").symlink_to(assets_dir(), target_is_directory=True)
    (folder / "models").mkdir()
    shutil.copy(load_embedding("campplus").network, folder / "models")  # seconds to make
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="module")
def evaluator_and_study(cache: Path, excerpts: Path) -> Iterator[tuple[optuna.Study, Evaluator]]:
    """The embedding's graph, which takes seconds, is not made anew each time."""
    study, evaluator = real_study(real_definition(excerpts), f"sqlite:///{cache}/studies.db")
    embedding = evaluator.accuracy.embedding
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objectives.evaluation.evaluator, "load_embedding", lambda *given, **named: embedding)
        yield study, evaluator


def der_moved(points: float) -> Change:
    """As if a study had been told so many points more, all of them confusion in one recording."""

    def change(told: Measurement) -> Measurement:
        (uri, counts), *_ = told.counts.items()
        more = replace(counts, confusion=counts.confusion + points / 100 * told.pooled.total)
        return replace(told, counts={**told.counts, uri: more})

    return change


def elsewhere(points: float) -> Change:
    """The same, on another processor."""
    return lambda told: replace(der_moved(points)(told), machine=dict(told.machine) | {"processor": "an abacus"})


CHANGES: dict[str, tuple[OperatingPoint, Change]] = {
    "true": (BASELINE, unchanged),
    "emulated": (FP16, unchanged),
    "der": (BASELINE, der_moved(1e-9)),
    "size": (BASELINE, lambda told: replace(told, size_bytes=told.size_bytes - 1)),
    "sha256": (BASELINE, lambda told: replace(told, model_sha256="0" * 64)),
    "key": (BASELINE, lambda told: replace(told, model_key="0" * 32)),
    "near": (BASELINE, elsewhere(MOST_DER - 0.1)),
    "far": (BASELINE, elsewhere(MOST_DER + 0.1)),
    "old": (BASELINE, lambda told: replace(told, model_sha256="", data={}, versions={})),
}


@pytest.fixture(scope="module")
def numbers(evaluator_and_study: tuple[optuna.Study, Evaluator]) -> dict[str, int]:
    """Trials by what was done to them."""
    study, evaluator = evaluator_and_study
    true = {point: real_measurement(evaluator, point) for point in (BASELINE, FP16)}
    told = {name: tell(study, change(true[point])) for name, (point, change) in CHANGES.items()}
    told["raced"] = stopped_trial(study, true[BASELINE], wrong=0.0)
    told["raced, tampered"] = stopped_trial(study, true[BASELINE], wrong=0.25)
    twin = study.trials[told["true"]]
    told["reused"] = copy_of(study, twin, twin.values)
    told["reused, tampered"] = copy_of(study, twin, [twin.values[0] - 1.0, *twin.values[1:]])
    told["over latency"] = pruned(study, record.over_latency(BASELINE.latency, 0.5), {})
    told["failed"] = asked(study).number
    study.tell(told["failed"], state=TrialState.FAIL)
    return told


def asked(study: optuna.Study) -> optuna.Trial:
    study.enqueue_trial(params_of(BASELINE), user_attrs={record.ORIGIN: "search"})
    trial = study.ask()
    suggest(trial, real_definition(Path("any")).space)
    return trial


def pruned(study: optuna.Study, stop: dict[str, object], attributes: dict[str, object]) -> int:
    trial = asked(study)
    for key, value in {**attributes, record.STOP: stop}.items():
        trial.set_user_attr(key, value)
    study.tell(trial, state=TrialState.PRUNED)
    return trial.number


def stopped_trial(study: optuna.Study, whole: Measurement, wrong: float) -> int:
    """One of whose recordings only the last was scored. wrong: seconds of confusion too many."""
    (*_, (uri, counts)) = whole.counts.items()
    scored = {uri: replace(counts, confusion=counts.confusion + wrong)}
    told = stopped(replace(whole, counts=scored), Stop("raced", "by a test", {}), timed=False, scored=(uri,))
    attributes = record.attributes_of_stopped(told)
    return pruned(study, attributes.pop(record.STOP), attributes)


def copy_of(study: optuna.Study, twin: optuna.trial.FrozenTrial, values: list[float]) -> int:
    trial = asked(study)
    for key, value in {**record.measured_attributes(twin), record.REUSED_FROM: twin.number}.items():
        trial.set_user_attr(key, value)
    study.tell(trial, values)
    return trial.number


@pytest.fixture(scope="module")
def answer(evaluator_and_study: tuple[optuna.Study, Evaluator], numbers: dict[str, int]) -> Verification:
    """All that was measured, at once, without RTF."""
    asked_for = [number for name, number in numbers.items() if name != "failed"]
    return verify(evaluator_and_study[0], asked_for, cost=False)


FAULTS = {
    "true": [], "emulated": [], "near": [], "old": [], "raced": [], "reused": [], "over latency": [],
    "der": ["DER, %", "confusion, s", "confusion, s"],
    "size": ["size, bytes", "size, MiB"],
    "sha256": ["SHA-256 of the model"],
    "key": ["model key"],
    "far": ["DER, %"],
    "raced, tampered": ["confusion, s"],
    "reused, tampered": ["values taken over"],
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_was_tampered_with_is_named_and_nothing_else(
    answer: Verification, numbers: dict[str, int], name: str
) -> None:
    (one,) = (trial for trial in answer.trials if trial.trial == numbers[name])
    assert [figure.name for figure in one.faults] == FAULTS[name]
    assert one.agrees == (not FAULTS[name])
    assert one.exact == (name not in ("near", "far"))


def test_what_is_measured_is_told_with_the_answer(answer: Verification, numbers: dict[str, int]) -> None:
    told = {trial.trial: trial for trial in answer.trials}
    assert not answer.agrees
    assert answer.cache == {}
    assert answer.versions == versions()
    true, raced = told[numbers["true"]], told[numbers["raced"]]
    assert (true.model, true.cost, true.measured_by) == ("kept", None, numbers["true"])
    assert {figure.recording for figure in true.figures} == {None, "dev00", "tst00"}
    assert {figure.recording for figure in raced.figures} == {None, "tst00"}  # no more than was scored
    assert raced.stopped == "by a test"
    assert told[numbers["reused"]].measured_by == numbers["true"]
    assert told[numbers["key"]].model == "another"
    assert told[numbers["over latency"]].model is None
    assert any("emulated" in caveat for caveat in told[numbers["emulated"]].caveats)
    assert any("earlier version" in caveat for caveat in told[numbers["old"]].caveats)


def test_a_model_made_anew_is_the_kept_one_to_the_byte_and_time_is_no_fault(
    evaluator_and_study: tuple[optuna.Study, Evaluator],
    numbers: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timing = replace(measurement(BASELINE).timing, rtf=(9.0, 9.0, 9.0))
    monkeypatch.setattr(Evaluator, "timing", lambda *given: timing)  # real ones are timed in test_evaluation.py
    (one,) = verify(evaluator_and_study[0], [numbers["emulated"]], remake=True).trials
    assert (one.agrees, one.model) == (True, "made anew")
    assert "SHA-256 of the model" in {figure.name for figure in one.figures}
    assert one.cost is not None
    assert (one.cost.measured, one.cost.measured_ratio, one.cost.within) == (9.0, 300.0, False)


def test_a_damaged_cache_is_found_out_though_the_trial_agrees(
    evaluator_and_study: tuple[optuna.Study, Evaluator], numbers: dict[str, int], cache: Path
) -> None:
    (features, *_) = sorted((cache / "features").glob("*.npy"))
    kept = features.read_bytes()
    features.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        answer = verify(evaluator_and_study[0], [numbers["true"]], cost=False)
    finally:
        features.write_bytes(kept)
    assert answer.cache == {str(features): "is not what comes out now"}
    assert answer.trials[0].agrees
    assert not answer.agrees
    assert cache_dir() == cache


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["failed"], "failed, so nothing was measured"),
        (["999"], "no trial 999"),
        ([], "give --all or --front"),
        (["true", "--all"], "one of the three"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_built(
    cache: Path, numbers: dict[str, int], words: list[str], needle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explorer.diagnostics.measured_trials.build_evaluator", None)
    arguments = [str(numbers.get(word, word)) for word in words]
    error = (
        CliRunner().invoke(app, ["verify", "study", *arguments, "--storage", f"sqlite:///{cache}/studies.db"]).exception
    )
    assert isinstance(error, StudyError)
    assert needle in str(error)


def test_other_recordings_are_refused_with_the_difference(cache: Path, numbers: dict[str, int], excerpts: Path) -> None:
    study = load_study("study", f"sqlite:///{cache}/studies.db")
    rttm = excerpts / "tst00.rttm"
    kept = rttm.read_text()
    rttm.write_text(kept.replace(kept.split()[3], "0.123", 1))
    try:
        with pytest.raises(StudyError, match=rf"trial {numbers['true']} of 'study' cannot be compared: .*corpus: "):
            verify(study, [numbers["true"]], cost=False)
    finally:
        rttm.write_text(kept)


def test_the_command_prints_and_exits_with_1_where_one_differs(
    cache: Path, answer: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explorer.diagnostics.verification.verify", lambda *given: answer)
    words = ["verify", "study", "--all", "--storage", f"sqlite:///{cache}/studies.db"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 1
    assert "confusion, s" in shown.stdout
    assert f"{len(answer.trials) - 7} of {len(answer.trials)} trials agree" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--format", "json"]).stdout)
    assert [trial["agrees"] for trial in told["trials"]] == [trial.agrees for trial in answer.trials]
    whole = replace(answer, trials=tuple(trial for trial in answer.trials if trial.agrees))
    monkeypatch.setattr("explorer.diagnostics.verification.verify", lambda *given: whole)
    assert CliRunner().invoke(app, words).exit_code == 0
