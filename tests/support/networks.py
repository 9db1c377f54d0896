"""Small networks with random parameters, and windows to train them on."""

from pathlib import Path
from typing import Any

import torch

from objectives.backends.pyannote import PyanNet
from objectives.cache.assets import fetch
from objectives.compression.compressor import Compressor, FinishedModel
from objectives.compression.low_bit import LowBitModel, run_low_bit
from objectives.compression.pruning import rebuild, units_to_keep
from objectives.compression.training_windows import TrainingWindows
from objectives.models.segmentation import load_segmentation
from objectives.operating_point import UNPRUNED, Precision

SINCNET_CHANNELS = 60
CLASSES = 7


def small_network(
    hidden: int = 6, layers: int = 2, width: int = 5, linears: int = 2, seed: int = 0, **lstm: Any
) -> PyanNet:
    """A PyanNet with random parameters whose SincNet is as large as ever and all that follows it is small."""
    torch.manual_seed(seed)
    made = PyanNet(
        lstm={"hidden_size": hidden, "num_layers": layers, **lstm},
        linear={"hidden_size": width, "num_layers": linears},
    )
    made.specifications = load_segmentation(fetch("segmentation-3.0")).specifications
    made.build()
    return made.eval()


def finish(base: Path, precision: Precision) -> FinishedModel:
    """The unpruned model of `base` in fp32 or fp16, which need no recordings."""
    return Compressor(base).finish(UNPRUNED, precision)


def random_features(windows: int, frames: int = 20, seed: int = 0) -> torch.Tensor:
    """(windows, frames, 60), of SincNet's size."""
    return torch.randn(windows, frames, SINCNET_CHANNELS, generator=torch.Generator().manual_seed(seed))


def random_windows(trained: int = 8, held_back: int = 4, frames: int = 20, seed: int = 0) -> TrainingWindows:
    """Windows of noise whose targets follow from the features, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    features = random_features(trained + held_back, frames, seed)
    truth = torch.randn(SINCNET_CHANNELS, CLASSES, generator=generator)
    scores = features @ truth / 4
    return TrainingWindows(
        features, scores.log_softmax(-1), scores.argmax(-1), torch.ones(features.shape[:2], dtype=torch.bool), trained
    )


def prune_once(network: PyanNet, hidden: int | None = None, linear: int | None = None) -> PyanNet:
    """Keep the highest-scoring units of every layer; None keeps all."""
    return rebuild(network, units_to_keep(network, hidden, linear))


def log_probabilities(model: LowBitModel, features: torch.Tensor) -> torch.Tensor:
    """Run a low-bit model in emulation: (batch, frames, 60) → (batch, frames, classes)."""
    values = {name: weight.values.to(features.device) for name, weight in model.weights.items()}
    return run_low_bit(model.network, features, values, model.ranges)
