"""A segmentation model and a speaker embedding that can be read: one person's samples are positive, another's negative.

Local speakers are numbered by who comes first in the window, as a real model's are by nothing that outlasts it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import Blocks, SpeakerEmbedding
from objectives.models.filterbank import FBANK_STEP, FBANK_WIDTH, Filterbank
from objectives.operating_point import OnlineTracking
from objectives.streaming.clustering import ClusteringSettings

CONTRACT = Contract(window=160_000, frames=589, field=991, centre=495, step=270, speakers=3, max_at_once=2)
CLUSTERING = ClusteringSettings()
TRACKING = OnlineTracking(tau_active=0.0, rho_update=1.0, delta_new=0.5)
STEP = 2 * FBANK_STEP


@dataclass
class SignRuntime:
    """Whoever comes first in a window is its local speaker 0, the other one 1; zero is silence."""

    contract: Contract = CONTRACT
    execution: str = "native"
    kernel: str = "signs"
    batch: int = 32

    def scores(self, windows: np.ndarray) -> np.ndarray:
        centres = np.arange(self.contract.frames) * self.contract.step + self.contract.centre
        heard = windows[:, centres]
        # (windows, frames)
        first = np.array([next(iter(row[row != 0]), 1.0) for row in heard])
        same = heard * np.sign(first)[:, None]
        scores = np.zeros((*heard.shape, len(self.contract.powerset)), np.float32)
        scores[..., 0] = 0.5
        scores[..., 1] = same > 0
        scores[..., 2] = same < 0
        return scores


def sign_embedding() -> SpeakerEmbedding:
    """Two dimensions: the mean of what a speaker says, and its deviation. Its features come in blocks of 1 s."""

    def features(samples: np.ndarray) -> np.ndarray:
        frames = -(-((len(samples) - FBANK_WIDTH) // FBANK_STEP + 1) // 2)
        centres = np.minimum(np.arange(frames) * STEP + FBANK_WIDTH // 2, len(samples) - 1)
        return samples[centres][:, None]

    return SpeakerEmbedding(
        name="signs",
        key="signs",
        step=STEP,
        blocks=Blocks(length=16_000, left=8_000, right=640),
        filterbank=Filterbank("povey"),
        network=Path("none"),
        threshold=0.8,
        features=features,
        weight=np.eye(2, dtype=np.float32),
        bias=np.zeros(2, np.float32),
        online=TRACKING,
    )


def speech(*parts: tuple[float, float]) -> np.ndarray:
    """(samples,) float32 of parts: who (1 and -1 are people, 0 is silence), and for how many seconds."""
    return np.concatenate([np.full(round(seconds * SAMPLE_RATE), who, np.float32) for who, seconds in parts])
