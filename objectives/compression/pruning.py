"""Structured pruning: remove whole units of the BiLSTM and of the linear layers after it (the paper's Sec. 4.3).

The result is a PyanNet with a smaller `lstm.hidden_size` or `linear.hidden_size`, which stock pyannote.audio loads. Its
output equals that of the full-size model with the parameters of the removed units set to zero.
"""

import copy
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from objectives.backends.pyannote import PyanNet
from objectives.compression.pyannet_head import head_weights, new_network, run_head
from objectives.errors import ModelError
from objectives.operating_point import Pruning

GATES, DIRECTIONS = 4, 2  # of a BiLSTM layer


def units_kept(total: int, ratio: float, iterations: int) -> tuple[int, ...]:
    """Return the units left of `total` after each iteration. Each removes ratio / iterations of those that remain.

    The number of removed units is rounded half up, and at least one unit stays. The ratio is taken by its decimal
    digits, so that 0.1 of 5 is exactly 0.5.

    >>> [units_kept(128, ratio, 4)[-1] for ratio in (0.2, 0.4, 0.6, 0.8)]  # as in the paper
    [104, 84, 67, 53]
    """
    share = Fraction(f"{ratio:.9f}") / iterations
    kept = []
    for _ in range(iterations):
        total = max(1, total - math.floor(total * share + Fraction(1, 2)))
        kept.append(total)
    return tuple(kept)


def kept_units(network: PyanNet) -> dict[str, int]:
    """Return {"hidden": units of each BiLSTM layer, "linear": outputs of each linear layer, if there are any}."""
    sizes = {"hidden": int(network.hparams["lstm"]["hidden_size"])}
    if network.hparams["linear"]["num_layers"] > 0:
        sizes["linear"] = int(network.hparams["linear"]["hidden_size"])
    return sizes


def schedule(pruning: Pruning, network: PyanNet, iterations: int) -> tuple[dict[str, int], ...]:
    """Return the units that each iteration leaves in every layer of the pruned kinds, {"hidden": 104, "linear": 104}.

    Empty if the structure is `none`. Raises ModelError if the network does not have the layers to prune.
    """
    if pruning.structure == "none":
        return ()
    sizes = kept_units(network)
    structures = ("hidden", "linear") if pruning.structure == "both" else (pruning.structure,)
    for structure in structures:
        _require_units(structure, sizes)
    left = [units_kept(sizes[structure], pruning.ratio, iterations) for structure in structures]
    return tuple(dict(zip(structures, units, strict=True)) for units in zip(*left, strict=True))


def units_to_keep(network: PyanNet, hidden: int | None = None, linear: int | None = None) -> Mapping[str, torch.Tensor]:
    """Choose the units to keep: layer → (units kept,) int64, ascending.

    Each layer keeps its `hidden` or `linear` units of largest Frobenius norm, and the first of equal ones; None keeps
    all. Layers are `lstm.0`, `lstm.1`, …, `linear.0`, …. A unit's norm is over all parameters that belong to it, each
    counted once:

    - in a BiLSTM layer, a unit is a hidden index in both directions: the rows and biases of its four gates, its
      recurrent column, and its columns in the following layer (the next BiLSTM's two directions, the first linear layer
      or the classifier);
    - in a linear layer: its row and bias, and its column in the next linear layer or the classifier.

    Raises ModelError if the network is not built as segmentation-3.0 is, or has fewer units than asked for.
    """
    layout = _layout(network)
    state = network.state_dict()
    sizes = kept_units(network)
    kept = {}
    for structure, wanted in (("hidden", hidden), ("linear", linear)):
        if wanted is None:
            continue
        _require_units(structure, sizes)
        if not 1 <= wanted <= sizes[structure]:
            raise ModelError(
                f"cannot keep {wanted} of {sizes[structure]} {structure} units: keep 1 to {sizes[structure]} of them"
            )
        kind = "lstm" if structure == "hidden" else "linear"
        for layer in (f"{kind}.{number}" for number in range(network.hparams[kind]["num_layers"])):
            ranked = torch.argsort(_squared_norms(layout, state, layer), descending=True, stable=True)
            kept[layer] = ranked[:wanted].sort().values
    return kept


def rebuild(network: PyanNet, kept: Mapping[str, torch.Tensor]) -> PyanNet:
    """Build a network with only the units of `units_to_keep`, on the same device and in the same mode.

    Parameters of units that stay are copied, in their order."""
    layout = _layout(network)
    state = {}
    for name, value in network.state_dict().items():
        for dimension, axis in enumerate(layout.get(name, ())):
            if axis is not None and axis.layer in kept:
                value = value.index_select(dimension, axis.positions(kept[axis.layer], value.shape[dimension]))
        state[name] = value.clone()
    hparams: dict[str, Any] = copy.deepcopy(dict(network.hparams))
    for layer, units in kept.items():
        hparams[layer.split(".")[0]]["hidden_size"] = len(units)
    smaller = new_network(hparams, network.specifications)
    smaller.to(network.classifier.weight)
    smaller.load_state_dict(state, strict=True)
    return smaller.train(network.training)


def checkpoint_of(network: PyanNet, base: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint that stock pyannote.audio loads as `network`.

    base: the checkpoint that the network was made from; its sizes and parameters are replaced."""
    hparams = copy.deepcopy(dict(network.hparams))
    return {
        **base,
        "hyper_parameters": {**base["hyper_parameters"], "lstm": hparams["lstm"], "linear": hparams["linear"]},
        "state_dict": {name: value.detach().cpu().clone() for name, value in network.state_dict().items()},
    }


@dataclass(frozen=True)
class _Axis:
    """An axis of a parameter that holds all units of a layer, `blocks` times over."""

    layer: str
    blocks: int

    def positions(self, units: torch.Tensor, length: int) -> torch.Tensor:
        """Return the positions of units on an axis of that length: (units,) → (blocks · units,)."""
        starts = torch.arange(self.blocks, device=units.device) * (length // self.blocks)
        return (starts[:, None] + units).flatten()


_Layout = Mapping[str, tuple[_Axis | None, ...]]


def _layout(network: PyanNet) -> _Layout:
    """Map each parameter to the layers whose units lie along its axes."""
    lstm = network.lstm
    if not isinstance(lstm, torch.nn.LSTM):
        raise ModelError(
            "this PyanNet's LSTM is split into layers (lstm.monolithic = false) and cannot be pruned: save it as a "
            "monolithic one, whose parameters are the same under other names, or choose pruning structure none"
        )
    if not lstm.bidirectional or lstm.proj_size:
        raise ModelError(
            "this PyanNet's LSTM is not a plain bidirectional one and cannot be pruned: use a model built as "
            "segmentation-3.0 is, or choose pruning structure none"
        )
    layout: dict[str, tuple[_Axis | None, ...]] = {}
    before: _Axis | None = None  # SincNet's channels, which are not pruned
    for layer in range(lstm.num_layers):
        gates, column = _Axis(f"lstm.{layer}", GATES), _Axis(f"lstm.{layer}", 1)
        for place in (f"l{layer}", f"l{layer}_reverse"):
            layout[f"lstm.weight_ih_{place}"] = (gates, before)
            layout[f"lstm.weight_hh_{place}"] = (gates, column)
            layout[f"lstm.bias_ih_{place}"] = layout[f"lstm.bias_hh_{place}"] = (gates,)
        before = _Axis(f"lstm.{layer}", DIRECTIONS)
    for layer in range(network.hparams["linear"]["num_layers"]):
        row = _Axis(f"linear.{layer}", 1)
        layout[f"linear.{layer}.weight"] = (row, before)
        layout[f"linear.{layer}.bias"] = (row,)
        before = row
    layout["classifier.weight"] = (None, before)
    return layout


def _require_units(structure: str, sizes: Mapping[str, int]) -> None:
    if structure not in sizes:
        raise ModelError(f"this PyanNet has no {structure} layers to prune: choose pruning structure hidden or none")


def _squared_norms(layout: _Layout, state: Mapping[str, torch.Tensor], layer: str) -> torch.Tensor:
    """Return the squared Frobenius norm of each unit of a layer, (units,) float64."""
    total = torch.zeros(1, dtype=torch.float64, device=state["classifier.weight"].device)
    for name, axes in layout.items():
        squares = state[name].double().square()
        own = [(dimension, axis) for dimension, axis in enumerate(axes) if axis is not None and axis.layer == layer]
        for dimension, axis in own:
            along = squares.movedim(dimension, 0).flatten(1).sum(dim=1) if squares.ndim > 1 else squares
            total = total + along.unflatten(0, (axis.blocks, -1)).sum(dim=0)
        if len(own) > 1:  # recurrent weights: the entries in both a unit's rows and its column were counted twice
            total = total - squares.unflatten(0, (GATES, -1)).diagonal(dim1=1, dim2=2).sum(dim=0)
    return total


RIDGE = 1e-3  # of the mean variance of the units that stay
WINDOWS = 64  # that the moments are estimated on
AT_ONCE = 32  # windows per batch
Moments = tuple[torch.Tensor, torch.Tensor]  # (units, units) covariance, (units,) mean


@torch.no_grad()
def folded(network: PyanNet, kept: Mapping[str, torch.Tensor], features: torch.Tensor) -> PyanNet:
    """Return a copy of the network, of the same size, in which the units that stay stand in for those that will go.

    Each removed unit is predicted linearly from the units that stay, by ridge regression, and the weights that read it
    are added to theirs. kept: of `units_to_keep`. features: (windows, frames, 60), SincNet's output on windows of
    train.
    """
    moments = _moments(network, features[:WINDOWS])
    reader = dict(itertools.pairwise(moments))  # layer → the layer that its output enters
    copied = copy.deepcopy(network)
    for name, axes in _layout(network).items():
        column = axes[-1]
        if len(axes) == 2 and column is not None and column.layer in kept and "weight_hh" not in name:
            weight, bias = copied.get_parameter(name), copied.get_parameter(name.replace("weight", "bias"))
            stays = column.positions(kept[column.layer], weight.shape[1])
            _fold(weight, bias, moments[reader[column.layer]], stays)
    return copied


def _moments(network: PyanNet, features: torch.Tensor) -> dict[str, Moments]:
    """Return the covariance and mean of the input of each layer of the head, in the order of the layers."""
    entering: dict[str, list[torch.Tensor]] = {}
    nothing = [torch.tensor(0)] * 3

    def enter(layer: str, activation: torch.Tensor) -> torch.Tensor:
        flat = activation.flatten(0, 1).double()  # (frames of all windows, units)
        sums = [flat.T @ flat, flat.sum(0), torch.tensor(len(flat))]
        entering[layer] = [old + new for old, new in zip(entering.get(layer, nothing), sums, strict=True)]
        return activation

    weights = head_weights(network)
    for batch in features.split(AT_ONCE):
        run_head(network, batch, weights, enter)
    return {
        layer: (second / count - (first / count).outer(first / count), first / count)
        for layer, (second, first, count) in entering.items()
    }


def _fold(weight: torch.Tensor, bias: torch.Tensor, moments: Moments, stays: torch.Tensor) -> None:
    """Update, in place, a layer's bias and its weights for the units that stay. The other weights are removed later."""
    covariance, mean = moments
    goes = torch.ones(len(mean), dtype=torch.bool)
    goes[stays] = False
    inner = covariance[stays][:, stays]
    ridge = RIDGE * inner.diagonal().mean() * torch.eye(len(stays), dtype=inner.dtype)
    predicted = torch.linalg.solve(inner + ridge, covariance[stays][:, goes])  # (stay, go)
    leaving = weight[:, goes].double()
    weight[:, stays] += (leaving @ predicted.T).to(weight.dtype)
    bias += (leaving @ (mean[goes] - predicted.T @ mean[stays])).to(bias.dtype)
