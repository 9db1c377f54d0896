"""Ranges and conditions of the search, and the one function that turns a trial into an operating point.

To add a dimension: a field here with its range, one line in `suggest`, one in `params_of`, one in `outside`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, cast, get_args

from optuna.trial import BaseTrial, FixedTrial, FrozenTrial
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from objectives.operating_point import (
    CHUNK_LENGTH_RANGE,
    PRECISIONS,
    PRUNING_RATIO_RANGE,
    RIGHT_CONTEXT_RANGE,
    STRUCTURES,
    UNPRUNED,
    Mode,
    OperatingPoint,
    Precision,
    Pruning,
    Structure,
)

LookAhead = Literal["none", "some"]
LOOK_AHEADS: tuple[LookAhead, ...] = get_args(LookAhead)

PRUNING_RATIO_STEP = 0.05
# 0 itself is structure `none`, so the first step is the smallest ratio
PRUNING_RATIOS = (PRUNING_RATIO_STEP, PRUNING_RATIO_RANGE[1])

STREAMING_FIELDS = ("chunk_length", "look_ahead", "right_context")  # they mean nothing in the offline mode
FIXED_PARAMS = "fixed_params"  # the system attribute in which Optuna keeps an enqueued trial's parameters


def _as_range(value: object) -> object:
    """One number is a range of one value; the list of a TOML file is a tuple."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, value
    if not isinstance(value, list):
        return value
    if len(value) != 2:
        raise ValueError(f"has {len(value)} values: write [low, high], or one value without brackets")
    return tuple(value)


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


def _on_grid(value: tuple[float, float]) -> tuple[float, float]:
    if any(_between_steps(bound) for bound in value):
        raise ValueError(
            f"[{value[0]:g}, {value[1]:g}] does not start and end on a step: use multiples of {PRUNING_RATIO_STEP:g}"
        )
    return _ratio(value[0]), _ratio(value[1])


def _choices(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or len(set(value)) != len(value):
        raise ValueError(f"{list(value)} must name at least one choice, and each once")
    return value


class SearchSpace(BaseModel):
    """What a trial may be. Ranges are inclusive.

    mode: of every trial; `offline` has no C, no R and no look-ahead. chunk_length: C, right_context: R where there is
    look-ahead, both in seconds and searched on a log scale; R = 0 is `look_ahead = none`. pruning_ratio: where the
    structure is not `none`, in steps of 0.05. look_ahead, pruning_structure, precision: the choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    mode: Mode = "chunk-wise"
    chunk_length: Annotated[tuple[float, float], BeforeValidator(_as_range), _within(CHUNK_LENGTH_RANGE)] = (
        CHUNK_LENGTH_RANGE
    )
    look_ahead: Annotated[tuple[LookAhead, ...], AfterValidator(_choices)] = LOOK_AHEADS
    right_context: Annotated[tuple[float, float], BeforeValidator(_as_range), _within(RIGHT_CONTEXT_RANGE)] = (
        RIGHT_CONTEXT_RANGE
    )
    pruning_structure: Annotated[tuple[Structure, ...], AfterValidator(_choices)] = STRUCTURES
    pruning_ratio: Annotated[
        tuple[float, float], BeforeValidator(_as_range), _within(PRUNING_RATIOS), AfterValidator(_on_grid)
    ] = PRUNING_RATIOS
    precision: Annotated[tuple[Precision, ...], AfterValidator(_choices)] = PRECISIONS

    @model_validator(mode="after")
    def _offline_is_not_streamed(self) -> "SearchSpace":
        given = [name for name in STREAMING_FIELDS if getattr(self, name) != type(self).model_fields[name].default]
        if self.mode == "offline" and given:
            raise ValueError(f"the offline mode hears the whole recording first: leave {', '.join(given)} out")
        return self


def suggest(trial: BaseTrial, space: SearchSpace) -> OperatingPoint:
    """The operating point that `trial` stands for: the only place where parameters get their names and ranges."""
    chunk_length, right_context = 1.0, 0.0  # what an offline point has
    if space.mode == "chunk-wise":
        chunk_length = trial.suggest_float("chunk_length", *space.chunk_length, log=True)
        # R = 0 cannot live in a log range, so whether to look ahead at all is a choice of its own
        if trial.suggest_categorical("look_ahead", space.look_ahead) == "some":
            right_context = trial.suggest_float("right_context", *space.right_context, log=True)
    pruning = UNPRUNED
    structure = trial.suggest_categorical("pruning_structure", space.pruning_structure)
    if structure != "none":
        ratio = trial.suggest_float("pruning_ratio", *space.pruning_ratio, step=PRUNING_RATIO_STEP)
        pruning = Pruning(cast("Structure", structure), _ratio(ratio))
    precision = cast("Precision", trial.suggest_categorical("precision", space.precision))
    return OperatingPoint(chunk_length, right_context, pruning, precision, space.mode)


def params_of(point: OperatingPoint) -> dict[str, float | str]:
    """Parameters from which `suggest` makes `point` again: what is enqueued for a fixed point."""
    params: dict[str, float | str] = {}
    if point.mode == "chunk-wise":
        params["chunk_length"] = point.chunk_length
        params["look_ahead"] = "none" if point.right_context == 0.0 else "some"
        if point.right_context != 0.0:
            params["right_context"] = point.right_context
    params["pruning_structure"] = point.pruning.structure
    if point.pruning.structure != "none":
        params["pruning_ratio"] = point.pruning.ratio
    params["precision"] = point.precision
    return params


def recall(trial: FrozenTrial, space: SearchSpace) -> OperatingPoint | None:
    """The operating point of a stored trial, waiting ones included; None where its parameters were never all drawn
    (its driver died while asking)."""
    params: Mapping[str, object] = trial.system_attrs.get(FIXED_PARAMS, {}) | trial.params
    needed = {"pruning_structure", "precision"}
    if space.mode == "chunk-wise":
        needed |= {"chunk_length", "look_ahead"}
    if params.get("look_ahead") == "some":
        needed.add("right_context")
    if params.get("pruning_structure") != "none":
        needed.add("pruning_ratio")
    if not needed <= params.keys():
        return None
    return suggest(FixedTrial(dict(params)), space)


def outside(point: OperatingPoint, space: SearchSpace) -> str | None:
    """Why `point` is not in `space`, in words for an error; None where it is.

    Samplers learn from every trial: one outside the ranges would be a value that they cannot draw.
    """
    if point.mode != space.mode:
        return f"it is {point.mode}, and space.mode = {space.mode!r}"
    params = params_of(point)
    for name in ("chunk_length", "right_context", "pruning_ratio"):
        low, high = getattr(space, name)
        value = params.get(name)
        if isinstance(value, float) and not low <= value <= high:
            return f"{name} = {value:g} is outside space.{name} = [{low:g}, {high:g}]"
    if _between_steps(point.pruning.ratio):
        return f"pruning_ratio = {point.pruning.ratio:g} is no multiple of {PRUNING_RATIO_STEP:g}, its step"
    for name in ("look_ahead", "pruning_structure", "precision"):
        if name in params and params[name] not in getattr(space, name):
            return f"{name} = {params[name]!r} is not among space.{name} = {list(getattr(space, name))}"
    return None


def _ratio(value: float) -> float:
    """The hundredth that a stepped float stands for: Optuna's low + k × step drifts (0.15000000000000002)."""
    return round(value, 2)


def _between_steps(ratio: float) -> bool:
    steps = ratio / PRUNING_RATIO_STEP
    return abs(steps - round(steps)) > 1e-9
