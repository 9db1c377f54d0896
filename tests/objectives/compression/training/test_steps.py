"""Single steps of a training by hand: the rate at each, how far it goes, and what a gradient may weigh."""

import math
from collections.abc import Callable

import pytest
import torch

from objectives.compression.recovery import LARGEST_GRADIENT, _rate, train
from tests.support.networks import random_windows

DECAY = 0.01  # of a weight in each step, times the rate: AdamW's


@pytest.mark.parametrize(
    ("steps", "rates"),
    [
        (1, [1.0]),
        (2, [1.0, 1.0]),
        (5, [1.0, 1.0, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]),
        (20, [0.5, 1.0, *(0.5 * (1 + math.cos(math.pi * step / 18)) for step in range(18))]),
        (40, [0.25, 0.5, 0.75, 1.0, *(0.5 * (1 + math.cos(math.pi * step / 36)) for step in range(36))]),
    ],
)
def test_the_rate_rises_in_a_tenth_of_the_steps_and_falls_to_nothing_as_a_cosine(
    steps: int, rates: list[float]
) -> None:
    assert [_rate(step, steps) for step in range(steps)] == pytest.approx(rates)
    assert _rate(max(2, steps), max(2, steps)) == pytest.approx(0.0, abs=1e-12)


def trained(parameter: torch.nn.Parameter, steps: int, rate: float, slope: float = 1.0) -> list[float]:
    """The values of a parameter before each step, and after the last, if the loss rises with it by `slope`."""
    values: list[float] = []
    windows = random_windows(trained=4, held_back=2)

    def forward(features: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            values.append(parameter.item())
        return parameter.to(features.device) * slope

    train([parameter], forward, lambda answers, chosen: answers.sum(), windows, steps, 2, rate, 0)
    return [*values, parameter.item()]


@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_each_step_goes_as_far_as_its_rate(rate: float) -> None:
    """Where the gradient is always the same, Adam moves by the rate itself, whatever the gradient weighs."""
    steps = 20
    found = trained(torch.nn.Parameter(torch.tensor(1.0)), steps, rate)
    value, expected = 1.0, [1.0]
    for step in range(steps):
        now = rate * _rate(step, steps)
        value -= now * DECAY * value + now
        expected.append(value)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("slope", "norm"), [(7.0, LARGEST_GRADIENT), (0.5, 0.5)])
def test_a_gradient_weighs_no_more_than_one(slope: float, norm: float) -> None:
    parameter = torch.nn.Parameter(torch.tensor(1.0))
    trained(parameter, 3, 1e-3, slope)
    assert parameter.grad is not None
    assert LARGEST_GRADIENT == 1.0
    assert parameter.grad.item() == pytest.approx(norm, rel=1e-4)


def looks_at(losses: list[float], steps: int) -> tuple[int, int, float, float]:
    """(steps made, best step, loss there, value that is kept) of a training whose held-back losses are told."""
    told = iter(losses)
    parameter = torch.nn.Parameter(torch.tensor(1.0))
    made: list[float] = []

    def loss(answers: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            made.append(parameter.item())
            return answers.sum()
        return torch.tensor(next(told))

    forward: Callable[[torch.Tensor], torch.Tensor] = lambda features: parameter.to(features.device)  # noqa: E731
    found = train([parameter], forward, loss, random_windows(trained=4, held_back=2), steps, 2, 1e-3, 0)
    kept = (made.index(parameter.item()) if parameter.item() in made else len(made)) if made else 0
    assert kept == found.best, "the state of the best step is the one that is left"
    return found.steps, found.best, found.after, found.before


def test_the_best_of_all_looks_is_kept_and_of_equal_ones_the_first() -> None:
    assert looks_at([5.0, 4.0, 2.0, 3.0], 30) == (30, 20, 2.0, 5.0)
    assert looks_at([5.0, 2.0, 2.0, 3.0], 30) == (30, 10, 2.0, 5.0)
    assert looks_at([5.0, 5.0, 5.0, 5.0], 30) == (30, 0, 5.0, 5.0)
    assert looks_at([5.0, 6.0, 7.0, 1.0], 30) == (30, 30, 1.0, 5.0)
    assert looks_at([5.0, 4.0], 9) == (9, 9, 4.0, 5.0)


def test_training_ends_after_five_looks_without_getting_better() -> None:
    assert looks_at([5.0, 4.0, *[6.0] * 5], 80)[:2] == (60, 10)
    assert looks_at([5.0, *[6.0] * 4, 4.0, 6.0, 6.0, 3.0], 80)[:2] == (80, 80)
    assert looks_at([5.0, *[6.0] * 5], 160)[:2] == (100, 0)  # eight looks, 20 steps apart
