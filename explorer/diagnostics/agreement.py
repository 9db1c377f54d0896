"""Whether a trial and a second measurement of it agree, figure by figure. Compares values; measures nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from explorer.storage import trial_record as record
from objectives.measurement import ErrorCounts, Timing

MOST_DER = 0.5  # points of pooled DER by which another machine, or other package versions, may change it
SECONDS = ("false_alarm_seconds", "missed_detection_seconds", "confusion_seconds", "total_seconds")
# Cores affect speed only, and these versions no label: any other effect of theirs shows as a version of the code in the
# identity
HARMLESS = ("cores", "explorer", "python")


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

    @classmethod
    def of(cls, name: str, stored: Any, measured: Any, recording: str | None = None, exact: bool = True) -> "Figure":
        """Compare two values. exact: whether a difference is a fault."""
        equal = stored == measured
        return cls(name, recording, stored, measured, equal, exact and not equal)


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
    described = trial.user_attrs.get(record.MACHINE, {})
    recorded = trial.user_attrs.get(record.VERSIONS, {})
    # torch and ONNX Runtime have always been kept with the machine
    packages = {name: version for name, version in recorded.items() if name not in described}
    return tuple(
        Change(f"{prefix}{name}", value, now.get(name, "(absent)"), name in HARMLESS)
        for prefix, then, now in (("machine ", described, machine), ("", packages, versions))
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
        Figure.of("parameters", attributes.get(record.PARAMS), params),
        Figure.of("size, bytes", attributes.get(record.SIZE_BYTES), size_bytes),
        Figure.of("units kept", attributes.get(record.KEPT_UNITS), dict(kept)),
    ]
    if trial.values is not None:
        figures.append(Figure.of("size, MiB", trial.values[1], size_bytes / 2**20))
    if stored_sha256:
        figures.append(Figure.of("SHA-256 of the model", stored_sha256, sha256))
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
        der = trial.values[0]
        figures.append(Figure.of("DER, %", der, pooled.der, exact=exact or abs(der - pooled.der) > MOST_DER))
        figures += _by_kind(None, trial.user_attrs[record.POOLED], pooled, exact)
    for uri in {**stored, **counts}:
        if uri in stored and uri in counts:
            figures += _by_kind(uri, stored[uri], counts[uri], exact)
        else:
            there = ("scored", "absent") if uri in stored else ("absent", "scored")
            figures.append(Figure.of("recording", *there, recording=uri))
    return tuple(figures)


def _by_kind(uri: str | None, stored: Mapping[str, Any], counts: ErrorCounts, exact: bool) -> list[Figure]:
    now = record.errors_of(counts)
    names = {name: name.replace("_seconds", ", s").replace("_", " ") for name in SECONDS}
    return [
        Figure.of(words, stored[name], now[name], uri, exact or name == "total_seconds")
        for name, words in names.items()
    ]


def compare_cost(trial: FrozenTrial, timing: Timing) -> CostCheck:
    """Compare the RTF of a trial that has one."""
    attributes = trial.user_attrs
    low, high = attributes[record.RTF_SPREAD]
    ours = timing.spread
    repeats = sorted(attributes[record.RTF_REPEATS])
    return CostCheck(
        stored=trial.values[2] if trial.values is not None else repeats[len(repeats) // 2],
        stored_spread=(low, high),
        stored_ratio=attributes[record.RTF_RATIO],
        measured=timing.median,
        measured_spread=ours,
        measured_ratio=timing.ratio,
        within=ours[0] <= high and low <= ours[1],
    )
