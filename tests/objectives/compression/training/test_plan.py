"""How a compressor has its models trained: what with, from where, for how long, and what is folded before.

The training itself is in test_recovery.py; here nothing is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from objectives.backends.pyannote import PyanNet
from objectives.compression import compressor as compression
from objectives.compression import low_bit
from objectives.compression.compressor import QAT_RATE, Compressor, _shares
from objectives.compression.low_bit import observe_ranges
from objectives.compression.pruning import kept_units
from objectives.compression.recovery import Trained
from objectives.compression.settings import CompressionSettings, Method, QuantizationOptions, RecoverySettings
from objectives.compression.training_windows import TrainingWindows
from objectives.operating_point import Pruning
from tests.support.networks import log_probabilities, random_features, random_windows, small_network

RECOVERY = RecoverySettings(steps=100, qat_steps=30, batch=4, learning_rate=0.5)
OPTIONS = QuantizationOptions(group_size=4, clipping="mse")
SETTINGS = CompressionSettings(RECOVERY, OPTIONS, iterations=3, seed=7)


@dataclass
class Asked:
    """What was asked for: trainings (steps, batch, learning rate, seed), units and windows that were folded."""

    windows: TrainingWindows = field(default_factory=lambda: random_windows(trained=6, held_back=3))
    trainings: list[tuple[Any, ...]] = field(default_factory=list)
    forwards: list[Callable[[torch.Tensor], torch.Tensor]] = field(default_factory=list)
    folded: list[torch.Tensor] = field(default_factory=list)

    def train(self, parameters: Any, forward: Any, loss: Any, windows: Any, *plan: Any) -> Trained:
        assert windows is self.windows
        self.trainings.append(plan[:-1])
        self.forwards.append(forward)
        return Trained(1.0, 0.5, plan[0], plan[0])

    def fold(self, network: PyanNet, kept: Any, features: torch.Tensor) -> PyanNet:
        self.folded.append(features)
        return network


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(compression.recovery, "train", asked.train)
    monkeypatch.setattr(compression, "folded", asked.fold)
    monkeypatch.setattr(Compressor, "_windows", lambda self, options, on_progress: asked.windows)
    return asked


def quiet(stage: str, fraction: float) -> None:
    pass


@pytest.mark.parametrize(
    ("steps", "iterations", "shares"),
    [
        (120, 1, [120]),
        (120, 4, [12, 12, 12, 84]),
        (100, 3, [15, 15, 70]),
        (10, 3, [2, 2, 6]),  # 1.5 is rounded to 2
        (4, 3, [1, 1, 2]),
        (1, 4, [0, 0, 0, 1]),
        (0, 2, [0, 0]),
    ],
)
def test_seven_tenths_of_the_steps_come_after_the_last_iteration(
    steps: int, iterations: int, shares: list[int]
) -> None:
    assert _shares(steps, iterations) == shares


def test_each_iteration_prunes_further_and_is_trained_with_a_seed_of_its_own(asked: Asked) -> None:
    network = small_network(hidden=20, width=10)
    left, told = Compressor(Path("none"), SETTINGS)._prune(network, Pruning("hidden", 0.6), quiet)
    assert asked.trainings == [(15, 4, 0.5, 8), (15, 4, 0.5, 9), (70, 4, 0.5, 10)]
    assert [one["kept"] for one in told] == [{"hidden": units, "linear": 10} for units in (16, 13, 10)]
    assert kept_units(left) == told[-1]["kept"]
    assert [one["steps"] for one in told] == [15, 15, 70]
    assert not left.training
    assert not any(parameter.requires_grad for parameter in left.parameters())
    assert kept_units(network) == {"hidden": 20, "linear": 10}


@pytest.mark.parametrize("method", get_args(Method))
def test_units_are_folded_from_what_is_trained_on_but_not_in_the_papers_way(asked: Asked, method: Method) -> None:
    compressor = Compressor(Path("none"), replace(SETTINGS, recovery=replace(RECOVERY, method=method)))
    compressor._prune(small_network(hidden=20, width=10), Pruning("linear", 0.6), quiet)
    assert len(asked.folded) == (0 if method == "bce" else 3)
    assert all(torch.equal(features, asked.windows.features[:6]) for features in asked.folded)


@pytest.mark.parametrize("bits", [8, 4])
def test_what_is_trained_in_few_bits_is_heard_in_few_bits_at_a_quarter_of_the_rate(asked: Asked, bits: Any) -> None:
    network, features = small_network(hidden=8), random_features(3)
    ranges = observe_ranges(network, features)
    compressor = Compressor(Path("none"), SETTINGS)
    trained, told = compressor._train_quantized(network, bits, ranges, "few bits", quiet)
    assert QAT_RATE == 0.25
    assert asked.trainings == [(30, 4, 0.125, 7)]
    (forward,) = asked.forwards
    device = next(trained.parameters()).device
    heard = forward(features.to(device)).detach().cpu()
    expected = log_probabilities(low_bit.quantize(network, bits, OPTIONS, ranges), features)
    torch.testing.assert_close(heard, expected, rtol=0, atol=1e-5)
    assert told == {"before": 1.0, "after": 0.5, "steps": 30, "best": 30}
