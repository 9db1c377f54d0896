"""Before units are removed, fold what they said into those that stay: the closed-form part of distillation.

A unit's activation is mostly predictable from its neighbours'. Least squares on training windows gives the prediction,
and the layer that a removed unit spoke to takes it over into its weights for the others and its bias, as Luo et al.
reconstruct the next layer's input (ThiNet, arXiv 1707.06342). Recurrent products are left alone: there the small error
of a prediction feeds itself, and the network gets worse, not better.
"""

import copy
from collections.abc import Mapping

import torch

from objectives.backend import PyanNet
from objectives.tail import linears, run_tail, tail_weights

RIDGE = 1e-3  # of the mean variance of the units that stay
WINDOWS = 64  # that are enough to predict from
AT_ONCE = 32  # windows

Moments = tuple[torch.Tensor, torch.Tensor]  # (units, units) covariance, (units,) mean


@torch.no_grad()
def folded(network: PyanNet, kept: Mapping[str, torch.Tensor], features: torch.Tensor) -> PyanNet:
    """A copy of the network, of the same size, that leans less on the units that are about to go.

    kept: of `units_to_keep`. features: (windows, frames, 60), SincNet's output on windows of train.
    """
    moments = _moments(network, features[:WINDOWS])
    copied = copy.deepcopy(network)
    order = [*(f"lstm.{index}" for index in range(network.lstm.num_layers))]
    order += [*(f"linear.{index}" for index in range(len(linears(network)))), "classifier"]
    for layer, stays in kept.items():
        following = order[order.index(layer) + 1]
        if layer.startswith("lstm."):
            stays = torch.cat([stays, stays + network.lstm.hidden_size])  # both directions
        for weight, bias in _listeners(copied, following):
            _fold(weight, bias, moments[following], stays)
    return copied


def _listeners(network: PyanNet, layer: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weights and biases through which a layer hears the one before it."""
    if not layer.startswith("lstm."):
        names = [(f"{layer}.weight", f"{layer}.bias")]
    else:
        number = layer.removeprefix("lstm.")
        ends = (f"l{number}", f"l{number}_reverse")
        names = [(f"lstm.weight_ih_{end}", f"lstm.bias_ih_{end}") for end in ends]
    return [(network.get_parameter(weight), network.get_parameter(bias)) for weight, bias in names]


def _moments(network: PyanNet, features: torch.Tensor) -> dict[str, Moments]:
    """Of what enters each layer of the tail."""
    entering: dict[str, list[torch.Tensor]] = {}

    def enter(layer: str, activation: torch.Tensor) -> torch.Tensor:
        flat = activation.flatten(0, 1).double()  # (frames of all windows, units)
        sums = [flat.T @ flat, flat.sum(0), torch.tensor(len(flat))]
        so_far = entering.get(layer)
        entering[layer] = sums if so_far is None else [old + new for old, new in zip(so_far, sums, strict=True)]
        return activation

    weights = tail_weights(network)
    for batch in features.split(AT_ONCE):
        run_tail(network, batch, weights, enter)
    return {
        layer: (second / count - (first / count).outer(first / count), first / count)
        for layer, (second, first, count) in entering.items()
    }


def _fold(weight: torch.Tensor, bias: torch.Tensor, moments: Moments, stays: torch.Tensor) -> None:
    """Change, in place, a layer's weights for the units that stay, and its bias; weights of the others go later."""
    covariance, mean = moments
    goes = torch.ones(len(mean), dtype=torch.bool)
    goes[stays] = False
    inner = covariance[stays][:, stays]
    ridge = RIDGE * inner.diagonal().mean() * torch.eye(len(stays), dtype=inner.dtype)
    predicted = torch.linalg.solve(inner + ridge, covariance[stays][:, goes])  # (stay, go)
    leaving = weight[:, goes].double()
    weight[:, stays] += (leaving @ predicted.T).to(weight.dtype)
    bias += (leaving @ (mean[goes] - predicted.T @ mean[stays])).to(bias.dtype)
