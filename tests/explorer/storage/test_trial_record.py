"""What a trial carries: every attribute by hand, of a measurement of which no two figures are alike."""

import json
from dataclasses import fields, replace

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from explorer.storage import trial_record as record
from objectives.errors import EvaluationError
from objectives.measurement import ErrorCounts, Measurement, Stop, Stopped, Timing
from objectives.operating_point import BASELINE, OFFLINE_BASELINE, OnlineTracking, OperatingPoint, Pruning

MIB = 2**20
POINT = OperatingPoint(0.5, 0.25, Pruning("hidden", 0.4), "int8_ptq", "online", OnlineTracking(min_duration_off=0.125))
TIMING = Timing(
    rtf=(0.3, 0.2, 0.7),
    baseline_rtf=(0.1, 0.5, 0.2),  # ratios of 3, 0.4 and 3.5
    threads=2,
    updates=(0.02, 0.03, 0.04),
    stages={"segmentation": 6.0, "embedding": 3.0, "clustering": 0.75, "other": 0.25},
    peak_memory=300 * MIB,
)
TOLD = Measurement(
    operating_point=POINT,
    counts={
        "long": ErrorCounts(false_alarm=1.0, missed_detection=2.0, confusion=5.0, total=80.0),
        "short": ErrorCounts(false_alarm=0.5, missed_detection=0.0, confusion=1.5, total=10.0),
        "silent": ErrorCounts(false_alarm=0.25),
    },
    size_bytes=3 * MIB // 2,
    params=1_234_567,
    timing=TIMING,
    execution="emulated",
    kernel="a kernel",
    model_key="a key",
    machine={"cpu": "a processor"},
    kept={"hidden": 76},
    story={"seconds": 1.5},
    model_sha256="a hash",
    data={"corpus": "a corpus"},
    versions={"numpy": "a version"},
)
STOPPED = {field.name: getattr(TOLD, field.name) for field in fields(TOLD)} | {
    "counts": {"short": TOLD.counts["short"]},
    "stop": Stop("limit", "too much", {"least_der": 12.5}),
}

FACTS = {
    "latency": 0.875,  # 0.5 + 0.25 + 0.125
    "pruning": "Hidden-40",
    "kept_units": {"hidden": 76},
    "execution": "emulated",
    "kernel": "a kernel",
    "model_key": "a key",
    "params": 1_234_567,
    "size_bytes": 3 * MIB // 2,
    "story": {"seconds": 1.5},
    "machine": {"cpu": "a processor"},
    "model_sha256": "a hash",
    "data": {"corpus": "a corpus"},
    "versions": {"numpy": "a version"},
}
TIMED = {
    "rtf_repeats": [0.3, 0.2, 0.7],
    "rtf_baseline_repeats": [0.1, 0.5, 0.2],
    "rtf_spread": [0.2, 0.7],
    "rtf_ratio": pytest.approx(3.0),
    "threads": 2,
    "update_latency": pytest.approx({"median": 0.03, "p95": 0.039, "p99": 0.0398, "updates": 3}),
    "stage_shares": pytest.approx({"segmentation": 0.6, "embedding": 0.3, "clustering": 0.075, "other": 0.025}),
    "peak_memory_mib": 300.0,
}
SHORT = {
    "der": 20.0, "false_alarm": 5.0, "missed_detection": 0.0, "confusion": 15.0,
    "false_alarm_seconds": 0.5, "missed_detection_seconds": 0.0, "confusion_seconds": 1.5, "total_seconds": 10.0,
}  # fmt: skip
RECORDINGS = {
    "long": {
        "der": 10.0, "false_alarm": 1.25, "missed_detection": 2.5, "confusion": 6.25,
        "false_alarm_seconds": 1.0, "missed_detection_seconds": 2.0, "confusion_seconds": 5.0, "total_seconds": 80.0,
    },
    "short": SHORT,
    "silent": {
        "der": None, "false_alarm": None, "missed_detection": None, "confusion": None,
        "false_alarm_seconds": 0.25, "missed_detection_seconds": 0.0, "confusion_seconds": 0.0, "total_seconds": 0.0,
    },
}  # fmt: skip
POOLED = {
    "der": pytest.approx(100 * 10.25 / 90), "false_alarm": pytest.approx(100 * 1.75 / 90),
    "missed_detection": pytest.approx(100 * 2.0 / 90), "confusion": pytest.approx(100 * 6.5 / 90),
    "false_alarm_seconds": 1.75, "missed_detection_seconds": 2.0, "confusion_seconds": 6.5, "total_seconds": 90.0,
}  # fmt: skip


def complete(told: Measurement = TOLD, **more: object) -> FrozenTrial:
    return create_trial(values=record.values_of(told), user_attrs=record.attributes_of(told) | more)


def test_values_are_percent_mib_and_the_median() -> None:
    assert record.values_of(TOLD) == (pytest.approx(100 * 10.25 / 90), 1.5, 0.3)
    assert record.METRIC_NAMES == ("DER (%)", "size (MiB)", "RTF")


def test_everything_that_is_kept_of_a_measurement() -> None:
    kept = record.attributes_of(TOLD)
    assert kept == {**FACTS, **TIMED, "recordings": RECORDINGS, "der": POOLED}
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept


def test_everything_that_is_kept_of_one_that_was_stopped() -> None:
    stop = {"kind": "limit", "reason": "too much", "least_der": 12.5}
    stopped = Stopped(**STOPPED)
    assert record.attributes_of_stopped(stopped) == {**FACTS, **TIMED, "recordings": {"short": SHORT}, "stop": stop}
    untimed = replace(stopped, timing=None, counts={})
    assert record.attributes_of_stopped(untimed) == {**FACTS, "recordings": {}, "stop": stop}


def test_what_budgets_know_of_one_that_was_stopped() -> None:
    stopped = Stopped(**STOPPED)
    assert record.reached_by_stopped(stopped) == {"size": 1.5, "rtf": 0.3, "der": 12.5}
    bare = replace(stopped, timing=None, stop=Stop("limit", "too much"))
    assert record.reached_by_stopped(bare) == {"size": 1.5}


def test_an_offline_point_has_no_latency() -> None:
    """Infinity is no JSON."""
    assert record.attributes_of(replace(TOLD, operating_point=OFFLINE_BASELINE))["latency"] is None
    assert record.latency_of(BASELINE) == 1.0


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"silent": ErrorCounts(false_alarm=1.0)}, "no reference speech was scored"),
        ({"a": ErrorCounts(float("nan"), total=10.0)}, r"DER \(%\) is nan"),
        ({"a": ErrorCounts(float("inf"), total=10.0)}, r"DER \(%\) is inf"),
    ],
)
def test_no_sampler_learns_from_what_is_no_number(counts: dict[str, ErrorCounts], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        record.values_of(replace(TOLD, counts=counts))


def test_a_measurement_goes_with_a_trial_that_takes_it_over_and_its_own_story_does_not() -> None:
    own = {"origin": "baseline", "error": "none", "seconds": 3.0, "reused_from": 4}
    assert record.measured_attributes(complete(**own)) == record.attributes_of(TOLD)


def test_only_what_was_measured_itself_is_measured() -> None:
    assert record.is_measured(complete())
    assert not record.is_measured(complete(reused_from=0))  # the first trial is one too
    assert not record.is_measured(create_trial(state=TrialState.PRUNED))


def test_seconds_of_error_and_of_speech_by_recording() -> None:
    trial = complete()
    assert record.scored_seconds(trial.user_attrs["recordings"]) == {
        "long": (8.0, 80.0), "short": (2.0, 10.0), "silent": (0.25, 0.0)
    }  # fmt: skip
    assert record.error_seconds(trial) == {"long": 8.0, "short": 2.0, "silent": 0.25}
    assert record.reference_seconds(trial) == 90.0


def test_an_excess_is_a_share_of_its_limit_and_only_of_what_is_known() -> None:
    limits = {"latency": 0.5, "size": 2.0, "rtf": 0.3, "der": 10.0}
    reached = {"size": 3.0, "rtf": 0.3, "latency": 0.25, "of no budget": 1.0}
    assert record.excesses(limits, reached) == pytest.approx({"latency": -0.5, "size": 0.5, "rtf": 0.0})


def test_excesses_are_constraints_for_optuna_and_for_its_dashboard() -> None:
    excesses = {"latency": -0.5, "size": 0.5, "rtf": 0.0}
    assert record.constraints(excesses) == {
        "constraints:latency": -0.5, "constraints:size": 0.5, "constraints:rtf": 0.0, "constraints": [-0.5, 0.5, 0.0]
    }  # fmt: skip
    assert record.constraints({}) == {}
    trial = create_trial(values=[1.0, 1.0, 1.0], system_attrs=record.constraints(excesses))
    assert record.excesses_of(trial) == excesses
    assert record.exceeded(trial) == ("size",)  # what is just reached is kept


@pytest.mark.parametrize(("excess", "feasible"), [(-0.1, True), (0.0, True), (0.1, False)])
def test_optuna_sees_the_same_as_we_do(excess: float, feasible: bool) -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    study.add_trial(create_trial(values=[1.0, 1.0, 1.0], system_attrs=record.constraints({"rtf": excess})))
    assert (len(study.best_trials) == 1) == feasible == (record.exceeded(study.trials[0]) == ())


def test_who_proposed_a_trial_and_why_it_was_stopped() -> None:
    bare = create_trial(state=TrialState.PRUNED)
    assert (record.origin_of(bare), record.stop_kind(bare), record.why_stopped(bare)) == (
        "search", "unknown", "for an unknown reason"
    )  # fmt: skip
    stop = {"kind": "raced", "reason": "beaten"}
    told = create_trial(state=TrialState.PRUNED, user_attrs={"origin": "baseline", "stop": stop})
    assert (record.origin_of(told), record.stop_kind(told), record.why_stopped(told)) == (
        "baseline", "raced", "beaten"
    )  # fmt: skip
    over = {"kind": "limit", "reason": "latency is 1.25 s, over the budget of 0.5 s", "latency": 1.25}
    assert record.over_latency(1.25, 0.5) == over
