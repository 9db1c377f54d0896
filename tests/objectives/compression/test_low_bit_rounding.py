"""What of a low-bit model is rounded, by how much, and in which ranges."""

import pytest
import torch

from objectives.compression.low_bit import Bits, observe_ranges, quantize
from objectives.compression.pyannet_head import head_weights, run_head
from objectives.compression.quantization import quantize_weight
from objectives.compression.settings import QuantizationOptions
from tests.objectives.compression.test_low_bit import OPTIONS, small_model
from tests.support.networks import log_probabilities, random_features, small_network


@pytest.mark.parametrize("loud", [0, 31, 32, 64])
def test_ranges_are_those_of_all_windows_whichever_is_the_loudest(loud: int) -> None:
    """Of three batches, the last one of a single window."""
    features = random_features(65)
    features[loud] *= 10
    entering = observe_ranges(small_network(), features)
    assert entering["lstm.0"].low == pytest.approx(features.min().item())
    assert entering["lstm.0"].high == pytest.approx(features.max().item())
    assert entering["lstm.0"].low != -entering["lstm.0"].high


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_weight_is_rounded_as_the_options_say(bits: Bits, options: QuantizationOptions) -> None:
    """Groups are for 4 bits only, clipping for all of the tail, and neither for the classifier and SincNet."""
    network = small_network(hidden=20)
    model = quantize(network, bits, options, observe_ranges(network, random_features(4)))
    for name, matrix in head_weights(network).items():
        own = (
            (8, 0, "none")
            if name == "classifier.weight"
            else (bits, options.group_size if bits == 4 else 0, options.clipping)
        )
        expected = quantize_weight(matrix, *own)
        assert torch.equal(model.weights[name].codes, expected.codes)
        assert torch.equal(model.weights[name].scale, expected.scale)
        assert model.weights[name].group_size == own[1]


def test_the_states_of_an_lstm_are_rounded_in_emulation() -> None:
    model, features = small_model(8), random_features(2)
    values = {name: weight.values for name, weight in model.weights.items()}

    def scores(round_state: bool) -> torch.Tensor:
        return run_head(
            model.network, features, values, lambda layer, entering: model.ranges[layer].rounded(entering), round_state
        )

    assert torch.equal(log_probabilities(model, features), scores(round_state=True))
    assert not torch.equal(scores(round_state=True), scores(round_state=False))
