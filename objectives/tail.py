"""What follows SincNet in a PyanNet, LSTM to classifier, run with weights and activations not its own.

Recovery and quantization leave SincNet as it is: its output is computed once, and everything happens in the tail.
"""

from collections.abc import Callable, Mapping

import torch

from objectives.backend import PyanNet
from objectives.errors import ModelError
from objectives.lstm import bidirectional_lstm

Weights = Mapping[str, torch.Tensor]
Enter = Callable[[str, torch.Tensor], torch.Tensor]  # (layer, what enters it) → what it sees

CLASSIFIER = "classifier.weight"


def tail_weights(network: PyanNet) -> dict[str, torch.Tensor]:
    """Weight matrices of the tail: `lstm.0.input` (2 · 4 · hidden, inputs), both directions in one, `lstm.0.state`, …,
    `linear.0.weight`, …, `classifier.weight`. Keeps gradients.

    Raises ModelError where the LSTM is not built as segmentation-3.0's is.
    """
    lstm = network.lstm
    if not (isinstance(lstm, torch.nn.LSTM) and lstm.bidirectional and lstm.proj_size == 0):
        raise ModelError(
            "this PyanNet's LSTM is split into layers or not a plain bidirectional one, and cannot be stored in few "
            "bits: use a model built as segmentation-3.0 is, or choose precision fp32 or fp16"
        )
    weights: dict[str, torch.Tensor] = {}
    for layer in range(network.lstm.num_layers):
        for short, name in (("ih", "input"), ("hh", "state")):
            directions = [getattr(network.lstm, f"weight_{short}_l{layer}{end}") for end in ("", "_reverse")]
            weights[f"lstm.{layer}.{name}"] = torch.cat(directions)
    for layer, linear in enumerate(linears(network)):
        weights[f"linear.{layer}.weight"] = linear.weight
    weights[CLASSIFIER] = network.classifier.weight
    return weights


def linears(network: PyanNet) -> list[torch.nn.Linear]:
    """The linear layers between LSTM and classifier."""
    if network.hparams["linear"]["num_layers"] == 0:
        return []
    return [layer for layer in network.linear if isinstance(layer, torch.nn.Linear)]


def lstm_bias(network: PyanNet, layer: int) -> torch.Tensor:
    """(2, 4 · hidden): torch's two biases, which are only ever added, as one."""
    ends = (f"l{layer}", f"l{layer}_reverse")
    return torch.stack(
        [getattr(network.lstm, f"bias_ih_{end}") + getattr(network.lstm, f"bias_hh_{end}") for end in ends]
    )


def features_of(network: PyanNet, waveforms: torch.Tensor) -> torch.Tensor:
    """SincNet's output: (batch, 1, samples) → (batch, frames, 60)."""
    return network.sincnet(waveforms).transpose(1, 2)


def forward_tail(network: PyanNet, features: torch.Tensor) -> torch.Tensor:
    """What follows SincNet, in full precision: (batch, frames, 60) → (batch, frames, classes) log-probabilities."""
    features, _ = network.lstm(features)
    for linear in linears(network):
        features = torch.nn.functional.leaky_relu(linear(features))
    return torch.nn.functional.log_softmax(network.classifier(features), dim=-1)


def run_tail(
    network: PyanNet,
    features: torch.Tensor,
    weights: Weights,
    enter: Enter = lambda layer, activation: activation,
    round_state: bool = False,
) -> torch.Tensor:
    """(batch, frames, 60) → (batch, frames, classes) log-probabilities, with `weights` as of `tail_weights`.

    enter: what each layer (`lstm.0`, …, `linear.0`, …, `classifier`) makes of what enters it. round_state: whether LSTM
    states are rounded to 8 bits. Biases are the network's.
    """
    for layer in range(network.lstm.num_layers):
        inputs, state = (weights[f"lstm.{layer}.{name}"] for name in ("input", "state"))
        features = bidirectional_lstm(
            enter(f"lstm.{layer}", features),
            inputs.reshape(2, -1, inputs.shape[1]),
            state.reshape(2, -1, state.shape[1]),
            lstm_bias(network, layer),
            round_state,
        )
    for layer, linear in enumerate(linears(network)):
        seen = enter(f"linear.{layer}", features)
        features = torch.nn.functional.linear(seen, weights[f"linear.{layer}.weight"], linear.bias)
        features = torch.nn.functional.leaky_relu(features)
    seen = enter("classifier", features)
    logits = torch.nn.functional.linear(seen, weights[CLASSIFIER], network.classifier.bias)
    return torch.nn.functional.log_softmax(logits, dim=-1)
