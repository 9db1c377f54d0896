"""Speaker embeddings as ONNX files: what features are computed with, byte for byte the same as in an exported bundle.

Input `x` (N, T, 80) float32: the log-mel filterbank minus its mean over T. Outputs, with N and T free:

- `embedding` (N, dimension), of the whole input. sherpa-onnx takes this one, because it comes first.
- `features` (N, channels, frames), which this project pools itself by each speaker's activity.

If only features are requested, ONNX Runtime computes the embedding too, which is less than a thousandth of the work.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch

from objectives.backends.onnx_export import trace
from objectives.models.contract import SAMPLE_RATE
from objectives.models.filterbank import FBANK_BINS
from objectives.models.sherpa_metadata import NORMALIZATION

FORM = 2  # of the files: raise it whenever a file would be written differently
EXAMPLE = 300  # fbank frames to trace with

Affine = tuple[torch.Tensor, torch.Tensor]  # weight (dimension, 2 · channels), bias (dimension,)
Card = Mapping[str, str]  # the metadata of a file, in order

# framework: the one, of those that sherpa-onnx supports, whose models it resembles. normalize_samples: whether the
# filterbank is computed from samples in [-1, 1], rather than in the range of 16-bit integers.
CAMPPLUS_CARD: Card = {
    "framework": "3d-speaker",
    "language": "Chinese, English",
    "url": "https://github.com/modelscope/3D-Speaker",
    "comment": "CAM++ of 3D-Speaker (arXiv 2303.00332), Apache-2.0",
    "sample_rate": str(SAMPLE_RATE),
    "output_dim": "192",
    "normalize_samples": "1",
    "feature_normalize_type": NORMALIZATION,
}
WESPEAKER_CARD: Card = {
    **CAMPPLUS_CARD,
    "framework": "wespeaker",
    "language": "English",
    "url": "https://github.com/wenet-e2e/wespeaker",
    "comment": "ResNet34 of WeSpeaker, as pyannote.audio loads it",
    "output_dim": "256",
    "normalize_samples": "0",
}


def write_embedding_onnx(path: Path, frames: torch.nn.Module, affine: Affine, card: Card) -> None:
    """Write an embedding as ONNX.

    frames: network from (N, T, 80) to (N, channels, frames) features.
    affine: the map that follows the statistics, as in `SpeakerEmbedding.pool`.
    """
    weight, bias = (value.detach() for value in affine)
    trace(
        _Pooled(frames, weight, bias),
        torch.zeros(1, EXAMPLE, FBANK_BINS),
        path,
        {"x": {0: "N", 1: "T"}},
        {"embedding": {0: "N"}, "features": {0: "N", 2: "frames"}},
    )
    written = onnx.load(path)
    onnx.helper.set_model_props(written, {**card, "output_dim": str(len(bias))})
    onnx.save(written, path)


class _Pooled(torch.nn.Module):
    """Outputs the affine map of the features' mean and unbiased standard deviation over frames, then the features."""

    def __init__(self, frames: torch.nn.Module, weight: torch.Tensor, bias: torch.Tensor):
        super().__init__()
        self.frames = frames
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, fbank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.frames(fbank)  # (N, channels, frames)
        mean = features.mean(dim=2, keepdim=True)
        deviation = features - mean
        std = (deviation.square().sum(dim=2) / (features.shape[2] - 1)).sqrt()
        statistics = torch.cat([mean.squeeze(2), std], dim=1)  # (N, 2 · channels)
        embedding = torch.nn.functional.linear(statistics, self.get_buffer("weight"), self.get_buffer("bias"))
        return embedding, features
