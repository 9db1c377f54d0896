"""Our LSTM layer is torch's, and what it rounds is what an 8-bit kernel rounds."""

import math

import pytest
import torch

from objectives.compression.pyannet_head import STATE_STEP, bidirectional_lstm

Weights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def layer(inputs: int = 3, hidden: int = 4, seed: int = 0) -> tuple[torch.nn.LSTM, Weights]:
    """torch's layer in 64 bits, and its parameters as ours takes them."""
    torch.manual_seed(seed)
    lstm = torch.nn.LSTM(inputs, hidden, bidirectional=True, batch_first=True, dtype=torch.float64)
    ends = ("l0", "l0_reverse")
    parameters = (
        torch.stack([getattr(lstm, f"weight_ih_{end}") for end in ends]),
        torch.stack([getattr(lstm, f"weight_hh_{end}") for end in ends]),
        torch.stack([getattr(lstm, f"bias_ih_{end}") + getattr(lstm, f"bias_hh_{end}") for end in ends]),
    )
    return lstm, tuple(one.detach().requires_grad_() for one in parameters)


def features(batch: int, frames: int, inputs: int = 3) -> torch.Tensor:
    return torch.randn(batch, frames, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 7), (3, 1), (3, 7)])
def test_it_says_and_learns_what_torchs_layer_does(batch: int, frames: int) -> None:
    lstm, parameters = layer()
    ours, theirs = (features(batch, frames).requires_grad_() for _ in range(2))
    expected = lstm(theirs)[0]
    answer = bidirectional_lstm(ours, *parameters)
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-12)
    weighed = torch.linspace(-1, 2, answer.numel(), dtype=torch.float64).reshape(answer.shape)
    (answer * weighed).sum().backward()
    (expected * weighed).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)
    for own, kind in zip(parameters, ("weight_ih", "weight_hh", "bias_ih"), strict=True):
        stock = torch.stack([getattr(lstm, f"{kind}_{end}").grad for end in ("l0", "l0_reverse")])
        torch.testing.assert_close(own.grad, stock, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_are_those_of_finite_differences(batch: int) -> None:
    _, parameters = layer(inputs=2, hidden=2)
    assert torch.autograd.gradcheck(bidirectional_lstm, (features(batch, 4, 2).requires_grad_(), *parameters))


def test_features_that_need_no_gradient_get_none_and_change_no_other() -> None:
    _, parameters = layer()
    plain, learnt = features(2, 5), features(2, 5).requires_grad_()
    bidirectional_lstm(plain, *parameters).square().sum().backward()
    without = [one.grad.clone() for one in parameters if one.grad is not None]
    for one in parameters:
        one.grad = None
    bidirectional_lstm(learnt, *parameters).square().sum().backward()
    assert len(without) == 3
    assert plain.grad is None
    assert all(torch.equal(one, other.grad) for one, other in zip(without, parameters, strict=True))


@pytest.mark.parametrize("batch", [1, 2])
def test_the_gradient_that_arrives_is_not_written_to(batch: int) -> None:
    """Autograd may hand the same one to others."""
    _, parameters = layer()
    arriving = torch.randn(batch, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    before = arriving.clone()
    bidirectional_lstm(features(batch, 5), *parameters).backward(arriving)
    assert torch.equal(arriving, before)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def by_hand(frames: list[float], inputs: list[float], recurrent: list[float], rounded: bool) -> list[float]:
    """One unit, one direction: what it answers in each frame. Gates in torch's order."""
    state, cell, answers = 0.0, 0.0, []
    for value in frames:
        enter, forget, candidate, leave = (w * value + r * state for w, r in zip(inputs, recurrent, strict=True))
        cell = sigmoid(forget) * cell + sigmoid(enter) * math.tanh(candidate)
        answer = sigmoid(leave) * math.tanh(cell)
        answers.append(answer)
        state = round(answer * 127.5) * 2 / 255 if rounded else answer  # 8 bits over (-1, 1)
    return answers


@pytest.mark.parametrize("rounded", [False, True])
def test_the_next_step_sees_the_rounded_state_and_the_answer_is_not_rounded(rounded: bool) -> None:
    frames, inputs, recurrent = [0.7, -0.4, 1.1], [0.5, -0.3, 0.9, 0.2], [1.5, -2.0, 3.0, 0.7]
    weights = torch.tensor([inputs, [2 * one for one in inputs]], dtype=torch.float64)[..., None]
    states = torch.tensor([recurrent, [-one for one in recurrent]], dtype=torch.float64)[..., None]
    answer = bidirectional_lstm(
        torch.tensor(frames, dtype=torch.float64)[None, :, None], weights, states, torch.zeros(2, 4), rounded
    )
    forward = by_hand(frames, inputs, recurrent, rounded)
    backward = by_hand(frames[::-1], [2 * one for one in inputs], [-one for one in recurrent], rounded)[::-1]
    torch.testing.assert_close(answer[0], torch.tensor([forward, backward], dtype=torch.float64).T, rtol=0, atol=2e-8)
    # rounding moves an answer by far more than that
    assert max(abs(a - b) for a, b in zip(forward, by_hand(frames, inputs, recurrent, not rounded), strict=True)) > 1e-5
    # and the answers themselves lie between the 8-bit values
    codes = answer / STATE_STEP
    assert (codes - codes.round()).abs().max() > 0.01


def test_gradients_pass_straight_through_the_rounding() -> None:
    """With states that are 8-bit values already, rounding changes nothing: neither answers nor gradients."""
    _, (inputs, states, bias) = layer(hidden=2)
    silent = torch.zeros_like(inputs).requires_grad_()  # with the bias below every state stays at 0
    shut = torch.full_like(bias, 0.0).requires_grad_()
    gradients = []
    for rounded in (False, True):
        arguments = (features(2, 4), silent, states.detach().clone().requires_grad_(), shut)
        answer = bidirectional_lstm(*arguments, rounded)
        assert not answer.any()
        gradients.append(torch.autograd.grad(answer.sum(), [silent, shut]))
    assert gradients[0][0].abs().max() > 0
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
