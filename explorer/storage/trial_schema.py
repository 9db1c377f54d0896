"""Validate the attributes of stored trials.

They are rows of a database, which others may change, truncate or share. Each trial is checked once, when it is read, so
that a damaged one is left out and reported instead of causing an error elsewhere. Whether the figures are true is
checked by `explorer verify`.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from explorer.storage import trial_record as record
from explorer.storage.study_record import complaint
from objectives.errors import quoted
from objectives.measurement import DATA

REQUIRED = (  # of a complete trial
    record.POOLED, record.EXECUTION, record.KEPT_UNITS, record.LATENCY, record.MACHINE, record.MODEL_KEY, record.PARAMS,
    record.RECORDINGS, record.RTF_REPEATS, record.RTF_RATIO, record.RTF_SPREAD, record.THREADS,
)  # fmt: skip
KEPT = {  # attributes of every trial in that state
    TrialState.COMPLETE: REQUIRED,
    TrialState.PRUNED: (record.STOP,),
}
CLOSE = 1e-6  # tolerance between a stored sum and the sum of its parts, for rounding


def _writable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it is not text that can be written") from error
    return value


def _in_a_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it holds what cannot be printed in a line")
    return value


Text = Annotated[str, AfterValidator(_writable)]
Name = Annotated[Text, AfterValidator(_in_a_line)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Amount = Annotated[float, Field(ge=0.0)]
Texts = dict[Text, Text]  # not names: a value may be a folder, whose name may hold any character


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Errors(_Strict):
    """Errors of a recording or of all, as `trial_record.errors_of` writes them."""

    der: Amount | None
    false_alarm: Amount | None
    missed_detection: Amount | None
    confusion: Amount | None
    false_alarm_seconds: Amount
    missed_detection_seconds: Amount
    confusion_seconds: Amount
    total_seconds: Amount

    @model_validator(mode="after")
    def _adds_up(self) -> "_Errors":
        seconds = self.false_alarm_seconds, self.missed_detection_seconds, self.confusion_seconds
        if self.total_seconds > 0:
            rates = self.der, self.false_alarm, self.missed_detection, self.confusion
            made = 100.0 * math.fsum(seconds), *(100.0 * part for part in seconds)
            if not all(
                rate is not None and _close(rate, percent / self.total_seconds)
                for rate, percent in zip(rates, made, strict=True)
            ):
                raise ValueError("its percentages are not those of its seconds")
        return self


class _Updates(_Strict):
    median: Amount
    p95: Amount
    p99: Amount
    updates: Count


class _Stop(_Strict):
    kind: Name
    reason: Text
    latency: Amount | None = None
    least_der: float | None = None


class TrialAttributes(_Strict):
    """All attributes of a trial that explorer reads. Defaults stand for absent attributes."""

    origin: Name = record.SEARCH
    error: Text | None = None
    refused: bool = False
    seconds: float = 0.0
    reused_from: Count = 0
    latency: Annotated[float, Field(gt=0.0)] | None = None
    pruning: Name = ""
    kept_units: dict[Name, Count] = {}
    recordings: dict[Text, _Errors] = {}
    execution: Literal["native", "emulated"] = "native"
    kernel: Name | None = None
    model_key: Name = ""
    model_sha256: Name | None = None
    params: Count = 0
    size_bytes: Count = 0
    story: dict[Name, Any] = {}
    machine: Texts = {}
    data: Texts | None = None
    versions: Texts | None = None
    rtf_repeats: Annotated[list[Amount], Field(min_length=1)] = [0.0]
    rtf_baseline_repeats: list[Amount] = []
    rtf_spread: Annotated[list[Amount], Field(min_length=2, max_length=2)] = [0.0, 0.0]
    rtf_ratio: Amount = 0.0
    threads: Count = 0
    update_latency: _Updates | None = None
    stage_shares: dict[Name, Amount] | None = None
    peak_memory_mib: Amount | None = None
    der: _Errors | None = None
    stop: _Stop | None = None

    @model_validator(mode="after")
    def _is_timed_whole(self) -> "TrialAttributes":
        timed = {record.RTF_REPEATS, record.RTF_SPREAD, record.RTF_RATIO}
        if lacking := timed - self.model_fields_set if timed & self.model_fields_set else ():
            raise ValueError(f"it was timed, and {', '.join(sorted(lacking))} is not there")
        return self


def fault(trial: FrozenTrial, whole: bool) -> str | None:
    """Return why a trial is invalid, in words that name the attribute and its value; None if it is valid.

    whole: whether the trial was read with all of its attributes. A trial that waits or runs is not checked.
    """
    if not trial.state.is_finished():
        return None
    try:
        TrialAttributes.model_validate(trial.user_attrs)
    except ValidationError as error:
        return unreadable((error.errors()[0]["loc"] or ("all",))[0], error)
    for name, excess in trial.system_attrs.items():
        parts = excess if isinstance(excess, list) else [excess]
        if name.startswith(record.CONSTRAINTS) and not all(_is_number(part) for part in parts):
            return unreadable(name, f"{quoted(excess)} is not a number")
    if whole and (absent := [name for name in KEPT.get(trial.state, ()) if name not in trial.user_attrs]):
        return lacks(absent)
    return _fault_of_values(trial) if trial.state is TrialState.COMPLETE else None


def unreadable(attribute: object, why: object) -> str:
    """Return the reason for leaving out a trial whose attribute cannot be read."""
    return f"its attribute {str(attribute)!r} cannot be read ({complaint(why)})"


def lacks(absent: Sequence[str]) -> str:
    """Return the reason for leaving out a trial that lacks attributes which `explorer run` writes in its state."""
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    return f"it has no attribute {absent[0]!r}{more}, which `explorer run` keeps of every such trial"


def _fault_of_values(trial: FrozenTrial) -> str | None:
    """Return why the values of a complete trial are invalid; None if they are valid."""
    values = tuple(trial.values or ())
    if len(values) != len(record.METRIC_NAMES) or not all(map(math.isfinite, values)):
        return f"its values are {quoted(list(values))} and not DER, size and RTF"
    der, size, rtf = values
    if not (der >= 0 and size > 0 and rtf > 0):
        return f"its DER of {der:g} %, size of {size:g} MiB and RTF of {rtf:g} cannot be"
    return None


def unlike_the_others(trials: Iterable[FrozenTrial]) -> dict[int, str]:
    """Find the complete trials that were scored on other recordings, or measured with other data, than most of these.

    Returns the reasons by number. A study's data never change, and such trials cannot be compared with the others.
    trials: read whole.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    found: dict[int, str] = {}
    for key in DATA:  # a trial of an earlier version does not say
        used = {
            trial.number: data[key] for trial in complete if key in (data := trial.user_attrs.get(record.DATA) or {})
        }
        odd = _unusual(used)
        found |= {number: f"it was measured with another {key} ({quoted(used[number])})" for number in odd}
    scored = {trial.number: frozenset(trial.user_attrs[record.RECORDINGS]) for trial in complete}
    for number in _unusual(scored):
        named = ", ".join(sorted(scored[number])[:3])
        found[number] = f"it was scored on other recordings than the study's trials ({named})"
    return found


def _unusual(values: Mapping[int, Hashable]) -> list[int]:
    """Return the numbers whose value is not the most common one; in a tie, the first value counts as that."""
    if len(set(values.values())) < 2:
        return []
    usual, _ = Counter(values.values()).most_common(1)[0]
    return [number for number, value in values.items() if value != usual]


def _close(stored: float, expected: float) -> bool:
    return math.isclose(stored, expected, rel_tol=CLOSE, abs_tol=CLOSE)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
