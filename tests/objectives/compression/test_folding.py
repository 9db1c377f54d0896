"""What removed units said is taken over by those that stay, as least squares predicts it, and nothing else changes."""

from collections.abc import Mapping

import pytest
import torch

from objectives.backends.pyannote import PyanNet
from objectives.compression.pruning import AT_ONCE, WINDOWS, folded, rebuild, units_to_keep
from objectives.compression.pyannet_head import forward_head, head_weights, run_head
from tests.support.networks import random_features, small_network

HIDDEN, WIDTH = 6, 5
# layer → the layer before it, whose units are removed
BEFORE = {"lstm.1": "lstm.0", "linear.0": "lstm.1", "linear.1": "linear.0", "classifier": "linear.1"}

Kept = Mapping[str, torch.Tensor]


def parameters_of(layer: str) -> list[tuple[str, str]]:
    """Names of the weights and biases that a layer hears through."""
    if layer == "lstm.1":
        return [(f"lstm.weight_ih_{end}", f"lstm.bias_ih_{end}") for end in ("l1", "l1_reverse")]
    return [(f"{layer}.weight", f"{layer}.bias")]


def units(kept: torch.Tensor, layer: str) -> tuple[list[int], list[int]]:
    """(stay, go): columns of what a layer says; an LSTM says everything twice, forwards and backwards."""
    stay = kept.tolist() + [unit + HIDDEN for unit in kept.tolist()] * layer.startswith("lstm")
    everybody = range(2 * HIDDEN if layer.startswith("lstm") else WIDTH)
    return stay, [unit for unit in everybody if unit not in stay]


@torch.no_grad()
def entering(network: PyanNet, features: torch.Tensor) -> dict[str, torch.Tensor]:
    """What enters each layer: (windows · frames, units) float64."""
    seen: dict[str, torch.Tensor] = {}

    def enter(name: str, activation: torch.Tensor) -> torch.Tensor:
        seen[name] = activation.flatten(0, 1).double()
        return activation

    run_head(network, features, head_weights(network), enter)
    return seen


@pytest.fixture(scope="module")
def network() -> PyanNet:
    return small_network(hidden=HIDDEN, width=WIDTH)


@pytest.fixture(scope="module")
def kept(network: PyanNet) -> Kept:
    return units_to_keep(network, hidden=4, linear=3)


@pytest.mark.parametrize("layer", BEFORE)
@torch.no_grad()
def test_a_layer_takes_over_what_least_squares_predicts(network: PyanNet, kept: Kept, layer: str) -> None:
    features = random_features(WINDOWS)  # in two batches, of which both count
    assert WINDOWS > AT_ONCE
    stay, go = units(kept[BEFORE[layer]], BEFORE[layer])
    seen = entering(network, features)[layer]
    design = torch.cat([seen[:, stay], torch.ones(len(seen), 1).double()], 1)
    predicted = torch.linalg.lstsq(design, seen[:, go]).solution  # (stay + 1, go): weights, and last a constant
    new = folded(network, kept, features)
    for weight_name, bias_name in parameters_of(layer):
        weight, bias = network.get_parameter(weight_name).double(), network.get_parameter(bias_name).double()
        expected = weight[:, stay] + weight[:, go] @ predicted[:-1].T
        found = new.get_parameter(weight_name).double()
        torch.testing.assert_close(found[:, stay], expected, rtol=5e-3, atol=5e-3)  # but for the ridge
        torch.testing.assert_close(found[:, go], weight[:, go])
        found_bias = new.get_parameter(bias_name).double()
        torch.testing.assert_close(found_bias, bias + weight[:, go] @ predicted[-1], rtol=2e-3, atol=2e-3)
        assert not torch.equal(found[:, stay], weight[:, stay])


def test_nothing_else_changes_and_the_old_network_is_left_as_it_was(network: PyanNet, kept: Kept) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    new = folded(network, kept, random_features(4)).state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, new[name])}
    assert changed == {name for layer in BEFORE for names in parameters_of(layer) for name in names}
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(("structure", "changed"), [("hidden", ("lstm.1", "linear.0")), ("linear", ("linear.1",))])
def test_only_layers_that_hear_removed_units_change(network: PyanNet, structure: str, changed: tuple[str, ...]) -> None:
    new = folded(network, units_to_keep(network, **{structure: 4}), random_features(4)).state_dict()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, new[name])}
    heard = (*changed, "classifier") if structure == "linear" else changed
    assert moved == {name for layer in heard for names in parameters_of(layer) for name in names}


@torch.no_grad()
def test_a_unit_that_says_what_another_says_is_not_missed() -> None:
    """Unit 4 is unit 1 over again, and unit 3 always says the same: without both, the network says what it did."""
    network = small_network(hidden=HIDDEN, width=WIDTH, seed=1)
    first, second = network.linear
    for layer in (first, second):
        layer.weight[4], layer.bias[4] = layer.weight[1], layer.bias[1]
        layer.weight[3], layer.bias[3] = 0.0, 7.0
    kept = {layer: torch.tensor([0, 1, 2]) for layer in ("linear.0", "linear.1")}
    features = random_features(8)
    whole = forward_head(network, features)
    cut, folded_first = rebuild(network, kept), rebuild(folded(network, kept, features), kept)
    torch.testing.assert_close(forward_head(folded_first, features), whole, rtol=0, atol=2e-3)
    assert (forward_head(cut, features) - whole).abs().max() > 0.1


@torch.no_grad()
def test_two_units_that_stay_and_say_the_same_do_no_harm() -> None:
    """Their covariance has no inverse; the ridge shares between them what they take over."""
    network = small_network(hidden=HIDDEN, width=WIDTH, seed=1)
    for layer in network.linear:
        layer.weight[1], layer.bias[1] = layer.weight[0], layer.bias[0]
        layer.weight[4], layer.bias[4] = layer.weight[0], layer.bias[0]
    kept = {layer: torch.tensor([0, 1, 2, 3]) for layer in ("linear.0", "linear.1")}
    new = folded(network, kept, random_features(8))
    taken = new.classifier.weight - network.classifier.weight
    torch.testing.assert_close(taken[:, 0], taken[:, 1], rtol=0, atol=1e-4)
    assert (taken[:, 0].abs() > 0.01).any()
    assert taken.abs().max() < network.classifier.weight[:, 4].abs().max()


def test_no_more_than_the_first_windows_are_listened_to(network: PyanNet, kept: Kept) -> None:
    enough = random_features(WINDOWS)
    more = torch.cat([enough, 100 * random_features(3, seed=1)])
    expected, found = folded(network, kept, enough), folded(network, kept, more)
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in expected.state_dict().items())
