"""The attributes that a trial carries besides its parameters: this module names, writes and reads them.

Nobody else writes their names as strings. explorer/storage/trial_schema.py says which values they may have.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from optuna.trial import FrozenTrial, TrialState

from explorer.statistics import bootstrap
from objectives.errors import EvaluationError
from objectives.measurement import ErrorCounts, Measurement, Stopped, Timing, pool
from objectives.operating_point import OperatingPoint

METRIC_NAMES = ("DER (%)", "size (MiB)", "RTF")
SEARCH = "search"  # origin of trials that a sampler proposed; every other origin is a fixed point's

# These attributes belong to one trial alone. All others describe its measurement, and are copied if that is reused.
ORIGIN = "origin"
ERROR = "error"
REFUSED = "refused"  # of a trial that another program queued without a valid operating point: it was never tried
SECONDS = "seconds"
REUSED_FROM = "reused_from"

LATENCY = "latency"
PRUNING = "pruning"
KEPT_UNITS = "kept_units"
RECORDINGS = "recordings"  # errors by recording
EXECUTION = "execution"
KERNEL = "kernel"
MODEL_KEY = "model_key"
PARAMS = "params"
SIZE_BYTES = "size_bytes"
STORY = "story"
MACHINE = "machine"
MODEL_SHA256 = "model_sha256"  # of the model's file; earlier versions did not write this and the next two
DATA = "data"  # what it was measured with and on, by content: corpus, split, weights, settings
VERSIONS = "versions"  # of the packages that affect an answer
RTF_REPEATS = "rtf_repeats"
RTF_BASELINE_REPEATS = "rtf_baseline_repeats"
RTF_SPREAD = "rtf_spread"
RTF_RATIO = "rtf_ratio"
THREADS = "threads"
UPDATE_LATENCY = "update_latency"
STAGE_SHARES = "stage_shares"
PEAK_MEMORY = "peak_memory_mib"
POOLED = "der"  # errors over all recordings, absent from a stopped trial
STOP = "stop"  # why a trial was not measured to the end: {"kind", "reason", ...}

CONSTRAINTS = "constraints"  # the system attribute that optuna-dashboard reads
ROUNDING = 1e-6  # points of DER by which a sum over recordings may differ when it is read again


def origin_of(trial: FrozenTrial) -> str:
    """Return the origin of a trial. Without an origin, or with one that is not a printable name, it is `search`."""
    origin = trial.user_attrs.get(ORIGIN, SEARCH)
    return origin if isinstance(origin, str) and origin.isprintable() else SEARCH


def is_searched(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards the budget of search trials.

    Fixed points do not count, nor do trials that another program queued with invalid parameters or marked failed.
    """
    others = REFUSED in trial.user_attrs or (trial.state is TrialState.FAIL and ERROR not in trial.user_attrs)
    return origin_of(trial) == SEARCH and not others


def values_of(measurement: Measurement) -> tuple[float, float, float]:
    """Return (DER %, size MiB, RTF). Raises EvaluationError if one is not finite: samplers cannot learn from it."""
    if measurement.pooled.total <= 0:
        raise EvaluationError("no reference speech was scored, so there is no DER: check the corpus' RTTM and UEM")
    values = (measurement.pooled.der, measurement.size_mib, measurement.timing.median)
    for name, value in zip(METRIC_NAMES, values, strict=True):
        if not math.isfinite(value):
            raise EvaluationError(f"{name} is {value}, which no sampler can learn from: see the recordings' counts")
    return values


def latency_of(point: OperatingPoint) -> float | None:
    """Return the latency in seconds, including the wait for pauses; None if offline, since JSON has no infinity."""
    return point.latency if math.isfinite(point.latency) else None


def attributes_of(measurement: Measurement) -> dict[str, Any]:
    """Return the attributes of a measurement beside its three values, as JSON. The keys say the units."""
    return {**_facts(measurement), **_timed(measurement.timing), POOLED: errors_of(measurement.pooled)}


def attributes_of_stopped(stopped: Stopped) -> dict[str, Any]:
    """Return the attributes of a stopped trial, as far as it was measured. It has no DER."""
    stop = {"kind": stopped.stop.kind, "reason": stopped.stop.reason, **stopped.stop.details}
    return {**_facts(stopped), **(_timed(stopped.timing) if stopped.timing else {}), STOP: stop}


def reached_by_stopped(stopped: Stopped) -> dict[str, float]:
    """Return the known quantities that have budgets. For a DER over its budget, this is a lower bound."""
    reached = {"size": stopped.size_bytes / 2**20}
    if stopped.timing:
        reached["rtf"] = stopped.timing.median
    if "least_der" in stopped.stop.details:
        reached["der"] = stopped.stop.details["least_der"]
    return reached


def over_latency(latency: float, limit: float) -> dict[str, Any]:
    """Return the `stop` attribute of a trial that is over the budget of latency, so that it is not even started."""
    return {
        "kind": "limit",
        "reason": f"latency is {latency:.3g} s, over the budget of {limit:g} s",
        "latency": latency,
    }


def why_stopped(trial: FrozenTrial) -> str:
    """Return why a trial was stopped, in words. A trial that another program pruned has no reason."""
    return str(trial.user_attrs.get(STOP, {}).get("reason", "for an unknown reason"))


def stop_kind(trial: FrozenTrial) -> str:
    """Return `limit` or `raced`; `unknown` if another program pruned the trial."""
    return str(trial.user_attrs.get(STOP, {}).get("kind", "unknown"))


def error_seconds(trial: FrozenTrial) -> dict[str, float]:
    """Return the seconds of error of a complete trial, by recording."""
    return {uri: errors for uri, (errors, _) in scored_seconds(trial.user_attrs[RECORDINGS]).items()}


def scored_seconds(recordings: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return (seconds of error, seconds of reference speech) by recording. recordings: as `errors_of` wrote each."""
    kinds = ("false_alarm_seconds", "missed_detection_seconds", "confusion_seconds")
    return {
        uri: (math.fsum(errors[kind] for kind in kinds), errors["total_seconds"]) for uri, errors in recordings.items()
    }


def reference_seconds(trial: FrozenTrial) -> float:
    """Return the seconds of scored reference speech in all recordings, the same for every complete trial of a study."""
    return float(trial.user_attrs[POOLED]["total_seconds"])


def _facts(measurement: Measurement | Stopped) -> dict[str, Any]:
    point = measurement.operating_point
    return {
        LATENCY: latency_of(point),
        PRUNING: str(point.pruning),
        KEPT_UNITS: dict(measurement.kept),
        RECORDINGS: {uri: errors_of(counts) for uri, counts in measurement.counts.items()},
        EXECUTION: measurement.execution,
        KERNEL: measurement.kernel,
        MODEL_KEY: measurement.model_key,
        PARAMS: measurement.params,
        SIZE_BYTES: measurement.size_bytes,
        STORY: dict(measurement.story),
        MACHINE: dict(measurement.machine),
        MODEL_SHA256: measurement.model_sha256,
        DATA: dict(measurement.data),
        VERSIONS: dict(measurement.versions),
    }


def _timed(timing: Timing) -> dict[str, Any]:
    low, high = timing.spread
    updates, shares = timing.update_latency, timing.stage_shares
    return {
        RTF_REPEATS: list(timing.rtf),
        RTF_BASELINE_REPEATS: list(timing.baseline_rtf),
        RTF_SPREAD: [low, high],
        RTF_RATIO: timing.ratio,
        THREADS: timing.threads,
        UPDATE_LATENCY: updates and asdict(updates),
        STAGE_SHARES: shares and dict(shares),
        PEAK_MEMORY: timing.peak_memory_mib,
    }


def measured_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """Return the attributes of a finished trial that describe its measurement, for another trial of the same point."""
    own = {ORIGIN, ERROR, SECONDS, REUSED_FROM}
    return {key: value for key, value in trial.user_attrs.items() if key not in own}


def excesses(limits: Mapping[str, float], reached: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each limit is exceeded, as a share of the limit: at most 0 if it is met.

    Unknown quantities are left out. Excesses are shares because samplers add them up: so a second of latency and a
    percent of DER have comparable weight.
    """
    return {name: reached[name] / limit - 1.0 for name, limit in limits.items() if name in reached}


def constraints(excesses: Mapping[str, float]) -> dict[str, Any]:
    """Return excesses as system attributes, in two forms: Optuna reads one attribute per constraint, optuna-dashboard
    only the list."""
    if not excesses:
        return {}
    return {f"{CONSTRAINTS}:{name}": excess for name, excess in excesses.items()} | {
        CONSTRAINTS: list(excesses.values())
    }


def excesses_of(trial: FrozenTrial) -> dict[str, float]:
    """Return the stored excesses of a finished trial, by limit."""
    # Optuna also lists the dashboard's copy, under the numbers "0", "1", ...
    return {name: excess for name, excess in trial.constraints.items() if not name.isdigit()}


def exceeded(trial: FrozenTrial) -> tuple[str, ...]:
    """Return the names of the limits that a trial exceeds."""
    return tuple(name for name, excess in excesses_of(trial).items() if excess > 0)


def is_emulated(trial: FrozenTrial) -> bool:
    """Whether a trial's precision was emulated, so that its time is not the deployed model's."""
    return bool(trial.user_attrs.get(EXECUTION) == "emulated")


def is_measured(trial: FrozenTrial) -> bool:
    """Whether a trial is complete by its own evaluation, not by reuse of another trial's."""
    return trial.state is TrialState.COMPLETE and REUSED_FROM not in trial.user_attrs


def errors_of(counts: ErrorCounts) -> dict[str, float | None]:
    """Return errors in seconds and in percent of scored speech. The percentages are None if nothing was scored."""
    seconds = {
        "false_alarm": counts.false_alarm,
        "missed_detection": counts.missed_detection,
        "confusion": counts.confusion,
    }
    rated = counts.total > 0
    return {
        "der": counts.der if rated else None,
        **{key: counts.percent(value) if rated else None for key, value in seconds.items()},
        **{f"{key}_seconds": value for key, value in seconds.items()},
        "total_seconds": counts.total,
    }


@dataclass(frozen=True, kw_only=True)
class PooledErrors:
    """Errors of all recordings together, in percent of the scored reference speech. recordings: by URI, as `errors_of`
    returns each."""

    der: float
    false_alarm: float
    missed_detection: float
    confusion: float
    recordings: Mapping[str, Mapping[str, float | None]]

    @classmethod
    def of(cls, counts: Mapping[str, ErrorCounts], **others: Any) -> Self:
        """Pool the errors of recordings. others: what a subclass adds."""
        recordings = {uri: errors_of(one) for uri, one in counts.items()}
        return cls.read(errors_of(pool(counts.values())), recordings=recordings, **others)

    @classmethod
    def read(cls, pooled: Mapping[str, Any], **others: Any) -> Self:
        """Take the percentages from what `errors_of` returned. others: the recordings, and what a subclass adds."""
        return cls(**{name: pooled[name] for name in ("der", "false_alarm", "missed_detection", "confusion")}, **others)

    @property
    def scored(self) -> bootstrap.Scored:
        """Seconds of error and of reference speech by recording."""
        return scored_seconds(self.recordings)

    def check(self) -> None:
        """Raise ValueError if what was read from a study is not the DER of its recordings."""
        rates = (self.der, self.false_alarm, self.missed_detection, self.confusion)
        if not all(isinstance(rate, float) and math.isfinite(rate) for rate in rates):
            raise ValueError(f"a DER of {rates}")
        if abs((pooled := bootstrap.pooled_der(self.scored)) - self.der) > ROUNDING:
            raise ValueError(f"a DER of {self.der:g}, and of its recordings together {pooled:g}")
