"""The tail of a PyanNet, run with weights that are handed in, is the stock network's."""

import numpy as np
import pytest
import torch

from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.compression.pyannet_head import (
    STATE_STEP,
    features_of,
    forward_head,
    head_weights,
    linears,
    lstm_bias,
    run_head,
)
from objectives.errors import ModelError
from objectives.models.segmentation import load_segmentation
from tests.support.checkpoints import seconds_apart
from tests.support.networks import random_features, small_network


@pytest.fixture(scope="module")
def real() -> PyanNet:
    return load_segmentation(fetch("segmentation-3.0"))


@torch.inference_mode()
def test_with_its_own_weights_it_is_the_real_network(real: PyanNet, excerpt: np.ndarray) -> None:
    waveforms = torch.from_numpy(seconds_apart(excerpt, 3).copy())[:, None]
    expected = real(waveforms)
    features = features_of(real, waveforms)
    assert features.shape == (3, 589, 60)
    torch.testing.assert_close(forward_head(real, features), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(run_head(real, features, head_weights(real)), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("layers", "width", "count"), [(1, 5, 2), (3, 4, 1), (2, 5, 0)])
@torch.inference_mode()
def test_whatever_the_sizes(layers: int, width: int, count: int) -> None:
    network = small_network(layers=layers, width=width, linears=count)
    features = random_features(3)
    assert len(linears(network)) == count
    lstm, _ = network.lstm(features)
    for layer in network.linear if count else ():
        lstm = torch.nn.functional.leaky_relu(layer(lstm))
    expected = network.activation(network.classifier(lstm))
    torch.testing.assert_close(forward_head(network, features), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(run_head(network, features, head_weights(network)), expected, rtol=0, atol=1e-5)


def test_weights_are_named_and_shaped_as_told(real: PyanNet) -> None:
    shapes = {name: tuple(weight.shape) for name, weight in head_weights(real).items()}
    of_lstm = {f"lstm.{layer}.input": (1024, 60 if layer == 0 else 256) for layer in range(4)}
    of_lstm |= {f"lstm.{layer}.state": (1024, 128) for layer in range(4)}
    assert shapes == {
        **of_lstm,
        "linear.0.weight": (128, 256),
        "linear.1.weight": (128, 128),
        "classifier.weight": (7, 128),
    }
    assert lstm_bias(real, 0).shape == (2, 512)


def test_each_weight_and_bias_gets_its_gradient() -> None:
    network = small_network()
    features = random_features(2)
    target = random_features(2)[..., :7].softmax(-1)
    gradients = []
    for forward in (
        lambda: forward_head(network, features),
        lambda: run_head(network, features, head_weights(network)),
    ):
        network.zero_grad()
        (-forward() * target).sum().backward()
        learning = {name: one.grad.clone() for name, one in network.named_parameters() if one.grad is not None}
        gradients.append(learning)
    assert gradients[0].keys() == gradients[1].keys()
    assert set(gradients[0]) == {name for name, _ in network.named_parameters() if not name.startswith("sincnet")}
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-4, atol=1e-5, msg=name)


def test_what_enters_each_layer_is_shown_once_and_may_be_changed() -> None:
    network = small_network(layers=2, linears=2)
    features = random_features(2)
    seen = {}

    def enter(layer: str, activation: torch.Tensor) -> torch.Tensor:
        assert layer not in seen
        seen[layer] = tuple(activation.shape)
        return torch.zeros_like(activation) if layer == "classifier" else activation

    with torch.inference_mode():
        answers = run_head(network, features, head_weights(network), enter)
    assert seen == {
        "lstm.0": (2, 20, 60),
        "lstm.1": (2, 20, 12),
        "linear.0": (2, 20, 12),
        "linear.1": (2, 20, 5),
        "classifier": (2, 20, 5),
    }
    expected = network.classifier.bias.detach().log_softmax(-1).expand(2, 20, 7)
    torch.testing.assert_close(answers, expected)


@torch.inference_mode()
def test_states_are_rounded_only_where_that_is_asked_for() -> None:
    network = small_network()
    features, weights = random_features(2), head_weights(network)
    plain, rounded = run_head(network, features, weights), run_head(network, features, weights, round_state=True)
    assert 0 < (plain - rounded).abs().max() < 20 * STATE_STEP


@pytest.mark.parametrize("lstm", [{"monolithic": False}, {"bidirectional": False}])
def test_an_lstm_of_another_kind_is_refused(lstm: dict[str, bool]) -> None:
    with pytest.raises(ModelError, match=r"LSTM .*cannot be .*(fp32|built as)"):
        head_weights(small_network(**lstm))
