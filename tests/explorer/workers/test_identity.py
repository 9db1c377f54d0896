"""What trials must have in common to be compared: every setting by name, so that none of them is ever left out."""

import json
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import create_trial

import objectives.evaluation.evaluator
from explorer.bundle.export import COMPARED
from explorer.recommend.test_split import SETTINGS, _differs
from explorer.search.driver import _refuse_differences, _with_later_settings
from explorer.storage import trial_record as record
from explorer.storage.study_record import IDENTITY, data_of, device_of, evaluated_by, refuse_other_data
from explorer.workers.worker_process import build_on
from objectives.compression.settings import CompressionSettings, QuantizationOptions, RecoverySettings
from objectives.errors import StudyError
from objectives.evaluation.settings import EvaluatorSettings
from objectives.measurement import DATA
from objectives.operating_point import OnlineTracking
from studies.definition import StudyDefinition, parse
from tests.support.analytic_evaluator import AnalyticEvaluator
from tests.support.front_rows import front_row, vary
from tests.support.recommendation_study import empty_study

# --- the settings of a study

SETTINGS_OF = {  # by table
    "": ("corpus", "split", "sampler", "seed"),
    "space.": (
        "mode", "tracking", "chunk_length", "look_ahead", "right_context", "pruning_structure", "pruning_ratio",
        "precision", "tau_active", "rho_update", "delta_new", "min_duration_off",
    ),
    "fixed.": (
        "sweeps", "chunk_length", "right_context", "tables", "variants", "precisions", "table2_variant"
    ),
    "models.": ("segmentation", "embedding", "clustering_threshold", "speakers"),
    "pruning.": ("iterations",),
    "recovery.": ("method", "steps", "qat_steps", "windows", "batch", "learning_rate"),
    "quantization.": ("group_size", "clipping", "sincnet"),
    "cost.": ("repeats", "threads"),
    "limits.": ("latency", "der", "size", "rtf"),
}  # fmt: skip
SHARED = [f"{table}{name}" for table, names in SETTINGS_OF.items() for name in names]
OTHERWISE = {  # nothing as it is by default
    "corpus": "calls",
    "split": "dev",
    "sampler": "random",
    "seed": 3,
    "trials": 7,
    "timeout": 9.0,
    "stop_after_failures": 2,
    "description": "another",
    "space": {
        "tracking": ["online"], "chunk_length": [0.1, 2.0], "right_context": [0.1, 1.0],
        "pruning_ratio": [0.1, 0.5], "pruning_structure": ["none", "hidden"], "precision": ["fp32", "fp16"],
        "look_ahead": ["none"], "tau_active": 0.4, "rho_update": [0.2, 0.3], "delta_new": 0.9, "min_duration_off": 0.5,
    },
    "models": {"segmentation": "a.ckpt", "embedding": "b.ckpt", "clustering_threshold": 0.6, "speakers": [2, 3]},
    "pruning": {"iterations": 2},
    "recovery": {"method": "bce", "steps": 1, "qat_steps": 2, "windows": 5, "batch": 6, "learning_rate": 0.5},
    "quantization": {"group_size": 32, "clipping": "mse", "sincnet": "int8"},
    "cost": {"repeats": 5, "threads": 4},
    "limits": {"latency": 1.0, "der": 30.0, "size": 4.0, "rtf": 0.5},
    "racing": {"enabled": False, "alpha": 0.05},
}  # fmt: skip


def test_every_setting_but_budgets_and_remarks_is_shared() -> None:
    identity, other = StudyDefinition().identity(), parse(OTHERWISE, "a test").identity()
    assert list(identity) == list(other) == SHARED
    assert {name for name in SHARED if identity[name] == other[name]} == {
        "space.mode", *(name for name in SHARED if name.startswith("fixed."))
    }  # fmt: skip


@pytest.mark.parametrize("name", [*SHARED, "evaluator.corpus", "evaluator.machine cpu"])
def test_a_study_is_not_resumed_with_another_setting(name: str) -> None:
    told: dict[str, Any] = dict.fromkeys([*SHARED, "evaluator.corpus", "evaluator.machine cpu"], 1)
    _refuse_differences("study", told, told)
    with pytest.raises(StudyError) as caught:
        _refuse_differences("study", told, told | {name: 2})
    assert f"\n  {name}: 1 → 2\n" in str(caught.value)
    without = {key: value for key, value in told.items() if key != name}
    for old, new, shown in ((told, without, "1 → (absent)"), (without, told, "(absent) → 1")):
        if "space.tracking" in new and "space.tracking" not in old:
            shown = "['chunk-wise'] → 1"  # all that there was, before it was told
        with pytest.raises(StudyError) as caught:
            _refuse_differences("study", old, new)
        assert f"\n  {name}: {shown}\n" in str(caught.value)


def test_what_an_earlier_version_told_in_other_words_is_no_difference() -> None:
    now = {"space.mode": "streaming", "space.tracking": ["chunk-wise"], "evaluator.tracking": "thresholds", "seed": 1}
    assert _with_later_settings({"space.mode": "chunk-wise", "seed": 1}, now) == now
    _refuse_differences("study", {"space.mode": "chunk-wise", "seed": 1}, now)
    _refuse_differences("study", now, now | {"space.tracking": ("chunk-wise",)})  # a tuple is the list it becomes
    with pytest.raises(StudyError, match=r"evaluator\.tracking: others → thresholds"):
        _refuse_differences("study", now | {"evaluator.tracking": "others"}, now)


# --- what measures them


def test_the_evaluator_has_every_setting_of_the_study() -> None:
    definition, trusted = parse(OTHERWISE, "a test"), frozenset({"a hash"})
    settings = definition.evaluator_settings("cuda", trusted)
    compression = CompressionSettings(
        recovery=RecoverySettings("bce", 1, 2, 5, 6, 0.5),
        quantization=QuantizationOptions(32, "mse", "int8"),
        iterations=2,
        seed=3,
    )
    given = {
        "corpus": "calls", "split": "dev", "segmentation": "a.ckpt", "embedding": "b.ckpt",
        "clustering_threshold": 0.6, "speakers": (2, 3), "repeats": 5, "threads": 4, "seed": 3,
        "compression": compression,
        "device": "cuda", "trusted": trusted,
    }  # fmt: skip
    tracking = OnlineTracking(0.4, 0.2, 0.9, min_duration_off=0.5)  # rho_update is searched, from 0.2
    assert settings == EvaluatorSettings(**given, tracking=tracking)
    assert set(EvaluatorSettings.__dataclass_fields__) == {*given, "tracking", "accuracy_threads"}


def test_defaults_are_the_evaluators_own_and_nobody_is_trusted() -> None:
    settings = StudyDefinition().evaluator_settings()
    assert (settings.device, settings.trusted, settings.clustering_threshold) == ("cpu", frozenset(), None)
    assert settings.tracking is None  # no point of it is online
    both = {"tracking": ["chunk-wise", "online"]}
    assert parse({"space": both}, "a test").evaluator_settings().tracking is None  # nor has one a threshold
    some = parse({"space": both | {"delta_new": [0.2, 0.4]}}, "a test").evaluator_settings()
    assert some.tracking == OnlineTracking(delta_new=0.2)  # each trial has one; the others must be the embedding's
    ranges = {"tau_active": [0.0, 0.5], "rho_update": [0.5, 1.0], "delta_new": [0.2, 0.4]}
    whole = parse({"space": both | ranges}, "a test").evaluator_settings().tracking
    assert whole == OnlineTracking(0.0, 0.5, 0.2)  # an embedding that was never tuned is no hindrance


def test_a_worker_builds_with_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[EvaluatorSettings] = []
    limits: list[int] = []

    def build(settings: EvaluatorSettings) -> AnalyticEvaluator:
        built.append(settings)
        return AnalyticEvaluator()

    monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", build)
    monkeypatch.setattr("torch.set_num_threads", limits.append)
    settings = EvaluatorSettings(corpus="calls", seed=3)
    build_on(settings, 2)
    assert built == [replace(settings, accuracy_threads=2)]
    assert limits == [2]


# --- what they are measured on

EVALUATOR = {**{name: f"a {name}" for name in DATA}, "machine cpu": "a processor", "cost": "a clock"}


@pytest.fixture
def study() -> optuna.Study:
    study = empty_study()
    study.set_user_attr(
        IDENTITY, json.dumps({f"evaluator.{name}": told for name, told in EVALUATOR.items()} | {"x": 1})
    )
    return study


def test_a_study_knows_what_it_was_evaluated_by(study: optuna.Study) -> None:
    assert evaluated_by(study) == EVALUATOR
    assert data_of(study) == {name: EVALUATOR[name] for name in DATA}
    assert device_of(study) == "cpu"
    study.set_user_attr(IDENTITY, json.dumps({"evaluator.accuracy": "a GPU"}))
    assert device_of(study) == "cuda"


@pytest.mark.parametrize("name", DATA)
def test_trials_of_other_data_are_not_compared(study: optuna.Study, name: str) -> None:
    trial = create_trial(values=[1.0] * 3)
    refuse_other_data(study, [trial], EVALUATOR)
    with pytest.raises(StudyError, match=rf"{name}: a {name} → another"):
        refuse_other_data(study, [trial, trial], EVALUATOR | {name: "another"})
    # what a trial itself tells is truer than what its study does
    own = create_trial(values=[1.0] * 3, user_attrs={record.DATA: {name: "another"}})
    refuse_other_data(study, [own], EVALUATOR | {name: "another"})
    with pytest.raises(StudyError, match=rf"{name}: another → a {name}"):
        refuse_other_data(study, [own], EVALUATOR)


def test_speed_and_machine_are_no_data_and_a_bundle_may_be_of_other_code(study: optuna.Study) -> None:
    trial = create_trial(values=[1.0] * 3)
    refuse_other_data(study, [trial], EVALUATOR | {"cost": "another", "machine cpu": "another"})
    refuse_other_data(study, [trial], EVALUATOR | {"code": "another"}, COMPARED)
    assert set(DATA) - set(COMPARED) == {"code"}


@pytest.mark.parametrize("name", [*DATA, "machine cpu", "cost"])
def test_what_must_be_the_same_to_score_on_test(study: optuna.Study, name: str) -> None:
    assert _differs(study, EVALUATOR) is None
    why = _differs(study, EVALUATOR | {name: "another"})
    harmless = name in ("split", "cost", "machine cpu")
    assert why is None if harmless else f"since the study was run: {name}: a {name} → another" in str(why)
    # and beside the points that were scored there before
    study.set_user_attr(SETTINGS, json.dumps(EVALUATOR | {name: "as it was"}))
    why = _differs(study, EVALUATOR)
    assert why is None if harmless else f"since test was first scored: {name}: as it was → a {name}" in str(why)


# --- which rows are the same operating point

ROW = front_row(
    3, chunk_length=0.5, right_context=0.25, pruning="Hidden-40", precision="fp16", mode="online",
    online={"tau_active": 0.4},
)  # fmt: skip
SAME = {"trial": 4, "origin": "baseline", "standing": "dominated", "der": 20.0, "rtf": 0.1, "size": 1.0}
OTHER = {
    "chunk_length": 0.6, "right_context": 0.0, "pruning": "Linear-40", "precision": "fp32",
    "online": {"tau_active": 0.5},
}  # fmt: skip


def test_a_row_is_known_by_all_that_makes_its_point_and_by_nothing_else() -> None:
    assert all(vary(ROW, **{name: value}).point == ROW.point for name, value in SAME.items())
    assert all(vary(ROW, **{name: value}).point != ROW.point for name, value in OTHER.items())
    assert vary(ROW, mode="chunk-wise", online={}).point != ROW.point
    for threshold in ("rho_update", "delta_new", "min_duration_off"):
        assert vary(ROW, online={"tau_active": 0.4, threshold: 0.3}).point != ROW.point
