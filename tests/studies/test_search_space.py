"""Ranges, conditions, and the round trip between trials and operating points."""

import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from pydantic import ValidationError

from objectives.operating_point import CHUNK_LENGTH_RANGE, PRECISIONS, RIGHT_CONTEXT_RANGE, OperatingPoint
from studies.search_space import LOOK_AHEADS, SearchSpace, outside, params_of, recall, suggest

points = st.builds(
    OperatingPoint,
    chunk_length=st.floats(*CHUNK_LENGTH_RANGE),
    right_context=st.just(0.0) | st.floats(*RIGHT_CONTEXT_RANGE),
    precision=st.sampled_from(PRECISIONS),
)


def some_range(bounds: tuple[float, float]) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(*bounds), st.floats(*bounds)).map(lambda pair: (min(pair), max(pair)))


spaces = st.builds(
    SearchSpace,
    chunk_length=some_range(CHUNK_LENGTH_RANGE),
    right_context=some_range(RIGHT_CONTEXT_RANGE),
    look_ahead=st.lists(st.sampled_from(LOOK_AHEADS), min_size=1, unique=True).map(tuple),
    precision=st.lists(st.sampled_from(PRECISIONS), min_size=1, unique=True).map(tuple),
)


@given(points)
def test_params_and_back(point: OperatingPoint) -> None:
    assert suggest(FixedTrial(dict(params_of(point))), SearchSpace()) == point


@given(points)
def test_an_enqueued_point_is_recalled_waiting_and_complete(point: OperatingPoint) -> None:
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(params_of(point))
    assert recall(study.trials[0], SearchSpace()) == point
    trial = study.ask()
    assert suggest(trial, SearchSpace()) == point
    study.tell(trial, [1.0, 1.0, 1.0])
    assert recall(study.trials[0], SearchSpace()) == point


@given(spaces, st.integers(0, 2**16))
def test_what_is_drawn_lies_in_the_space(space: SearchSpace, seed: int) -> None:
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    point = suggest(trial, space)
    assert outside(point, space) is None
    assert ("right_context" in trial.params) == (point.right_context > 0)
    assert trial.params == params_of(point)


@pytest.mark.parametrize(
    ("point", "told"),
    [
        (OperatingPoint(0.05, 0.0), "chunk_length = 0.05"),
        (OperatingPoint(1.0, 3.0), "right_context = 3"),
        (OperatingPoint(1.0, 0.0, precision="fp16"), "precision = 'fp16'"),
        (OperatingPoint(1.0, 0.0), None),  # R = 0 is no value of the range, and needs none
        (OperatingPoint(0.1, 2.0), None),  # ends are included
    ],
)
def test_outside(point: OperatingPoint, told: str | None) -> None:
    space = SearchSpace(chunk_length=(0.1, 5.0), right_context=(0.01, 2.0), precision=("fp32",))
    assert told == outside(point, space) or told in outside(point, space)


def test_no_look_ahead_in_a_space_without() -> None:
    assert "look_ahead = 'some'" in outside(OperatingPoint(1.0, 0.5), SearchSpace(look_ahead=("none",)))


def test_a_trial_that_died_while_being_asked_has_no_point() -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    trial = study.ask()
    assert recall(study.trials[0], SearchSpace()) is None
    trial.suggest_float("chunk_length", *CHUNK_LENGTH_RANGE, log=True)
    assert recall(study.trials[0], SearchSpace()) is None


@pytest.mark.parametrize("bounds", [(3.0, 1.0), (0.0, 1.0), (0.1, 6.0), (math.nan, 1.0), (0.1, math.inf)])
def test_a_range_stays_in_the_design_space(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        SearchSpace(chunk_length=bounds)
