"""Run the head of a PyanNet, the layers after SincNet from LSTM to classifier, with replaced weights or activations.

Recovery and quantization work on the head alone, so SincNet's output is computed once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from objectives.backends.pyannote import PyanNet
from objectives.errors import ModelError

Weights = Mapping[str, torch.Tensor]
Enter = Callable[[str, torch.Tensor], torch.Tensor]  # (layer, its input) → the input to use instead
CLASSIFIER = "classifier.weight"


def new_network(hyper_parameters: Mapping[str, Any], specifications: Any) -> PyanNet:
    """Build a PyanNet with random weights, to be overwritten. The global random state stays untouched."""
    with torch.random.fork_rng(devices=[]):
        network = PyanNet(**hyper_parameters)
        network.specifications = specifications
        network.build()
    return network


def head_weights(network: PyanNet) -> dict[str, torch.Tensor]:
    """Return the weight matrices of the head, with gradients: `lstm.0.input`, `lstm.0.state`, …, `linear.0.weight`, …,
    `classifier.weight`. Those of an LSTM, (2 · 4 · hidden, inputs), hold both directions.

    Raises ModelError if the LSTM is not built as segmentation-3.0's is.
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
    """Return the linear layers between LSTM and classifier."""
    if network.hparams["linear"]["num_layers"] == 0:
        return []
    return [layer for layer in network.linear if isinstance(layer, torch.nn.Linear)]


def lstm_bias(network: PyanNet, layer: int) -> torch.Tensor:
    """Return the sum of torch's two biases, which are only ever added: (2, 4 · hidden)."""
    ends = (f"l{layer}", f"l{layer}_reverse")
    return torch.stack(
        [getattr(network.lstm, f"bias_ih_{end}") + getattr(network.lstm, f"bias_hh_{end}") for end in ends]
    )


def features_of(network: PyanNet, waveforms: torch.Tensor) -> torch.Tensor:
    """Run SincNet: (batch, 1, samples) → (batch, frames, 60)."""
    return network.sincnet(waveforms).transpose(1, 2)


def forward_head(network: PyanNet, features: torch.Tensor) -> torch.Tensor:
    """Run the head in full precision: (batch, frames, 60) → (batch, frames, classes) log-probabilities."""
    features, _ = network.lstm(features)
    for linear in linears(network):
        features = torch.nn.functional.leaky_relu(linear(features))
    return torch.nn.functional.log_softmax(network.classifier(features), dim=-1)


def run_head(
    network: PyanNet,
    features: torch.Tensor,
    weights: Weights,
    enter: Enter = lambda layer, activation: activation,
    round_state: bool = False,
) -> torch.Tensor:
    """Run the head with other weights: (batch, frames, 60) → (batch, frames, classes) log-probabilities.

    weights: named as by `head_weights`; biases are the network's. enter: called with the name of each layer (`lstm.0`,
    …, `linear.0`, …, `classifier`) and its input; returns the input to use. round_state: whether LSTM states are
    rounded to 8 bits.
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


GATES = 4  # in torch's order: input, forget, cell, output
# A state is sigmoid times tanh and so lies in (-1, 1). The 8-bit grid that a kernel uses for it, computed in 32 bits:
STATE_STEP = 0.007843137718737125  # 2 / 255
STATE_CODES = (-127, 128)


def bidirectional_lstm(
    features: torch.Tensor,
    input_weight: torch.Tensor,
    state_weight: torch.Tensor,
    bias: torch.Tensor,
    round_state: bool = False,
) -> torch.Tensor:
    """Run one layer in both directions, from a state of zero.

    features: (batch, frames, inputs). input_weight: (2, 4 · hidden, inputs), forward direction first, gates in torch's
    order. state_weight: (2, 4 · hidden, hidden). bias: (2, 4 · hidden), the sum of torch's two. round_state: whether
    the state is rounded to 8 bits in the recurrent product.
    Returns (batch, frames, 2 · hidden), never rounded. Gradients pass straight through the rounding.
    """
    return _BidirectionalLstm.apply(features, input_weight, state_weight, bias, round_state)


class _BidirectionalLstm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        input_weight: torch.Tensor,
        state_weight: torch.Tensor,
        bias: torch.Tensor,
        round_state: bool,
    ) -> torch.Tensor:
        batch, frames, _ = features.shape
        hidden = state_weight.shape[2]
        order = _gates_apart(hidden, features.device)
        # (frames, 2, batch, gates): the backward direction runs through time from the end
        gates = torch.einsum("btf,dgf->tdbg", features, input_weight[:, order]) + bias[:, None, order]
        gates[:, 1] = gates[:, 1].flip(0)
        recurrent = state_weight[:, order].transpose(1, 2).contiguous()  # (2, hidden, gates)
        states = features.new_zeros(frames + 1, 2, batch, hidden)  # as they enter the recurrent product
        cells = features.new_zeros(frames + 1, 2, batch, hidden)
        squashed = features.new_empty(frames, 2, batch, hidden)
        output = features.new_empty(frames, 2, batch, hidden)
        for frame in range(frames):
            gate = gates[frame]
            gate.baddbmm_(states[frame], recurrent)
            gate[..., : 3 * hidden].sigmoid_()
            gate[..., 3 * hidden :].tanh_()
            enter, forget, leave, candidate = gate.split(hidden, dim=2)
            cell = cells[frame + 1]
            torch.mul(forget, cells[frame], out=cell)
            cell.addcmul_(enter, candidate)
            torch.tanh(cell, out=squashed[frame])
            torch.mul(leave, squashed[frame], out=output[frame])
            if round_state:
                torch.div(output[frame], STATE_STEP, out=states[frame + 1])
                states[frame + 1].round_().clamp_(*STATE_CODES).mul_(STATE_STEP)
            else:
                states[frame + 1] = output[frame]
        ctx.save_for_backward(features, input_weight, state_weight, gates, states, cells, squashed)
        output[:, 1] = output[:, 1].flip(0)
        return output.permute(2, 0, 1, 3).reshape(batch, frames, 2 * hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        features, input_weight, state_weight, gates, states, cells, squashed = ctx.saved_tensors
        batch, frames, _ = features.shape
        hidden = state_weight.shape[2]
        order = _gates_apart(hidden, features.device)
        arriving = gradients[0].reshape(batch, frames, 2, hidden).permute(1, 2, 0, 3)
        arriving = arriving.clone(memory_format=torch.contiguous_format)  # written to below; autograd owns the original
        arriving[:, 1] = arriving[:, 1].flip(0)
        enter, forget, leave, candidate = gates.split(hidden, dim=3)
        # derivatives by the gates' pre-activations: of the cell (enter, forget, candidate), of the output (leave)
        to_cell = torch.stack(
            [candidate * enter * (1 - enter), cells[:-1] * forget * (1 - forget), enter * (1 - candidate**2)], dim=3
        )  # (frames, 2, batch, 3, hidden)
        to_output = squashed * leave * (1 - leave)
        through_cell = leave * (1 - squashed**2)
        recurrent = state_weight[:, order]  # (2, gates, hidden)
        moved = torch.empty_like(gates).reshape(frames, 2, batch, GATES, hidden)  # enter, forget, leave, candidate
        of_cell = torch.zeros_like(cells[0])
        for frame in range(frames - 1, -1, -1):
            of_state = arriving[frame]
            if frame < frames - 1:
                of_state.baddbmm_(moved[frame + 1].flatten(2), recurrent)
            of_cell.addcmul_(of_state, through_cell[frame])
            torch.mul(of_cell, to_cell[frame, :, :, 0], out=moved[frame, :, :, 0])
            torch.mul(of_cell, to_cell[frame, :, :, 1], out=moved[frame, :, :, 1])
            torch.mul(of_state, to_output[frame], out=moved[frame, :, :, 2])
            torch.mul(of_cell, to_cell[frame, :, :, 2], out=moved[frame, :, :, 3])
            of_cell.mul_(forget[frame])
        flat = moved.flatten(3)  # (frames, 2, batch, gates), time in the order of each direction
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        of_state_weight = torch.einsum("tdbg,tdbh->dgh", flat, states[:-1])[:, back]
        flat[:, 1] = flat[:, 1].flip(0)
        flat = flat[..., back]
        of_input_weight = torch.einsum("tdbg,btf->dgf", flat, features)
        of_features = torch.einsum("tdbg,dgf->btf", flat, input_weight) if ctx.needs_input_grad[0] else None
        return of_features, of_input_weight, of_state_weight, flat.sum((0, 2)), None


def _gates_apart(hidden: int, device: torch.device) -> torch.Tensor:
    """Return the rows of torch's gates in the order input, forget, output, cell: the sigmoid gates are adjacent."""
    rows = torch.arange(GATES * hidden, device=device).reshape(GATES, hidden)
    return rows[[0, 1, 3, 2]].flatten()
