"""Losses by hand, and what training promises: the best state seen, the same for a seed, SincNet left alone."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.compression import recovery
from objectives.compression.pyannet_head import features_of, forward_head
from objectives.compression.recovery import (
    PATIENCE,
    Loss,
    Trained,
    class_permutations,
    held_back_loss,
    loss_of,
    train,
    trainable_copy,
)
from objectives.compression.settings import Method
from objectives.compression.training_windows import TrainingWindows
from objectives.models.contract import Contract
from objectives.models.segmentation import contract_of, load_segmentation
from tests.support.checkpoints import seconds_apart
from tests.support.networks import prune_once, random_windows, small_network

CONTRACT = Contract(window=160_000, frames=20, field=991, centre=495, step=270, speakers=3, max_at_once=2)
EVERY = torch.arange(4)


@pytest.fixture(scope="module")
def windows() -> TrainingWindows:
    """Twelve small ones, eight of them to train on."""
    return random_windows()


@pytest.fixture(scope="module")
def real() -> PyanNet:
    return load_segmentation(fetch("segmentation-3.0"))


@pytest.fixture(scope="module")
@torch.inference_mode()
def real_windows(real: PyanNet, excerpt: np.ndarray) -> TrainingWindows:
    """Six windows of real audio with the real model's answers, four of them to train on."""
    waveforms = torch.from_numpy(seconds_apart(excerpt, 21)[::4].copy())[:, None]
    features = features_of(real, waveforms).contiguous().clone()
    teacher = forward_head(real, features)
    return TrainingWindows(features, teacher, teacher.argmax(-1), torch.ones(teacher.shape[:2], dtype=torch.bool), 4)


def told(classes: list[list[int]], annotated: list[list[bool]] | None = None) -> TrainingWindows:
    """Windows of which only the reference is known."""
    truth = torch.tensor(classes)
    believed = torch.ones(truth.shape, dtype=torch.bool) if annotated is None else torch.tensor(annotated)
    frames = truth.shape[1]
    return TrainingWindows(torch.zeros(len(truth), frames, 60), torch.zeros(len(truth), frames, 7), truth, believed, 0)


def answers(probabilities: list[list[dict[int, float]]]) -> torch.Tensor:
    """(windows, frames, 7) log-probabilities; what is not given is shared by the other classes."""
    table = torch.zeros(len(probabilities), len(probabilities[0]), 7, dtype=torch.float64)
    for window, frames in enumerate(probabilities):
        for frame, given_ in enumerate(frames):
            rest = (1 - sum(given_.values())) / (7 - len(given_))
            for one in range(7):
                table[window, frame, one] = given_.get(one, rest)
    return table.log()


def test_permutations_by_hand() -> None:
    """Classes: nobody, 0, 1, 2, 0 and 1, 0 and 2, 1 and 2."""
    found = {tuple(row) for row in class_permutations(CONTRACT).tolist()}
    assert found == {
        (0, 1, 2, 3, 4, 5, 6),
        (0, 2, 1, 3, 4, 6, 5),  # 0 and 1 change places
        (0, 3, 2, 1, 6, 5, 4),  # 0 and 2
        (0, 1, 3, 2, 5, 4, 6),  # 1 and 2
        (0, 2, 3, 1, 6, 4, 5),
        (0, 3, 1, 2, 5, 6, 4),
    }


def test_powerset_loss_by_hand() -> None:
    """The first window fits as it is, the second once speakers 0 and 1 change places; one frame is not annotated."""
    windows = told([[0, 1, 4], [1, 2, 3]], [[True, True, True], [True, True, False]])
    given_ = answers([[{0: 0.5}, {1: 0.8}, {4: 0.4}], [{2: 0.7, 1: 0.2}, {1: 0.9, 2: 0.05}, {3: 0.001}]])
    expected = -(math.log(0.5) + math.log(0.8) + math.log(0.4) + math.log(0.7) + math.log(0.9)) / 5
    found = loss_of("powerset", windows, CONTRACT)(given_, torch.tensor([0, 1]))
    assert found.item() == pytest.approx(expected)


def test_one_permutation_serves_a_whole_window() -> None:
    """0 then 1 where the reference has 1 then 1: no change of places makes both right."""
    windows = told([[2, 2]])
    found = loss_of("powerset", windows, CONTRACT)(answers([[{1: 0.9, 2: 0.06}, {2: 0.9, 1: 0.03}]]), torch.tensor([0]))
    assert found.item() == pytest.approx(-(math.log(0.06) + math.log(0.9)) / 2)


def test_bce_by_hand() -> None:
    """Speech is any class but the first; a frame that is not annotated does not count."""
    windows = told([[0, 1, 6, 3]], [[True, True, True, False]])
    given_ = answers([[{0: 0.9}, {0: 0.25}, {0: 0.5}, {0: 0.99}]])
    expected = -(math.log(0.9) + math.log(0.75) + math.log(0.5)) / 3
    found = loss_of("bce", windows, CONTRACT)(given_, torch.tensor([0]))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_distill_by_hand() -> None:
    teacher = answers([[{0: 0.7}, {1: 0.8}]])
    given_ = answers([[{0: 0.4}, {1: 0.5}]])
    windows = replace(told([[0, 0]]), teacher=teacher)
    divergence = [p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)) for p, q in ((0.7, 0.4), (0.8, 0.5))]
    found = loss_of("distill", windows, CONTRACT)(given_, torch.tensor([0]))
    assert found.item() == pytest.approx(sum(divergence) / 2)


@pytest.mark.parametrize("method", ["powerset", "bce"])
def test_where_nothing_is_annotated_there_is_nothing_to_lose(method: Method) -> None:
    windows = told([[1, 2]], [[False, False]])
    assert loss_of(method, windows, CONTRACT)(answers([[{0: 0.9}, {0: 0.9}]]), torch.tensor([0])).item() == 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(get_args(Method)), st.integers(0, 5))
def test_who_is_called_first_makes_no_difference(seed: int, method: Method, number: int) -> None:
    windows = random_windows(seed=seed)
    loss = loss_of(method, windows, CONTRACT)
    given_ = torch.randn(4, 20, 7, generator=torch.Generator().manual_seed(seed + 1)).log_softmax(-1)
    permuted = given_[..., class_permutations(CONTRACT)[number]]
    torch.testing.assert_close(loss(permuted, EVERY), loss(given_, EVERY), rtol=1e-5, atol=1e-5)


def test_the_best_permutation_is_chosen_window_by_window(windows: TrainingWindows) -> None:
    given_ = torch.randn(4, 20, 7, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    for method, targets in (("distill", windows.teacher.exp()), ("powerset", torch.eye(7)[windows.classes])):
        crossed = []
        for row in class_permutations(CONTRACT):
            moved = torch.empty_like(targets[:4])
            moved[..., row] = targets[:4]
            crossed.append(-(moved * given_).sum((1, 2)))
        expected = torch.stack(crossed).amin(0).mean() / 20
        if method == "distill":
            expected += (windows.teacher * windows.teacher.exp())[:4].sum(-1).mean()
        torch.testing.assert_close(loss_of(method, windows, CONTRACT)(given_, EVERY), expected)


def test_the_teacher_has_nothing_to_learn(real: PyanNet, real_windows: TrainingWindows) -> None:
    loss = loss_of("distill", real_windows, contract_of(real))
    assert abs(loss(real_windows.teacher, torch.arange(6)).item()) < 1e-5
    assert loss(real_windows.teacher.roll(1, 0), torch.arange(6)).item() > 0.01


def learn(
    network: PyanNet,
    windows: TrainingWindows,
    method: Method = "distill",
    steps: int = 16,
    rate: float = 1e-2,
    seed: int = 0,
) -> tuple[PyanNet, Trained, Loss]:
    learner = trainable_copy(network)
    loss = loss_of(method, windows, CONTRACT)
    learning = [one for one in learner.parameters() if one.requires_grad]
    trained = train(learning, lambda features: forward_head(learner, features), loss, windows, steps, 4, rate, seed)
    return learner, trained, loss


def state(network: PyanNet) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("method", get_args(Method))
def test_training_gets_better_and_says_by_how_much(windows: TrainingWindows, method: Method) -> None:
    network = small_network(hidden=12, layers=1, width=8)
    before = held_back_loss(
        lambda features: forward_head(network, features), loss_of(method, windows, CONTRACT), windows
    )
    learner, trained, loss = learn(network, windows, method, steps=40)
    after = held_back_loss(lambda features: forward_head(learner, features), loss, windows)
    assert trained.before == pytest.approx(before)
    assert trained.after == pytest.approx(after)
    assert after < before
    assert 0 < trained.best <= trained.steps <= 40


def test_what_is_left_is_the_best_state_and_never_worse_than_before(windows: TrainingWindows) -> None:
    """With a rate that ruins the network, what is left is what came in, bit for bit, and training stops early."""
    network = small_network()
    learner, trained, _ = learn(network, windows, steps=80, rate=30.0)
    assert trained.best == 0
    assert trained.after == trained.before
    assert trained.steps == 10 * PATIENCE < 80  # looks every ten steps, none of them better
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state(learner).items())


def test_no_steps_leave_everything_as_it_is(windows: TrainingWindows) -> None:
    network = small_network()
    learner, trained, _ = learn(network, windows, steps=0)
    assert (trained.steps, trained.best, trained.after) == (0, 0, trained.before)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state(learner).items())


def test_a_seed_trains_to_the_same_bits_and_another_elsewhere(windows: TrainingWindows) -> None:
    network = small_network()
    torch.manual_seed(1)
    first = learn(network, windows)
    torch.manual_seed(2)  # nothing but its own seed counts
    again, other = learn(network, windows), learn(network, windows, seed=1)
    assert first[1] == again[1]
    assert all(torch.equal(value, state(again[0])[name]) for name, value in state(first[0]).items())
    assert not torch.equal(first[0].classifier.weight, other[0].classifier.weight)


def test_held_back_windows_do_not_steer_the_parameters(windows: TrainingWindows) -> None:
    """Other targets there may choose another state to keep, but the path is the same: with one look, the same end."""
    network = small_network()
    teacher = windows.teacher.clone()
    teacher[windows.trained :] = (teacher[windows.trained :] / 2).log_softmax(-1)
    other = replace(windows, teacher=teacher)
    one, two = (learn(network, each, steps=1) for each in (windows, other))
    assert one[1].before != two[1].before
    assert one[1].best == two[1].best == 1
    assert all(torch.equal(value, state(two[0])[name]) for name, value in state(one[0]).items())


def test_sincnet_does_not_learn_and_the_original_is_left_alone(windows: TrainingWindows) -> None:
    network = small_network()
    before = state(network)
    learner, trained, _ = learn(network, windows)
    assert trained.best > 0
    after = state(learner)
    assert all(torch.equal(value, before[name]) for name, value in state(network).items())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if not name.startswith("sincnet.")}
    assert not learner.sincnet.conv1d[1].weight.requires_grad


def test_the_held_back_loss_is_the_mean_over_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = random_windows(held_back=5)
    network = small_network()
    loss = loss_of("distill", windows, CONTRACT)

    def forward(features: torch.Tensor) -> torch.Tensor:
        return forward_head(network, features)

    with torch.inference_mode():
        each = [loss(forward(windows.features[[n]]), torch.tensor([n])).item() for n in windows.held_back]
    monkeypatch.setattr(recovery, "AT_ONCE", 2)  # the last one alone
    assert held_back_loss(forward, loss, windows) == pytest.approx(np.mean(each), rel=1e-5)


def test_every_window_is_trained_on_as_often_as_any_other() -> None:
    windows = random_windows(trained=6, held_back=1)
    seen: list[int] = []
    real_loss = loss_of("distill", windows, CONTRACT)

    def loss(given_: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            seen.extend(chosen.tolist())
        return real_loss(given_, chosen)

    learner = trainable_copy(small_network(layers=1))
    learning = [one for one in learner.parameters() if one.requires_grad]
    train(learning, lambda features: forward_head(learner, features), loss, windows, 6, 4, 1e-3, 0)
    assert len(seen) == 24
    assert all(seen.count(window) == 4 for window in range(6))
    rounds = [seen[first : first + 6] for first in range(0, 24, 6)]
    assert all(sorted(one) == list(range(6)) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_progress_is_told_to_the_end(windows: TrainingWindows) -> None:
    network = trainable_copy(small_network())
    shares: list[float] = []
    loss = loss_of("distill", windows, CONTRACT)
    learning = [one for one in network.parameters() if one.requires_grad]
    train(learning, lambda features: forward_head(network, features), loss, windows, 5, 4, 1e-3, 0, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_few_steps_bring_a_pruned_real_model_back_towards_the_unpruned_one(
    real: PyanNet, real_windows: TrainingWindows
) -> None:
    pruned = prune_once(real, hidden=112)
    learner = trainable_copy(pruned)
    assert learner.lstm.dropout == 0.0
    loss = loss_of("distill", real_windows, contract_of(real))
    learning = [one for one in learner.parameters() if one.requires_grad]
    trained = train(learning, lambda features: forward_head(learner, features), loss, real_windows, 6, 4, 1e-3, 0)
    assert trained.after < 0.9 * trained.before
    before, after = state(pruned), state(learner)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("sincnet."))
