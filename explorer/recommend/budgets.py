"""A user's budgets, which candidates keep them, and by how much they are missed if none does."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from objectives.errors import StudyError

# tolerance: 0.1 s + 0.2 s of latency keep a budget of 0.3 s
ROUNDING = 1e-9
UNITS = {"latency": "s", "size": "MiB", "rtf": "", "der": "%"}
NAMES = {"latency": "latency", "size": "size", "rtf": "RTF", "der": "DER"}

Values = Mapping[str, float]  # a candidate's latency (s), size (MiB), rtf and der (%); no latency offline


@dataclass(frozen=True)
class Budgets:
    """The largest values that a user accepts; None for no budget.

    latency: seconds, C + R plus the pauses that the online mode waits for. size: MiB. rtf: seconds of compute per
    second of audio, median. der_increase: a share of the baseline's DER, 0.05 for 5 % more errors.

    Raises StudyError if a budget is not a positive number (der_increase may be 0).
    """

    latency: float | None = None
    size: float | None = None
    rtf: float | None = None
    der_increase: float | None = None

    def __post_init__(self) -> None:
        for name, unit in (("latency", "seconds"), ("size", "MiB"), ("rtf", "compute per second of audio")):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise StudyError(f"--max-{name} {value:g}: use a positive number ({unit})")
        if self.der_increase is not None and not (math.isfinite(self.der_increase) and self.der_increase >= 0):
            raise StudyError(f"--max-der-increase: {self.der_increase:g} is not an increase: use 0 or more, such as 5%")

    def limits(self, baseline_der: float | None) -> dict[str, float]:
        """Return the largest value of each quantity that is within budget; `der` in percent, from the baseline's.

        Raises StudyError if the baseline's DER is needed and None.
        """
        given = {name: value for name in ("latency", "size", "rtf") if (value := getattr(self, name)) is not None}
        if self.der_increase is not None:
            if baseline_der is None:
                raise StudyError(
                    "--max-der-increase is relative to the baseline, which is not measured yet: run the study first, "
                    "or leave it out"
                )
            given["der"] = (1.0 + self.der_increase) * baseline_der
        return given


def der_increase(text: str) -> float:
    """Parse the share of the baseline's DER that a user typed: 0.05 for `5%`, `5` and `0.05`.

    With % it is percent. A bare number below 1 is a share; from 1 up it is percent: `0.5` is 50 %, `0.5%` half a
    percent. Raises StudyError for anything else: points (`5pp`) would mean something else for another baseline.
    """
    number = text.strip().removesuffix("%").rstrip()
    try:
        value = float(number)
    except ValueError as error:
        raise StudyError(
            f"--max-der-increase {text!r}: use percent of the baseline's DER, such as 5%, or a share, such as 0.05; "
            "points of DER are not taken"
        ) from error
    if not (math.isfinite(value) and value >= 0):
        raise StudyError(f"--max-der-increase {text!r}: use 0 or more, such as 5%")
    return value if number == text.strip() and value < 1 else value / 100.0


def excess(limit: float, value: float) -> float:
    """Return by how much a value exceeds a limit, as a share of the limit; at most 0 if it is kept. A limit of 0 (no
    more errors than a baseline that makes none) has no share: then return the value itself."""
    share = value / limit - 1.0 if limit > 0 else value
    return min(0.0, share) if value <= limit * (1.0 + ROUNDING) else share


def keeps(limits: Values, values: Values) -> bool:
    """Return whether every limit is kept."""
    return all(excess(limit, values[name]) <= 0 for name, limit in limits.items())


@dataclass(frozen=True)
class Miss:
    """One budget that no candidate keeps together with the others.

    reachable: the least value among candidates that keep all the others, and `trial`, which has it; None if no
    candidate keeps the others. excess: by how much that value exceeds the limit, as a share of it.
    """

    budget: str
    limit: float
    reachable: float | None
    trial: int | None
    excess: float | None


@dataclass(frozen=True)
class Shortfall:
    """Why no candidate is within the budgets. misses: one per budget.

    nearest: the trial whose largest excess is the smallest. excesses: by how much it exceeds each budget that it
    exceeds, as a share of the limit.
    """

    misses: tuple[Miss, ...]
    nearest: int
    excesses: Values


def shortfall(limits: Values, candidates: Mapping[int, Values]) -> Shortfall:
    """Return by how much the budgets are missed. candidates: by trial number, at least one; none keeps them all."""
    misses = []
    for name, limit in limits.items():
        others = {other: value for other, value in limits.items() if other != name}
        able = [(values[name], trial) for trial, values in candidates.items() if keeps(others, values)]
        value, trial = min(able) if able else (None, None)
        misses.append(Miss(name, limit, value, trial, None if value is None else excess(limit, value)))
    over = {trial: _excesses(limits, values) for trial, values in candidates.items()}
    nearest = min(over, key=lambda trial: (max(over[trial].values()), math.fsum(over[trial].values()), trial))
    return Shortfall(tuple(misses), nearest, over[nearest])


def _excesses(limits: Values, values: Values) -> dict[str, float]:
    return {name: more for name, limit in limits.items() if (more := excess(limit, values[name])) > 0}


def in_words(name: str, limit: float) -> str:
    """Format a limit: `latency ≤ 1 s`."""
    return f"{NAMES[name]} ≤ {limit:.4g} {UNITS[name]}".rstrip()


def within(limits: Values) -> str:
    """Return all limits in words; empty if there are none."""
    return ", ".join(in_words(name, limit) for name, limit in limits.items())
