"""Checkpoints that tests bend out of shape, and real windows to run models on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from objectives.backends.pyannote import WeSpeakerResNet34
from objectives.cache.assets import fetch
from objectives.models.contract import SAMPLE_RATE
from objectives.models.windows import sliding_windows

Change = Callable[[dict[str, Any]], None]


def changed_checkpoint(path: Path, change: Change) -> Path:
    """segmentation-3.0 with a change made to what its file holds."""
    checkpoint: dict[str, Any] = torch.load(fetch("segmentation-3.0"), map_location="cpu", weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, path)
    return path


def as_speaker_embedding(checkpoint: dict[str, Any]) -> None:
    """A sound pyannote.audio checkpoint, of another kind of model."""
    checkpoint["pyannote.audio"]["architecture"] = {
        "module": WeSpeakerResNet34.__module__,
        "class": WeSpeakerResNet34.__name__,
    }
    checkpoint["hyper_parameters"] = {}
    checkpoint["state_dict"] = WeSpeakerResNet34().state_dict()


def seconds_apart(waveform: np.ndarray, windows: int) -> np.ndarray:
    """(windows, samples): 10 s of real audio each, a second apart."""
    return sliding_windows(waveform, 10 * SAMPLE_RATE, SAMPLE_RATE)[:windows]
