"""Ranges, conditions, and the round trip between trials and operating points."""

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial
from pydantic import ValidationError

from objectives.operating_point import (
    CHUNK_LENGTH_RANGE,
    OFFLINE_BASELINE,
    ONLINE_RANGES,
    PRECISIONS,
    RIGHT_CONTEXT_RANGE,
    STRUCTURES,
    TRACKINGS,
    UNPRUNED,
    OnlineTracking,
    OperatingPoint,
    Pruning,
)
from studies.search_space import LOOK_AHEADS, SearchSpace, outside, params_of, recall, suggest

RATIOS = [round(0.05 * step, 2) for step in range(1, 20)]  # 0.05 … 0.95

prunings = st.just(UNPRUNED) | st.builds(
    Pruning, st.sampled_from([s for s in STRUCTURES if s != "none"]), st.sampled_from(RATIOS)
)
streamed = st.builds(
    OperatingPoint,
    chunk_length=st.floats(*CHUNK_LENGTH_RANGE),
    right_context=st.just(0.0) | st.floats(*RIGHT_CONTEXT_RANGE),
    pruning=prunings,
    precision=st.sampled_from(PRECISIONS),
)
opened = st.builds(
    OnlineTracking,
    **{name: st.floats(*bounds) for name, bounds in ONLINE_RANGES.items() if name != "min_duration_off"},
)
tracked = st.just(OnlineTracking()) | opened
online = st.builds(
    lambda point, tracking, pauses: replace(point, mode="online", online=replace(tracking, min_duration_off=pauses)),
    streamed,
    tracked,
    st.just(0.0) | st.floats(*ONLINE_RANGES["min_duration_off"]),
)
offline = st.builds(OperatingPoint, pruning=prunings, precision=st.sampled_from(PRECISIONS), mode=st.just("offline"))
points = streamed | online | offline


def some_range(bounds: tuple[float, float]) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(*bounds), st.floats(*bounds)).map(lambda pair: (min(pair), max(pair)))


def some_of(choices: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(choices), min_size=1, unique=True).map(tuple)


models = {
    "pruning_structure": some_of(STRUCTURES),
    "pruning_ratio": st.tuples(st.sampled_from(RATIOS), st.sampled_from(RATIOS)).map(lambda p: (min(p), max(p))),
    "precision": some_of(PRECISIONS),
}
spaces = st.builds(SearchSpace, mode=st.just("offline"), **models) | st.builds(
    SearchSpace,
    chunk_length=some_range(CHUNK_LENGTH_RANGE),
    right_context=some_range(RIGHT_CONTEXT_RANGE),
    look_ahead=some_of(LOOK_AHEADS),
    **models,
)
spaces |= st.builds(
    SearchSpace,
    tracking=st.sampled_from([("online",), ("chunk-wise", "online"), ("online", "chunk-wise")]),
    **{name: st.none() | some_range(bounds) for name, bounds in ONLINE_RANGES.items()},
    **models,
)


def asked(space: SearchSpace, **choices: str) -> dict[str, BaseDistribution]:
    """What a sampler is asked for, by the name of the parameter, in the order in which it is, after these choices."""
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(choices)
    trial = study.ask()
    suggest(trial, space)
    return trial.distributions


MODEL = {
    "pruning_structure": CategoricalDistribution(("none", "hidden", "linear", "both")),
    "precision": CategoricalDistribution(("fp32", "fp16", "int8_ptq", "int8_qat", "int4_ptq", "int4_qat")),
}
STREAMED = {
    "chunk_length": FloatDistribution(0.02, 5.0, log=True),
    "look_ahead": CategoricalDistribution(("none", "some")),
}
RIGHT_CONTEXT = {"right_context": FloatDistribution(0.01, 5.0, log=True)}
PRUNING_RATIO = {"pruning_ratio": FloatDistribution(0.05, 0.95, step=0.05)}
BOTH_MODES = {"tracking": CategoricalDistribution(("online", "chunk-wise"))}
THRESHOLDS = {"thresholds": CategoricalDistribution(("tuned", "searched"))}
PAUSES = {"min_duration_off": FloatDistribution(0.0, 2.0)}
SEARCHED = {
    "tau_active": FloatDistribution(0.1, 0.9),
    "rho_update": FloatDistribution(0.05, 0.95),
    "delta_new": FloatDistribution(0.2, 1.4),
}
OFFLINE = SearchSpace(mode="offline")
OPENED = SearchSpace(
    tracking=("online", "chunk-wise"),
    tau_active=(0.1, 0.9),
    rho_update=(0.05, 0.95),
    delta_new=(0.2, 1.4),
    min_duration_off=(0.0, 2.0),
)
PLAIN = {"look_ahead": "none", "pruning_structure": "none"}


@pytest.mark.parametrize(
    ("space", "choices", "expected"),
    [
        (SearchSpace(), PLAIN, STREAMED | MODEL),
        (SearchSpace(), {**PLAIN, "look_ahead": "some"}, STREAMED | RIGHT_CONTEXT | MODEL),
        (SearchSpace(), {**PLAIN, "pruning_structure": "both"}, STREAMED | MODEL | PRUNING_RATIO),
        (OFFLINE, PLAIN, MODEL),
        (OFFLINE, {"pruning_structure": "hidden"}, MODEL | PRUNING_RATIO),
        (SearchSpace(tracking="online"), PLAIN, {"tracking": CategoricalDistribution(("online",))} | STREAMED | MODEL),
        (OPENED, {**PLAIN, "tracking": "chunk-wise"}, BOTH_MODES | STREAMED | MODEL),
        (
            OPENED,
            {**PLAIN, "tracking": "online", "thresholds": "tuned"},
            BOTH_MODES | STREAMED | MODEL | THRESHOLDS | PAUSES,
        ),
        (
            OPENED,
            {**PLAIN, "tracking": "online", "thresholds": "searched"},
            BOTH_MODES | STREAMED | MODEL | THRESHOLDS | SEARCHED | PAUSES,
        ),
        (
            SearchSpace(
                chunk_length=(0.1, 2.0), right_context=0.5, pruning_ratio=(0.1, 0.8), precision=("fp16", "fp32")
            ),
            {"look_ahead": "some", "pruning_structure": "linear"},
            {
                "chunk_length": FloatDistribution(0.1, 2.0, log=True),
                "look_ahead": CategoricalDistribution(("none", "some")),
                "right_context": FloatDistribution(0.5, 0.5, log=True),
                "pruning_structure": CategoricalDistribution(("none", "hidden", "linear", "both")),
                "pruning_ratio": FloatDistribution(0.1, 0.8, step=0.05),
                "precision": CategoricalDistribution(("fp16", "fp32")),
            },
        ),
    ],
)
def test_what_a_sampler_draws_from(
    space: SearchSpace, choices: dict[str, str], expected: dict[str, BaseDistribution]
) -> None:
    """Every dimension: its kind, bounds, scale, step and choices, and when it is asked for at all."""
    assert asked(space, **choices) == expected


def space_of(point: OperatingPoint) -> SearchSpace:
    """A space that holds a point, with all that it can search."""
    if not point.streamed:
        return SearchSpace(mode="offline")
    return SearchSpace(tracking=TRACKINGS, **ONLINE_RANGES)


@given(points)
def test_params_and_back(point: OperatingPoint) -> None:
    space = space_of(point)
    assert suggest(FixedTrial(dict(params_of(point, space))), space) == point


@given(points)
def test_an_enqueued_point_is_recalled_waiting_and_complete(point: OperatingPoint) -> None:
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.RandomSampler(seed=0))
    space = space_of(point)
    study.enqueue_trial(params_of(point, space))
    assert recall(study.trials[0], space) == point
    trial = study.ask()
    assert suggest(trial, space) == point
    study.tell(trial, [1.0, 1.0, 1.0])
    assert recall(study.trials[0], space) == point


def test_an_enqueued_ratio_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    study = optuna.create_study(directions=["minimize"] * 3, storage=f"sqlite:///{tmp_path}/studies.db")
    for ratio in RATIOS:
        study.enqueue_trial(params_of(OperatingPoint(pruning=Pruning("hidden", ratio))))
        trial = study.ask()
        assert suggest(trial, SearchSpace()).pruning == Pruning("hidden", ratio)
    assert [recall(trial, SearchSpace()).pruning.ratio for trial in study.trials] == RATIOS


@given(spaces, st.integers(0, 2**16))
def test_what_is_drawn_lies_in_the_space(space: SearchSpace, seed: int) -> None:
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    point = suggest(trial, space)
    assert outside(point, space) is None
    assert ("right_context" in trial.params) == (point.right_context > 0)
    assert ("pruning_ratio" in trial.params) == (point.pruning != UNPRUNED)
    assert ("chunk_length" in trial.params) == (space.mode == "streaming")
    assert point.mode in space.modes
    if point.mode == "online":
        for name in ONLINE_RANGES:
            told, value = getattr(space, name), getattr(point.online, name)
            assert value in (None, 0.0) if told is None else value is None or told[0] <= value <= told[1]
    # Optuna's stepped floats drift by an ulp or so; ours are the hundredths that they stand for
    assert trial.params == params_of(point, space) | (
        {"pruning_ratio": pytest.approx(point.pruning.ratio)} if point.pruning != UNPRUNED else {}
    )
    assert point.pruning.ratio in [0.0, *RATIOS]


@pytest.mark.parametrize(
    ("point", "told"),
    [
        (OperatingPoint(0.05, 0.0), "chunk_length = 0.05"),
        (OperatingPoint(1.0, 3.0), "right_context = 3"),
        (OperatingPoint(1.0, 0.0, precision="fp16"), "precision = 'fp16'"),
        (OperatingPoint(pruning=Pruning("hidden", 0.9)), "pruning_ratio = 0.9 is outside"),
        (OperatingPoint(pruning=Pruning("hidden", 0.43)), "pruning_ratio = 0.43 is not a multiple of 0.05"),
        (OperatingPoint(pruning=Pruning("both", 0.4)), "pruning_structure = 'both'"),
        (OFFLINE_BASELINE, "it is offline"),
        (OperatingPoint(pruning=Pruning("linear", 0.8)), None),
        (OperatingPoint(1.0, 0.0), None),  # R = 0 is no value of the range, and needs none
        (OperatingPoint(0.1, 2.0), None),  # ends are included
    ],
)
def test_outside(point: OperatingPoint, told: str | None) -> None:
    space = SearchSpace(
        chunk_length=(0.1, 5.0),
        right_context=(0.01, 2.0),
        pruning_structure=("none", "hidden", "linear"),
        pruning_ratio=(0.2, 0.8),
        precision=("fp32",),
    )
    assert told == outside(point, space) or told in outside(point, space)


def test_tracking_is_searched_where_it_is_asked_for() -> None:
    both = SearchSpace(tracking=("chunk-wise", "online"), delta_new=(0.2, 0.6), tau_active=0.3)
    asked = OperatingPoint(0.5, mode="online", online=both.online)
    assert (both.opened_thresholds, asked.online) == (("delta_new",), OnlineTracking(tau_active=0.3))
    assert params_of(asked, both)["thresholds"] == "tuned"
    # what is held at a value stays so, whether the rest is searched or as it was tuned
    opened = params_of(asked, both) | {"thresholds": "searched", "delta_new": 0.5}
    assert suggest(FixedTrial(opened), both).online == OnlineTracking(tau_active=0.3, delta_new=0.5)
    assert suggest(FixedTrial(params_of(asked, both)), both).online == OnlineTracking(tau_active=0.3)
    assert outside(asked, both) is None
    assert (both.modes, OPENED.modes, OFFLINE.modes) == (
        ("chunk-wise", "online"),
        ("online", "chunk-wise"),
        ("offline",),
    )
    assert outside(replace(asked, mode="online", online=OnlineTracking(delta_new=0.7)), both) is not None
    assert "tracking = 'online'" in outside(asked, SearchSpace())
    assert "tracking = 'chunk-wise'" in outside(OperatingPoint(), SearchSpace(tracking="online"))


def test_thresholds_mean_nothing_where_nobody_is_tracked_online() -> None:
    with pytest.raises(ValidationError, match="delta_new"):
        SearchSpace(delta_new=(0.2, 0.6))
    with pytest.raises(ValidationError, match="tracking"):
        SearchSpace(mode="offline", tracking="online")


def test_no_look_ahead_in_a_space_without() -> None:
    assert "look_ahead = 'some'" in outside(OperatingPoint(1.0, 0.5), SearchSpace(look_ahead=("none",)))


def test_a_trial_that_died_while_being_asked_has_no_point() -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    trial = study.ask()
    assert recall(study.trials[0], SearchSpace()) is None
    trial.suggest_float("chunk_length", *CHUNK_LENGTH_RANGE, log=True)
    assert recall(study.trials[0], SearchSpace()) is None


@pytest.mark.parametrize(
    ("point", "space"),
    [
        (OperatingPoint(0.5, 0.25, Pruning("hidden", 0.4), "fp16"), SearchSpace()),
        (replace(OFFLINE_BASELINE, pruning=Pruning("both", 0.4)), OFFLINE),
        (OperatingPoint(0.5, 0.25, mode="online", online=OnlineTracking(0.4, 0.3, 0.6, 0.5)), OPENED),
        (OperatingPoint(0.5, mode="online", online=OnlineTracking(min_duration_off=0.5)), OPENED),
        (OperatingPoint(0.5), OPENED),
    ],
)
def test_a_trial_that_lacks_any_of_its_parameters_has_no_point(point: OperatingPoint, space: SearchSpace) -> None:
    """Its driver died between two of them: in whatever order they are asked."""
    params = params_of(point, space)
    assert set(params) >= {"pruning_structure", "precision"}

    def stored(without: str | None) -> FrozenTrial:
        told = {name: value for name, value in params.items() if name != without}
        return create_trial(state=TrialState.FAIL, system_attrs={"fixed_params": told})

    assert recall(stored(None), space) == point
    assert {name: recall(stored(name), space) for name in params} == dict.fromkeys(params)


@pytest.mark.parametrize("bounds", [(3.0, 1.0), (0.0, 1.0), (0.1, 6.0), (math.nan, 1.0), (0.1, math.inf)])
def test_a_range_stays_in_the_design_space(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        SearchSpace(chunk_length=bounds)


@pytest.mark.parametrize("bounds", [(0.0, 0.5), (0.05, 1.0), (0.12, 0.5), (0.5, 0.2)])
def test_pruning_ratios_start_and_end_on_a_step(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        SearchSpace(pruning_ratio=bounds)


def test_one_ratio_is_a_range_of_one() -> None:
    space = SearchSpace(pruning_structure=("hidden",), pruning_ratio=0.3)
    assert suggest(optuna.create_study().ask(), space).pruning == Pruning("hidden", 0.3)


@pytest.mark.parametrize("given", [{"chunk_length": 0.5}, {"look_ahead": ("none",)}, {"right_context": (0.1, 1.0)}])
def test_an_offline_space_has_no_latency_to_search(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=f"leave {next(iter(given))} out"):
        SearchSpace(mode="offline", **given)
