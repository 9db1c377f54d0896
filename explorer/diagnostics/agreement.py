"""Whether a trial and a second measurement of it agree, figure by figure. Compares values; measures nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from explorer.storage import trial_record as record
from objectives.measurement import ErrorCounts, Timing

MOST_DER = 0.5  # points of pooled DER that another machine, or other versions of packages, may move it by
SECONDS = ("false_alarm_seconds", "missed_detection_seconds", "confusion_seconds", "total_seconds")
# Of versions, those that decide no label: what else they would change, a version of the code in the identity tells
HARMLESS = ("explorer", "python")
SPEED_ONLY = ("cores",)  # of what describes a machine


@dataclass(frozen=True)
class Figure:
    """One figure of a trial, then and now. recording: URI, None for what is of all of them. equal: to the last digit.
    fault: whether the difference says that the trial cannot be believed."""

    name: str
    recording: str | None
    stored: Any
    measured: Any
    equal: bool
    fault: bool


@dataclass(frozen=True)
class CostCheck:
    """RTF then and now: medians, spreads (smallest, largest) and ratios to the FP32 baseline of the same breath.

    within: whether the two spreads meet. Never a fault: a machine is slower on some days.
    """

    stored: float
    stored_spread: tuple[float, float]
    stored_ratio: float
    measured: float
    measured_spread: tuple[float, float]
    measured_ratio: float
    within: bool


@dataclass(frozen=True)
class Change:
    """Something that is not as it was when a trial was measured. exact: whether labels are the same all the same."""

    what: str
    then: str
    now: str
    exact: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.then} → {self.now}"


def changes(trial: FrozenTrial, machine: Mapping[str, str], versions: Mapping[str, str]) -> tuple[Change, ...]:
    """How the machine and the versions of packages differ from those that a trial was measured with."""
    then = trial.user_attrs.get("machine", {})
    found = _changes("machine ", then, machine, SPEED_ONLY)
    told = trial.user_attrs.get(record.VERSIONS, {})
    known = {f"machine {name}" for name in then}  # torch and ONNX Runtime were always kept, as part of the machine
    return found + tuple(
        change for change in _changes("", told, versions, HARMLESS) if f"machine {change.what}" not in known
    )


def _changes(
    prefix: str, then: Mapping[str, str], now: Mapping[str, str], harmless: Sequence[str]
) -> tuple[Change, ...]:
    return tuple(
        Change(f"{prefix}{name}", value, now.get(name, "(absent)"), name in harmless)
        for name, value in then.items()
        if now.get(name, "(absent)") != value
    )


def compare_model(
    trial: FrozenTrial, params: int, size_bytes: int, kept: Mapping[str, int], sha256: str, stored_sha256: str | None
) -> tuple[Figure, ...]:
    """The finished model, by what is known of it; a fault wherever something differs.

    stored_sha256: of the model that the trial ran, as the trial or the store tells; None where neither does.
    """
    told = trial.user_attrs
    figures = [
        _same("parameters", told.get("params"), params),
        _same("size, bytes", told.get("size_bytes"), size_bytes),
        _same("units kept", told.get("kept_units"), dict(kept)),
    ]
    if trial.values is not None:
        figures.append(_same("size, MiB", trial.values[1], size_bytes / 2**20))
    if stored_sha256:
        figures.append(_same("SHA-256 of the model", stored_sha256, sha256))
    return tuple(figures)


def compare_errors(
    trial: FrozenTrial, counts: Mapping[str, ErrorCounts], pooled: ErrorCounts, exact: bool
) -> tuple[Figure, ...]:
    """Errors: pooled, then by recording. counts: of every recording that the trial has, and no other.

    exact: to the last digit, on the same machine with the same packages. Otherwise the pooled DER of a complete trial
    may be MOST_DER points off, and what is by recording or by kind of error is only told. Seconds of reference
    speech are the same anywhere.
    """
    stored: Mapping[str, Any] = trial.user_attrs.get(record.RECORDINGS, {})
    figures = []
    if trial.values is not None:
        der, told = trial.values[0], trial.user_attrs["der"]
        off = abs(der - pooled.der) > MOST_DER
        figures.append(Figure("DER, %", None, der, pooled.der, der == pooled.der, der != pooled.der if exact else off))
        figures += _by_kind(None, told, record.errors_of(pooled), exact)
    for uri in {**stored, **counts}:
        if uri not in stored or uri not in counts:
            there = ("scored", "absent") if uri in stored else ("absent", "scored")
            figures.append(Figure("recording", uri, *there, equal=False, fault=True))
            continue
        figures += _by_kind(uri, stored[uri], record.errors_of(counts[uri]), exact)
    return tuple(figures)


def _by_kind(uri: str | None, stored: Mapping[str, Any], now: Mapping[str, Any], exact: bool) -> list[Figure]:
    found = []
    for name in SECONDS:
        equal = stored[name] == now[name]
        fault = not equal and (exact or name == "total_seconds")
        found.append(
            Figure(name.replace("_seconds", ", s").replace("_", " "), uri, stored[name], now[name], equal, fault)
        )
    return found


def compare_cost(trial: FrozenTrial, timing: Timing) -> CostCheck:
    """RTF of a trial that has one."""
    told = trial.user_attrs
    low, high = told["rtf_spread"]
    ours = timing.spread
    repeats = sorted(told["rtf_repeats"])
    middle = trial.values[2] if trial.values is not None else repeats[len(repeats) // 2]
    return CostCheck(
        stored=middle,
        stored_spread=(low, high),
        stored_ratio=told["rtf_ratio"],
        measured=timing.median,
        measured_spread=ours,
        measured_ratio=timing.ratio,
        within=ours[0] <= high and low <= ours[1],
    )


def _same(name: str, stored: object, measured: object) -> Figure:
    return Figure(name, None, stored, measured, stored == measured, stored != measured)
