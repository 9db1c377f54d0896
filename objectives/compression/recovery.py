"""Recovery: short fine-tuning of the layers after SincNet, on recordings of `train` only."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from objectives import machine
from objectives.backends.pyannote import PyanNet
from objectives.compression.settings import Method
from objectives.compression.training_windows import TrainingWindows
from objectives.errors import EvaluationError
from objectives.models.contract import Contract

CODE_VERSION = 2  # raise it if the same windows and settings would give a different model
WARM_UP = 0.1  # share of the steps in which the learning rate rises to its peak; then a cosine falls to 0
LARGEST_GRADIENT = 1.0  # norm
LOOKS = 8  # most validations on the held-back windows in one training
APART = 10  # fewest steps between two validations
PATIENCE = 5  # validations without improvement after which training stops
AT_ONCE = 16  # held-back windows per batch

Forward = Callable[[torch.Tensor], torch.Tensor]  # (batch, frames, 60) → (batch, frames, classes) log-probabilities
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (log-probabilities, indices of windows) → scalar


@dataclass(frozen=True)
class Trained:
    """The outcome of a training run.

    before, after: loss on the held-back windows; `after` is the smallest seen, so never larger. steps: that were run;
    fewer than allowed if training stopped early. best: step after which the loss was the smallest."""

    before: float
    after: float
    steps: int
    best: int


def device() -> torch.device:
    """Return the device to train on: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def trainable_copy(network: PyanNet) -> PyanNet:
    """Copy a network to the training device, with a trainable head, a frozen SincNet and no dropout."""
    learner = copy.deepcopy(network).to(device()).train()
    learner.lstm.dropout = 0.0
    learner.requires_grad_(True)
    learner.sincnet.requires_grad_(False)
    return learner


def loss_of(method: Method, windows: TrainingWindows, contract: Contract) -> Loss:
    """Return the loss function of a recovery method, which takes log-probabilities and the indices of their windows.

    distill: KL divergence from the unpruned model's posteriors, over all frames. powerset: cross-entropy with the
    reference. Both use the best permutation of the local speakers in each window (arXiv 2310.13025), because the order
    of the speakers is arbitrary. bce: binary cross-entropy with logits of speech against non-speech, our reading of the
    paper's Sec. 4.3. powerset and bce count annotated frames only.
    """
    permutations = torch.tensor(class_permutations(contract))

    def loss(answers: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        teacher, classes, annotated, permuted = (
            values.to(answers.device)
            for values in (windows.teacher[chosen], windows.classes[chosen], windows.annotated[chosen], permutations)
        )
        if method == "distill":
            return _divergence(answers, teacher, permuted)
        if method == "bce":
            return _speech_loss(answers, classes > 0, annotated)
        return _powerset_loss(answers, permuted[:, classes], annotated)

    return loss


def class_permutations(contract: Contract) -> np.ndarray:
    """Map the powerset classes under each permutation of the local speakers: (permutations, classes) int64."""
    orders = itertools.permutations(range(contract.speakers))
    return np.array([contract.class_of(contract.powerset[:, order]) for order in orders])


def train(
    parameters: Iterable[torch.nn.Parameter],
    forward: Forward,
    loss: Loss,
    windows: TrainingWindows,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Trained:
    """Train parameters in place with AdamW, and restore those with the smallest held-back loss.

    forward: from SincNet's output to log-probabilities, with these parameters. on_progress: called with the fraction of
    the steps that are done. Raises EvaluationError if the training diverges, that is if the loss is not finite.
    """
    trained = list(parameters)
    optimizer = torch.optim.AdamW(trained, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    batches = _batches(windows.trained, batch, steps, seed)
    with machine.working():
        before = smallest = _known(held_back_loss(forward, loss, windows), 0, learning_rate)
    best, kept, step = 0, [parameter.detach().clone() for parameter in trained], 0
    looks = max(1, min(LOOKS, steps // APART))
    for look in np.array_split(np.arange(steps), looks) if steps else []:
        with machine.working():
            for step in look + 1:
                _one_step(optimizer, trained, forward, loss, windows, next(batches))
                schedule.step()
                on_progress(float(step / steps))
        with machine.working():
            held = _known(held_back_loss(forward, loss, windows), int(step), learning_rate)
        if held < smallest:
            best, smallest, kept = int(step), held, [parameter.detach().clone() for parameter in trained]
        if step - best >= PATIENCE * math.ceil(steps / looks):
            break
    with torch.no_grad():
        for parameter, value in zip(trained, kept, strict=True):
            parameter.copy_(value)
    on_progress(1.0)
    return Trained(before, smallest, int(step), best)


def _known(loss: float, step: int, learning_rate: float) -> float:
    if math.isfinite(loss):
        return loss
    raise EvaluationError(
        f"the training diverged: after {step} steps its loss on the held-back windows is {loss:g}, so no model was "
        f"kept; lower the learning rate, which was {learning_rate:g}"
    )


@torch.no_grad()
def held_back_loss(forward: Forward, loss: Loss, windows: TrainingWindows) -> float:
    """Return the mean loss over the held-back windows."""
    total = 0.0
    for chosen in torch.tensor(windows.held_back).split(AT_ONCE):
        answers = forward(windows.features[chosen].to(device()))
        total += loss(answers, chosen).item() * len(chosen)
    return total / len(windows.held_back)


def _one_step(
    optimizer: torch.optim.Optimizer,
    trained: list[torch.nn.Parameter],
    forward: Forward,
    loss: Loss,
    windows: TrainingWindows,
    chosen: torch.Tensor,
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss(forward(windows.features[chosen].to(device())), chosen).backward()
    torch.nn.utils.clip_grad_norm_(trained, LARGEST_GRADIENT)
    optimizer.step()


def _rate(step: int, steps: int) -> float:
    rising = max(1.0, WARM_UP * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))


def _batches(windows: int, batch: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Iterate over batches of window indices: all windows in one random order, then in another."""
    generator = torch.Generator().manual_seed(seed)
    rounds = math.ceil(max(1, steps) * batch / windows)
    order = torch.cat([torch.randperm(windows, generator=generator) for _ in range(rounds)])
    return iter(order.split(batch))


def _divergence(answers: torch.Tensor, teacher: torch.Tensor, permutations: torch.Tensor) -> torch.Tensor:
    """Return the mean divergence over windows and frames, under each window's best permutation."""
    posteriors = teacher.exp()
    certain = (posteriors * teacher).sum((1, 2))  # (batch,)
    crossed = torch.einsum("btk,btc->bkc", posteriors, answers)  # teacher's class k against the learner's class c
    classes = torch.arange(permutations.shape[1], device=answers.device)
    matched = crossed[:, classes, permutations].sum(-1)  # (batch, permutations)
    return (certain - matched.amax(1)).mean() / answers.shape[1]


def _speech_loss(answers: torch.Tensor, speech: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    logits = answers[..., 1:].logsumexp(-1) - answers[..., 0]
    per_frame = torch.nn.functional.binary_cross_entropy_with_logits(logits, speech.float(), reduction="none")
    return (per_frame * annotated).sum() / annotated.sum().clamp_min(1)


def _powerset_loss(answers: torch.Tensor, permuted: torch.Tensor, annotated: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy under each window's best permutation.

    permuted: (permutations, batch, frames) target classes."""
    likely = answers.expand(len(permuted), *answers.shape).gather(-1, permuted[..., None])[..., 0]
    by_window = -(likely * annotated).sum(-1).amax(0)  # (batch,): the permutation that fits best
    return by_window.sum() / annotated.sum().clamp_min(1)
