"""Ranges and conditions of the search, and the one function that turns a trial into an operating point.

To add a dimension: a field here with its range, one line in `suggest`, one in `params_of`, one in `outside`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, cast, get_args

from optuna.trial import BaseTrial, FixedTrial, FrozenTrial
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from objectives.operating_point import CHUNK_LENGTH_RANGE, PRECISIONS, RIGHT_CONTEXT_RANGE, OperatingPoint, Precision

LookAhead = Literal["none", "some"]
LOOK_AHEADS: tuple[LookAhead, ...] = get_args(LookAhead)

FIXED_PARAMS = "fixed_params"  # the system attribute in which Optuna keeps an enqueued trial's parameters


def _as_range(value: object) -> object:
    """One number is a range of one value; the list of a TOML file is a tuple."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, value
    return tuple(value) if isinstance(value, list) else value


def _within(bounds: tuple[float, float]) -> AfterValidator:
    def check(value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not bounds[0] <= low <= high <= bounds[1]:
            raise ValueError(
                f"[{low:g}, {high:g}] is not a range inside the design space: "
                f"use [low, high] with {bounds[0]:g} <= low <= high <= {bounds[1]:g}, or one value"
            )
        return value

    return AfterValidator(check)


def _choices(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or len(set(value)) != len(value):
        raise ValueError(f"{list(value)} must name at least one choice, and each once")
    return value


class SearchSpace(BaseModel):
    """What a trial may be. Ranges are inclusive, in seconds, and searched on a log scale; R = 0 is `look_ahead = none`.

    chunk_length: C. right_context: R where there is look-ahead. look_ahead, precision: the choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    chunk_length: Annotated[tuple[float, float], BeforeValidator(_as_range), _within(CHUNK_LENGTH_RANGE)] = (
        CHUNK_LENGTH_RANGE
    )
    look_ahead: Annotated[tuple[LookAhead, ...], AfterValidator(_choices)] = LOOK_AHEADS
    right_context: Annotated[tuple[float, float], BeforeValidator(_as_range), _within(RIGHT_CONTEXT_RANGE)] = (
        RIGHT_CONTEXT_RANGE
    )
    precision: Annotated[tuple[Precision, ...], AfterValidator(_choices)] = PRECISIONS


def suggest(trial: BaseTrial, space: SearchSpace) -> OperatingPoint:
    """The operating point that `trial` stands for: the only place where parameters get their names and ranges."""
    chunk_length = trial.suggest_float("chunk_length", *space.chunk_length, log=True)
    right_context = 0.0
    # R = 0 cannot live in a log range, so whether to look ahead at all is a choice of its own
    if trial.suggest_categorical("look_ahead", space.look_ahead) == "some":
        right_context = trial.suggest_float("right_context", *space.right_context, log=True)
    precision = trial.suggest_categorical("precision", space.precision)
    return OperatingPoint(
        chunk_length=chunk_length, right_context=right_context, precision=cast("Precision", precision)
    )


def params_of(point: OperatingPoint) -> dict[str, float | str]:
    """Parameters from which `suggest` makes `point` again: what is enqueued for a fixed point."""
    params: dict[str, float | str] = {
        "chunk_length": point.chunk_length,
        "look_ahead": "none" if point.right_context == 0.0 else "some",
        "precision": point.precision,
    }
    if point.right_context != 0.0:
        params["right_context"] = point.right_context
    return params


def recall(trial: FrozenTrial, space: SearchSpace) -> OperatingPoint | None:
    """The operating point of a stored trial, waiting ones included; None where its parameters were never all drawn
    (its driver died while asking)."""
    params: Mapping[str, object] = trial.system_attrs.get(FIXED_PARAMS, {}) | trial.params
    needed = {"chunk_length", "look_ahead", "precision"}
    if params.get("look_ahead") == "some":
        needed.add("right_context")
    if not needed <= params.keys():
        return None
    return suggest(FixedTrial(dict(params)), space)


def outside(point: OperatingPoint, space: SearchSpace) -> str | None:
    """Why `point` is not in `space`, in words for an error; None where it is.

    Samplers learn from every trial: one outside the ranges would be a value that they cannot draw.
    """
    params = params_of(point)
    for name in ("chunk_length", "right_context"):
        low, high = getattr(space, name)
        if name in params and not low <= params[name] <= high:
            return f"{name} = {params[name]:g} is outside space.{name} = [{low:g}, {high:g}]"
    for name in ("look_ahead", "precision"):
        if params[name] not in getattr(space, name):
            return f"{name} = {params[name]!r} is not among space.{name} = {list(getattr(space, name))}"
    return None
