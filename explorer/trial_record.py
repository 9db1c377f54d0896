"""What a trial carries besides its parameters: written in one place, named in one place."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from objectives.errors import EvaluationError
from objectives.operating_point import OperatingPoint

if TYPE_CHECKING:  # they bring torch and pyannote, which neither the front nor the status of a study should wait for
    from objectives.evaluation import Measurement
    from objectives.scoring import ErrorCounts

METRIC_NAMES = ("DER (%)", "size (MiB)", "RTF")
SEARCH = "search"  # origin of what a sampler proposed; every other origin is a fixed point's

# Attributes that belong to one trial's own story; the others describe its measurement and go with it when it is reused.
ORIGIN = "origin"
ERROR = "error"
SECONDS = "seconds"
REUSED_FROM = "reused_from"

CONSTRAINTS = "constraints"  # the system attribute that optuna-dashboard reads


def origin_of(trial: FrozenTrial) -> str:
    """Origin of a trial; one that died before it was named came from the sampler."""
    return str(trial.user_attrs.get(ORIGIN, SEARCH))


def values_of(measurement: "Measurement") -> tuple[float, float, float]:
    """(DER %, size MiB, RTF). Raises EvaluationError where one is not a finite number: no sampler learns from that."""
    if measurement.pooled.total <= 0:
        raise EvaluationError("no reference speech was scored, so there is no DER: check the corpus' RTTM and UEM")
    values = (measurement.pooled.der, measurement.size_mib, measurement.timing.median)
    for name, value in zip(METRIC_NAMES, values, strict=True):
        if not math.isfinite(value):
            raise EvaluationError(f"{name} is {value}, which no sampler can learn from: see the recordings' counts")
    return values


def latency_of(point: OperatingPoint) -> float | None:
    """C + R in seconds; None in the offline mode, whose infinity is no JSON."""
    return point.latency if math.isfinite(point.latency) else None


def attributes_of(measurement: "Measurement") -> dict[str, Any]:
    """What is kept of a measurement beside its three values, as JSON. Seconds, percent and bytes as the keys say."""
    timing = measurement.timing
    low, high = timing.spread
    updates, shares = timing.update_latency, timing.stage_shares
    point = measurement.operating_point
    return {
        "latency": latency_of(point),
        "pruning": str(point.pruning),
        "kept_units": dict(measurement.kept),
        "der": _errors(measurement.pooled),
        "recordings": {uri: _errors(counts) for uri, counts in measurement.counts.items()},
        "rtf_repeats": list(timing.rtf),
        "rtf_baseline_repeats": list(timing.baseline_rtf),
        "rtf_spread": [low, high],
        "rtf_ratio": timing.ratio,
        "threads": timing.threads,
        "update_latency": updates and asdict(updates),
        "stage_shares": shares and dict(shares),
        "peak_memory_mib": timing.peak_memory_mib,
        "execution": measurement.execution,
        "model_key": measurement.model_key,
        "params": measurement.params,
        "size_bytes": measurement.size_bytes,
        "story": dict(measurement.story),
        "machine": dict(measurement.machine),
    }


def measured_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """The attributes of a finished trial that describe its measurement, for another trial of the same point."""
    own = {ORIGIN, ERROR, SECONDS, REUSED_FROM}
    return {key: value for key, value in trial.user_attrs.items() if key not in own}


def excesses(limits: Mapping[str, float], latency: float, values: tuple[float, float, float]) -> dict[str, float]:
    """By how much each limit is passed, as a share of the limit: at most 0 where it is kept.

    A share, so that samplers, which add excesses up, weigh a second of latency and a percent of DER alike.
    """
    der, size, rtf = values
    reached = {"latency": latency, "der": der, "size": size, "rtf": rtf}
    return {name: reached[name] / limit - 1.0 for name, limit in limits.items()}


def exceeded(trial: FrozenTrial) -> tuple[str, ...]:
    """Names of the limits that a complete trial passes."""
    # Optuna also lists the dashboard's copy, under the numbers "0", "1", ...
    return tuple(name for name, excess in trial.constraints.items() if excess > 0 and not name.isdigit())


def is_measured(trial: FrozenTrial) -> bool:
    """Complete by an evaluation of its own, not by reuse."""
    return trial.state is TrialState.COMPLETE and REUSED_FROM not in trial.user_attrs


def _errors(counts: "ErrorCounts") -> dict[str, float | None]:
    """Errors in seconds and in percent of scored speech; None percent where nothing was scored."""
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
