"""What agrees and what does not, by hand."""

from collections.abc import Mapping
from dataclasses import replace

import optuna
import pytest
from optuna.trial import FrozenTrial

from explorer.diagnostics.agreement import MOST_DER, Change, changes, compare_cost, compare_errors, compare_model
from explorer.storage import trial_record as record
from objectives.measurement import ErrorCounts, Timing, pool
from objectives.operating_point import BASELINE
from tests.support.analytic_evaluator import measurement
from tests.support.recommendation_study import empty_study, measured

A, B = ErrorCounts(1.0, 2.0, 3.0, 50.0), ErrorCounts(0.5, 0.25, 0.125, 50.0)


@pytest.fixture
def trial() -> FrozenTrial:
    """One that made A and B, with RTFs of 0.1, 0.3 and 0.2."""
    study = empty_study()
    timing = Timing(rtf=(0.1, 0.3, 0.2), baseline_rtf=(0.1, 0.1, 0.1), threads=1)
    told = replace(measurement(BASELINE), counts={"a": A, "b": B}, timing=timing, versions={"numpy": "2.4.5"})
    waiting = measured(study, told)
    study.tell(waiting, record.values_of(told))
    return study.trials[0]


def errors(
    trial: FrozenTrial, a: ErrorCounts = A, b: ErrorCounts = B, exact: bool = True
) -> list[tuple[str, str | None]]:
    """(name, recording) of what is at fault."""
    counts = {"a": a, "b": b}
    figures = compare_errors(trial, counts, pool(counts.values()), exact)
    assert len(figures) == 1 + 3 * 4
    return [(figure.name, figure.recording) for figure in figures if figure.fault]


def test_the_same_errors_agree(trial: FrozenTrial) -> None:
    assert errors(trial) == []


def test_the_last_digit_counts(trial: FrozenTrial) -> None:
    nearly = replace(A, confusion=3.0000000000000004)
    assert errors(trial, nearly) == [("confusion, s", None), ("confusion, s", "a")]  # and lost in the DER


def test_errors_that_cancel_out_are_seen_by_recording(trial: FrozenTrial) -> None:
    moved = errors(trial, replace(A, confusion=2.0), replace(B, confusion=1.125))
    assert moved == [("confusion, s", "a"), ("confusion, s", "b")]


def test_elsewhere_the_pooled_der_has_a_tolerance_and_speech_has_none(trial: FrozenTrial) -> None:
    near, far = MOST_DER - 0.01, MOST_DER + 0.01  # of 100 s of speech, seconds are points
    assert errors(trial, replace(A, confusion=3.0 + near), exact=False) == []
    assert errors(trial, replace(A, confusion=3.0 - far), exact=False) == [("DER, %", None)]
    assert errors(trial, replace(A, total=50.1), exact=False) == [("total, s", None), ("total, s", "a")]


@pytest.mark.parametrize("exact", [True, False])
def test_a_recording_that_is_missing_or_new_is_a_fault(trial: FrozenTrial, exact: bool) -> None:
    faults = [figure for figure in compare_errors(trial, {"a": A, "c": B}, A + B, exact) if figure.fault]
    assert [(figure.recording, figure.stored, figure.measured) for figure in faults] == [
        ("b", "scored", "absent"),
        ("c", "absent", "scored"),
    ]


def test_a_model_is_compared_to_the_byte(trial: FrozenTrial) -> None:
    told = measurement(BASELINE)

    def faults(
        params: int = told.params, size: int = told.size_bytes, sha256: str = "x", kept: Mapping[str, int] = told.kept
    ) -> list[str]:
        figures = compare_model(trial, params, size, kept, sha256, "x")
        return [figure.name for figure in figures if figure.fault]

    assert faults() == []
    assert faults(params=told.params + 1) == ["parameters"]
    assert faults(size=told.size_bytes + 1) == ["size, bytes", "size, MiB"]
    assert faults(kept={**told.kept, "hidden": 1}) == ["units kept"]
    assert faults(sha256="y") == ["SHA-256 of the model"]


@pytest.mark.parametrize(("now", "within"), [(0.3, True), (0.15, True), (0.31, False), (0.05, False)])
def test_rtf_is_within_where_spreads_meet(trial: FrozenTrial, now: float, within: bool) -> None:
    check = compare_cost(trial, Timing(rtf=(now,) * 3, baseline_rtf=(now,) * 3, threads=1))
    assert (check.stored, check.stored_spread, check.stored_ratio) == (0.2, (0.1, 0.3), 2.0)
    assert (check.measured, check.measured_ratio, check.within) == (now, 1.0, within)


def test_changes_of_machine_and_packages_are_named_and_some_decide_nothing() -> None:
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)
    machine = {"processor": "a", "cores": "2", "torch": "2.13.0"}
    trial.set_user_attr("machine", machine)
    trial.set_user_attr(record.VERSIONS, {"explorer": "1", "numpy": "2.4.5", "torch": "2.13.0"})
    now = {"explorer": "2", "numpy": "2.4.6", "torch": "2.14.0"}
    assert changes(trial, machine, trial.user_attrs[record.VERSIONS]) == ()
    assert changes(trial, machine | {"cores": "4", "torch": "2.14.0"}, now) == (
        Change("machine cores", "2", "4", exact=True),
        Change("machine torch", "2.13.0", "2.14.0", exact=False),
        Change("explorer", "1", "2", exact=True),
        Change("numpy", "2.4.5", "2.4.6", exact=False),
    )
