"""What a user can afford, which candidates keep it, and by how much it is missed where none does."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from objectives.errors import StudyError

# 0.1 s + 0.2 s of latency keep a budget of 0.3 s
ROUNDING = 1e-9
UNITS = {"latency": "s", "size": "MiB", "rtf": "", "der": "%"}
NAMES = {"latency": "latency", "size": "size", "rtf": "RTF", "der": "DER"}

Values = Mapping[str, float]  # what a candidate has of each: latency s, size MiB, rtf, der %; no latency offline


@dataclass(frozen=True)
class Budgets:
    """The most that a user can live with; None for no budget.

    latency: seconds, C + R and the pauses that the online mode waits for. size: MiB. rtf: seconds of compute per second
    of audio, median. der_increase: a share of the baseline's DER, 0.05 for 5 % more errors.

    Raises StudyError where a budget is no positive number (der_increase may be 0).
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
            raise StudyError(f"--max-der-increase: {self.der_increase:g} is no increase: use 0 or more, such as 5%")

    def limits(self, baseline_der: float | None) -> dict[str, float]:
        """The largest value of each that is within budget; `der` in percent, from that of the baseline.

        Raises StudyError where the baseline's DER is needed and None.
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
    """The share of the baseline's DER that a user typed: 0.05 for `5%`, `5` and `0.05`.

    With % it is percent. A bare number below 1 is a share, from 1 on percent: `0.5` is 50 %, `0.5%` a half percent.
    Raises StudyError for anything else: points (`5pp`) would mean something else for another baseline.
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
    """By how much a value passes a limit, as a share of the limit; at most 0 where it is kept. Of a limit of 0 (no
    more errors than a baseline that makes none) there is no share: then the value itself."""
    share = value / limit - 1.0 if limit > 0 else value
    return min(0.0, share) if value <= limit * (1.0 + ROUNDING) else share


def keeps(limits: Values, values: Values) -> bool:
    """Whether every limit is kept."""
    return all(excess(limit, values[name]) <= 0 for name, limit in limits.items())


@dataclass(frozen=True)
class Miss:
    """One budget that no candidate keeps together with the others.

    reachable: the least value among candidates that keep all the others, and `trial` which has it; None where no
    candidate keeps the others. excess: by how much that value passes the limit, as a share of it.
    """

    budget: str
    limit: float
    reachable: float | None
    trial: int | None
    excess: float | None


@dataclass(frozen=True)
class Shortfall:
    """Why no candidate is within the budgets. misses: one for each budget.

    nearest: the trial whose largest excess is the smallest; excesses: by how much it passes each budget that it passes,
    as a share of the limit.
    """

    misses: tuple[Miss, ...]
    nearest: int
    excesses: Values


def shortfall(limits: Values, candidates: Mapping[int, Values]) -> Shortfall:
    """By how much the budgets are missed. candidates: by number of the trial, at least one, and none keeps them all."""
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
    """`latency ≤ 1 s`."""
    return f"{NAMES[name]} ≤ {limit:.4g} {UNITS[name]}".rstrip()


def within(limits: Values) -> str:
    """All limits, in words; empty without any."""
    return ", ".join(in_words(name, limit) for name, limit in limits.items())
