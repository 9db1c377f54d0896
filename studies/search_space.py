"""Ranges and conditions of the search, and the one function that turns a trial into an operating point.

To add a dimension: a field here with its range, one line in `dimensions`, one in `suggest`, one in `params_of`.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Literal, cast, get_args

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from objectives.errors import quoted
from objectives.operating_point import (
    AS_TUNED,
    CHUNK_LENGTH_RANGE,
    ONLINE_RANGES,
    PRECISIONS,
    PRUNING_RATIO_RANGE,
    RIGHT_CONTEXT_RANGE,
    STRUCTURES,
    UNPRUNED,
    Mode,
    OnlineTracking,
    OperatingPoint,
    Precision,
    Pruning,
    Structure,
    Tracking,
)

LookAhead = Literal["none", "some"]
LOOK_AHEADS: tuple[LookAhead, ...] = get_args(LookAhead)

PRUNING_RATIO_STEP = 0.05
# 0 is structure `none`, so the first step is the smallest ratio
PRUNING_RATIOS = (PRUNING_RATIO_STEP, PRUNING_RATIO_RANGE[1])

PAUSES = "min_duration_off"
Thresholds = Literal["tuned", "searched"]
THRESHOLDS: tuple[Thresholds, ...] = get_args(Thresholds)
ONLINE_FIELDS = tuple(ONLINE_RANGES)  # meaningful only if speakers are tracked online
# meaningless in the offline mode
STREAMING_FIELDS = ("tracking", "chunk_length", "look_ahead", "right_context", *ONLINE_FIELDS)
ROUNDING = 1e-9  # relative, at a range's ends: samplers that compute with logarithms may end an ulp beyond
FIXED_PARAMS = "fixed_params"  # the system attribute in which Optuna keeps an enqueued trial's parameters


def _as_range(value: object) -> object:
    """Turn one number into a range of one value, and the list of a TOML file into a tuple."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, value
    if not isinstance(value, list):
        return value
    if len(value) != 2:
        raise ValueError(f"has {len(value)} values: write [low, high], or one value without brackets")
    return tuple(value)


def _as_choices(value: object) -> object:
    """Turn one choice into a tuple of one, and the list of a TOML file into a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _streaming(value: object) -> object:
    # studies made before the online mode existed say `chunk-wise`
    return "streaming" if value == "chunk-wise" else value


def _within(bounds: tuple[float, float]) -> AfterValidator:
    def check(value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is None:
            return None
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


Range = tuple[float, float]


class SearchSpace(BaseModel):
    """What a trial may be. Ranges are inclusive.

    mode: of every trial; `offline` has no C, no R and no look-ahead. tracking: how speakers get their names in the
    streaming mode, `chunk-wise`, `online` or both. chunk_length: C. right_context: R if there is look-ahead. Both are
    in seconds and searched on a log scale; R = 0 is `look_ahead = none`. pruning_ratio: if the structure is not `none`,
    in steps of 0.05. look_ahead, pruning_structure, precision: the choices. tau_active, rho_update, delta_new,
    min_duration_off: of the online mode (objectives.operating_point.OnlineTracking). One value is used by every trial;
    a range is searched in addition to points without it. If all three thresholds are None, the online mode has none;
    otherwise None stands for the embedding's own. Without min_duration_off no pauses are waited for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    mode: Annotated[Literal["streaming", "offline"], BeforeValidator(_streaming)] = "streaming"
    tracking: Annotated[tuple[Tracking, ...], BeforeValidator(_as_choices), AfterValidator(_choices)] = ("chunk-wise",)
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
    tau_active: Annotated[Range | None, BeforeValidator(_as_range), _within(ONLINE_RANGES["tau_active"])] = None
    rho_update: Annotated[Range | None, BeforeValidator(_as_range), _within(ONLINE_RANGES["rho_update"])] = None
    delta_new: Annotated[Range | None, BeforeValidator(_as_range), _within(ONLINE_RANGES["delta_new"])] = None
    min_duration_off: Annotated[
        Range | None, BeforeValidator(_as_range), _within(ONLINE_RANGES["min_duration_off"])
    ] = None

    @model_validator(mode="after")
    def _offline_is_not_streamed(self) -> "SearchSpace":
        given = [name for name in STREAMING_FIELDS if getattr(self, name) != type(self).model_fields[name].default]
        if self.mode == "offline" and given:
            raise ValueError(f"the offline mode hears the whole recording first: leave {', '.join(given)} out")
        return self

    @model_validator(mode="after")
    def _online_is_asked_for(self) -> "SearchSpace":
        given = [name for name in ONLINE_FIELDS if getattr(self, name) is not None]
        if given and self.mode == "streaming" and "online" not in self.tracking:
            raise ValueError(f'{", ".join(given)} mean something in the online mode only: add tracking = "online"')
        return self

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Modes of the operating points, that of the fixed points first."""
        return ("offline",) if self.mode == "offline" else self.tracking

    @property
    def online(self) -> OnlineTracking:
        """Tracking of the fixed points: the values that are not searched; None for those that are not set."""
        given = {name: getattr(self, name) for name in ONLINE_FIELDS}
        return OnlineTracking(**{name: ends[0] for name, ends in given.items() if ends and ends[0] == ends[1]})

    @property
    def opened_thresholds(self) -> tuple[str, ...]:
        """Thresholds of the online mode that are searched."""
        return tuple(name for name in ONLINE_FIELDS if name != PAUSES and self._is_opened(name))

    @property
    def thresholds_to_complete(self) -> OnlineTracking | None:
        """Thresholds of online points, of which the embedding must know those that are None; None without any."""
        searched = {name: getattr(self, name)[0] for name in self.opened_thresholds}
        given = replace(self.online, **searched)
        return None if "online" not in self.modes or given.by_clusters else given

    @property
    def opened_pauses(self) -> tuple[str, ...]:
        """The name of the pauses that the online mode waits for, if they are searched; otherwise empty."""
        return (PAUSES,) if self._is_opened(PAUSES) else ()

    def _is_opened(self, name: str) -> bool:
        ends = getattr(self, name)
        return ends is not None and ends[0] < ends[1]


EVERYTHING = SearchSpace()  # chunk-wise


@lru_cache(maxsize=16)
def dimensions(space: SearchSpace) -> Mapping[str, BaseDistribution]:
    """Return every parameter that a trial of `space` may have, by name: the only place that sets their ranges."""
    found: dict[str, BaseDistribution] = {}
    if space.mode == "streaming":
        if space.tracking != ("chunk-wise",):
            found["tracking"] = CategoricalDistribution(space.tracking)
        found["chunk_length"] = FloatDistribution(*space.chunk_length, log=True)
        found["look_ahead"] = CategoricalDistribution(space.look_ahead)
        if "some" in space.look_ahead:
            found["right_context"] = FloatDistribution(*space.right_context, log=True)
    found["pruning_structure"] = CategoricalDistribution(space.pruning_structure)
    if space.pruning_structure != ("none",):
        found["pruning_ratio"] = FloatDistribution(*space.pruning_ratio, step=PRUNING_RATIO_STEP)
    found["precision"] = CategoricalDistribution(space.precision)
    if space.opened_thresholds:
        found["thresholds"] = CategoricalDistribution(THRESHOLDS)
    for name in (*space.opened_thresholds, *space.opened_pauses):
        found[name] = FloatDistribution(*getattr(space, name))
    return MappingProxyType(found)


def suggest(trial: BaseTrial, space: SearchSpace) -> OperatingPoint:
    """Return the operating point that `trial` stands for: the only place that says which parameters it has."""
    known = dimensions(space)

    def choice(name: str) -> str:
        return str(trial.suggest_categorical(name, cast("CategoricalDistribution", known[name]).choices))

    def number(name: str) -> float:
        dimension = cast("FloatDistribution", known[name])
        return float(trial.suggest_float(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log))

    chunk_length, right_context = 1.0, 0.0  # those of an offline point
    mode, online = space.modes[0], AS_TUNED
    if space.mode == "streaming":
        if "tracking" in known:
            mode = cast("Tracking", choice("tracking"))
        chunk_length = number("chunk_length")
        # R = 0 has no place in a log range, so whether to look ahead at all is a choice of its own
        if choice("look_ahead") == "some":
            right_context = number("right_context")
    pruning = UNPRUNED
    structure = choice("pruning_structure")
    if structure != "none":
        pruning = Pruning(cast("Structure", structure), _ratio(number("pruning_ratio")))
    precision = cast("Precision", choice("precision"))
    if mode == "online":
        # no threshold is not part of a range, so whether to search one is a choice of its own; `tuned` is without
        searched = space.opened_thresholds and choice("thresholds") == "searched"
        names = (*(space.opened_thresholds if searched else ()), *space.opened_pauses)
        online = replace(space.online, **{name: number(name) for name in names})
    return OperatingPoint(chunk_length, right_context, pruning, precision, mode, online)


def params_of(point: OperatingPoint, space: SearchSpace = EVERYTHING) -> dict[str, float | str]:
    """Return parameters from which `suggest` makes `point` again: what is enqueued for a fixed point."""
    params: dict[str, float | str] = {}
    if point.streamed and space.tracking != ("chunk-wise",):
        params["tracking"] = point.mode
    if point.mode == "online":
        searched = [name for name in space.opened_thresholds if getattr(point.online, name) is not None]
        if space.opened_thresholds:
            params["thresholds"] = "searched" if searched else "tuned"
        params |= {name: getattr(point.online, name) for name in (*searched, *space.opened_pauses)}
    if point.streamed:
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
    """Return the operating point of a stored trial, waiting ones included; None if its parameters were never all drawn
    (its driver died while asking), or are not of this space (another program wrote them)."""
    queued = trial.system_attrs.get(FIXED_PARAMS, {})
    params: dict[str, object] = (dict(queued) if isinstance(queued, Mapping) else {}) | trial.params
    if any(why_not(name, value, space) for name, value in params.items()):
        return None
    try:
        return suggest(FixedTrial(params), space)
    except ValueError:  # a required parameter is missing
        return None


def why_not(name: str, value: object, space: SearchSpace) -> str | None:
    """Say why a parameter is not one of a trial of `space`; None if it may be. value: as another program wrote it."""
    known = dimensions(space)
    if name not in known:
        return f"{quoted(name)} is not a parameter of this study: use {', '.join(known)}"
    dimension = known[name]
    if isinstance(dimension, CategoricalDistribution):
        if isinstance(value, str) and value in dimension.choices:
            return None
        return f"{name} = {quoted(value)} is not among space.{name} = {list(dimension.choices)}"
    assert isinstance(dimension, FloatDistribution), "there is no other kind"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return f"{name} = {quoted(value)} is not a number"
    if not dimension.low * (1 - ROUNDING) <= value <= dimension.high * (1 + ROUNDING):  # NaN is not in any range
        return f"{name} = {quoted(value)} is outside space.{name} = [{dimension.low:g}, {dimension.high:g}]"
    if dimension.step is not None and _between_steps(value):
        return f"{name} = {value:g} is not a multiple of {dimension.step:g}, its step"
    return None


def outside(point: OperatingPoint, space: SearchSpace) -> str | None:
    """Say why `point` is not in `space`, in words for an error; None if it is.

    Samplers learn from every trial: one outside the ranges would be a value that they cannot draw.
    """
    if point.streamed != (space.mode == "streaming"):
        return f"it is {point.mode}, and space.mode = {space.mode!r}"
    if point.mode not in space.modes:
        return f"tracking = {point.mode!r} is not among space.tracking = {list(space.tracking)}"
    found = (why_not(name, value, space) for name, value in params_of(point, space).items())
    return next(filter(None, found), None)


def _ratio(value: float) -> float:
    """Round to the hundredth that a stepped float stands for: Optuna's low + k × step drifts (0.15000000000000002)."""
    return round(value, 2)


def _between_steps(ratio: float) -> bool:
    steps = ratio / PRUNING_RATIO_STEP
    return abs(steps - round(steps)) > 1e-9
