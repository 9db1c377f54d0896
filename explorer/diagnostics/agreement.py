"""Whether a trial and a second measurement of it agree, figure by figure. Compares values; measures nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from explorer.storage import trial_record as record
from objectives.measurement import ErrorCounts, Timing

MOST_DER = 0.5  # points of pooled DER by which another machine, or other package versions, may change it
SECONDS = ("false_alarm_seconds", "missed_detection_seconds", "confusion_seconds", "total_seconds")
# Versions that affect no label: any other effect of theirs shows as a version of the code in the identity
HARMLESS = ("explorer", "python")
SPEED_ONLY = ("cores",)  # parts of a machine's description that affect speed only


@dataclass(frozen=True)
class Figure:
    """One figure of a trial, then and now. recording: URI, None for a figure of all recordings. equal: to the last
    digit. fault: whether the difference means that the trial cannot be trusted."""

    name: str
    recording: str | None
    stored: Any
    measured: Any
    equal: bool
    fault: bool


@dataclass(frozen=True)
class CostCheck:
    """RTF then and now: medians, spreads (smallest, largest) and ratios to the FP32 baseline timed in turns.

    within: whether the two spreads overlap. Never a fault: a machine is slower on some days.
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
    """Something that has changed since a trial was measured. exact: whether labels stay the same nevertheless."""

    what: str
    then: str
    now: str
    exact: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.then} → {self.now}"


def changes(trial: FrozenTrial, machine: Mapping[str, str], versions: Mapping[str, str]) -> tuple[Change, ...]:
    """Return how the machine and the package versions differ from those that a trial was measured with."""
    then = trial.user_attrs.get("machine", {})
    found = _changes("machine ", then, machine, SPEED_ONLY)
    recorded = trial.user_attrs.get(record.VERSIONS, {})
    known = {f"machine {name}" for name in then}  # torch and ONNX Runtime have always been kept with the machine
    return found + tuple(
        change for change in _changes("", recorded, versions, HARMLESS) if f"machine {change.what}" not in known
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
    """Compare what is known of the finished model; any difference is a fault.

    stored_sha256: of the model that the trial ran, as recorded by the trial or the store; None if neither has it.
    """
    attributes = trial.user_attrs
    figures = [
        _same("parameters", attributes.get("params"), params),
        _same("size, bytes", attributes.get("size_bytes"), size_bytes),
        _same("units kept", attributes.get("kept_units"), dict(kept)),
    ]
    if trial.values is not None:
        figures.append(_same("size, MiB", trial.values[1], size_bytes / 2**20))
    if stored_sha256:
        figures.append(_same("SHA-256 of the model", stored_sha256, sha256))
    return tuple(figures)


def compare_errors(
    trial: FrozenTrial, counts: Mapping[str, ErrorCounts], pooled: ErrorCounts, exact: bool
) -> tuple[Figure, ...]:
    """Compare errors: pooled, then by recording. counts: of exactly the recordings that the trial has.

    exact: to the last digit, on the same machine with the same packages. Otherwise the pooled DER of a complete trial
    may be MOST_DER points off, and differences by recording or by kind of error are only reported. Seconds of reference
    speech must be the same anywhere.
    """
    stored: Mapping[str, Any] = trial.user_attrs.get(record.RECORDINGS, {})
    figures = []
    if trial.values is not None:
        der, recorded = trial.values[0], trial.user_attrs["der"]
        off = abs(der - pooled.der) > MOST_DER
        figures.append(Figure("DER, %", None, der, pooled.der, der == pooled.der, der != pooled.der if exact else off))
        figures += _by_kind(None, recorded, record.errors_of(pooled), exact)
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
    """Compare the RTF of a trial that has one."""
    attributes = trial.user_attrs
    low, high = attributes["rtf_spread"]
    ours = timing.spread
    repeats = sorted(attributes["rtf_repeats"])
    middle = trial.values[2] if trial.values is not None else repeats[len(repeats) // 2]
    return CostCheck(
        stored=middle,
        stored_spread=(low, high),
        stored_ratio=attributes["rtf_ratio"],
        measured=timing.median,
        measured_spread=ours,
        measured_ratio=timing.ratio,
        within=ours[0] <= high and low <= ours[1],
    )


def _same(name: str, stored: object, measured: object) -> Figure:
    return Figure(name, None, stored, measured, stored == measured, stored != measured)
