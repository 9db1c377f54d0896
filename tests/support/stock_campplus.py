"""CAM++ as pyannote.audio's pipeline takes a speaker embedding: the whole model in torch, from samples to embedding."""

from pathlib import Path

import torch
from torch import Tensor

from objectives.backends.pyannote import Model, StatsPool, kaldi
from objectives.models.campplus import CAMPPlus
from objectives.models.embedding_loading import load_campplus


class StockCAMPPlus(Model):
    """CAM++ with the interface of pyannote's WeSpeaker models: `forward`, `forward_frames` and `forward_embedding`.

    Input: (batch, 1, samples) at 16 kHz in [-1, 1]. Output: (batch, 192), or (batch, speakers, 192) if the weights have
    a speaker dimension.
    """

    dimension = CAMPPlus.dimension

    def __init__(self, model: CAMPPlus):
        super().__init__(sample_rate=16_000, num_channels=1)
        self.model = model
        self.pool = StatsPool()

    def compute_fbank(self, waveforms: Tensor) -> Tensor:
        """Kaldi's log-mel filterbank, 25 ms windows every 10 ms: (batch, 1, samples) → (batch, frames, 80)."""
        settings = {"num_mel_bins": 80, "sample_frequency": 16_000, "dither": 0.0}
        return torch.stack([kaldi.fbank(waveform, **settings) for waveform in waveforms])

    def forward_frames(self, waveforms: Tensor) -> Tensor:
        """Features of the filterbank less its mean over the input: (batch, 1, samples) → (batch, 512, frames)."""
        fbank = self.compute_fbank(waveforms)
        return self.model.frames_of_fbank(fbank - fbank.mean(dim=1, keepdim=True))

    def forward_embedding(self, frames: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, 512, frames), weights (batch, [speakers,] frames) → (batch, [speakers,] 192)."""
        return torch.nn.functional.linear(self.pool(frames, weights=weights), *self.model.xvector.projection())

    def forward(self, waveforms: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, 1, samples), weights (batch, [speakers,] frames) → (batch, [speakers,] 192)."""
        return self.forward_embedding(self.forward_frames(waveforms), weights=weights)


def load_stock_campplus(path: Path) -> StockCAMPPlus:
    """CAM++ of the published state dict."""
    return StockCAMPPlus(load_campplus(path)).eval()
