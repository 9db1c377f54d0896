"""Load a speaker embedding by name."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from objectives.backends.checkpoint import build_network, from_hub, read_checkpoint
from objectives.backends.onnxruntime import open_session
from objectives.backends.pyannote import WeSpeakerResNet34
from objectives.cache.assets import fetch
from objectives.cache.files import content_key, kept_file
from objectives.errors import ModelError
from objectives.models.campplus import CAMPPlus
from objectives.models.embedding import Blocks, SpeakerEmbedding, features_by
from objectives.models.embedding_onnx import CAMPPLUS_CARD, FORM, WESPEAKER_CARD, Affine, Card, write_embedding_onnx
from objectives.models.filterbank import FBANK_STEP, Filterbank
from objectives.models.released_pipeline import CLUSTERING_THRESHOLD
from objectives.models.segmentation import file_sha256
from objectives.operating_point import AS_TUNED, OnlineTracking

CODE_VERSION = 5  # of the code that computes features: raise it whenever a feature would change


@dataclass(frozen=True)
class _Recipe:
    """What is known of an embedding beside its weights.

    filterbank: the one that the model was trained with. stride: frames of the filterbank for each feature. threshold,
    online, card: see SpeakerEmbedding and embedding_onnx.py.
    """

    filterbank: Filterbank
    stride: int
    blocks: Blocks
    threshold: float
    card: Card
    online: OnlineTracking = AS_TUNED


CAMPPLUS = _Recipe(
    Filterbank("povey"),
    stride=2,
    blocks=Blocks(length=16_000, left=8_000, right=640),
    threshold=0.8,  # tuned on train and calib of ami-excerpts, offline mode, where 0.8 to 1.0 give similar DER
    card=CAMPPLUS_CARD,
    online=OnlineTracking(tau_active=0.0, rho_update=1.0, delta_new=0.35),  # tuned likewise, streaming
)
WESPEAKER = _Recipe(
    Filterbank("hamming", scale=2.0**15),
    stride=8,
    blocks=Blocks(length=16_640, left=8_960, right=1_280),  # whole steps of 80 ms
    threshold=CLUSTERING_THRESHOLD,
    card=WESPEAKER_CARD,
)


def load_embedding(name: str, threads: int = 1, trusted: Collection[str] = ()) -> SpeakerEmbedding:
    """Load the embedding of that name. ONNX Runtime computes its features with this many threads.

    name: `campplus`, a pinned asset, or the path or Hugging Face name of a WeSpeaker ResNet34 as pyannote.audio loads
    it (`pyannote/wespeaker-voxceleb-resnet34-LM`, the released pipeline's).
    trusted: SHA-256 of checkpoints that may run code when they are read.

    Raises ModelError for anything else.
    """
    if name != "campplus":
        return _load_wespeaker(name, threads, trusted)
    path = fetch("campplus")
    model = load_campplus(path)
    affine = model.xvector.projection()
    return _assemble(CAMPPLUS, name, file_sha256(path), _CAMPPlusFrames(model), affine, threads)


def load_campplus(path: Path) -> CAMPPlus:
    """Load CAM++ from its published state dict. Raises ModelError unless it has exactly the model's 937 tensors."""
    model = CAMPPlus()
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{path}: not the CAM++ of 192 dimensions and 937 tensors: {error}") from error
    return model.eval()


def _load_wespeaker(name: str, threads: int, trusted: Collection[str]) -> SpeakerEmbedding:
    local = Path(name).expanduser()
    try:
        path = local if local.is_file() else from_hub(name)
        model = build_network(path, read_checkpoint(path, trusted), WeSpeakerResNet34)
    except ModelError as error:
        raise ModelError(
            f"embedding {name!r}: {error} Or use campplus, or a WeSpeaker ResNet34 checkpoint "
            "(pyannote/wespeaker-voxceleb-resnet34-LM wants a Hugging Face token)."
        ) from error
    return wespeaker_embedding(model, name, threads)


def wespeaker_embedding(model: WeSpeakerResNet34, name: str, threads: int) -> SpeakerEmbedding:
    """Wrap a loaded WeSpeaker ResNet34 as a SpeakerEmbedding: 80 ms steps, statistics over all channels and bins."""
    digest = content_key(state={key: digest_of(value.numpy()) for key, value in model.state_dict().items()})
    affine = (model.resnet.seg_1.weight, model.resnet.seg_1.bias)
    return _assemble(WESPEAKER, name, digest, _WeSpeakerFrames(model), affine, threads)


class _CAMPPlusFrames(torch.nn.Module):
    """(1, fbank frames, 80) → (1, 512, frames)."""

    def __init__(self, model: CAMPPlus):
        super().__init__()
        self.model = model

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        return self.model.frames_of_fbank(fbank)


class _WeSpeakerFrames(torch.nn.Module):
    """(1, fbank frames, 80) → (1, 2560, frames): all channels and bins of the last convolution."""

    def __init__(self, model: WeSpeakerResNet34):
        super().__init__()
        self.resnet = model.resnet

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        return self.resnet.forward_frames(fbank).flatten(1, 2)


def _assemble(
    recipe: _Recipe, name: str, digest: str, frames: torch.nn.Module, affine: Affine, threads: int
) -> SpeakerEmbedding:
    """digest: of the weights. frames: the network from (N, T, 80) to (N, channels, frames) features."""
    blocks, step = recipe.blocks, recipe.stride * FBANK_STEP
    assert blocks.length % step == blocks.left % step == 0, "blocks must lie on the grid of the features"
    key = content_key(weights=digest, blocks=[blocks.length, blocks.left, blocks.right], code=CODE_VERSION)
    network = kept_file(
        "models", f"{key}.v{FORM}.onnx", lambda path: write_embedding_onnx(path, frames, affine, recipe.card)
    )
    features = features_by(recipe.filterbank, open_session(network, threads))
    weight, bias = (values.detach().numpy().copy() for values in affine)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelError(f"embedding {name!r}: its last layer holds NaN or infinite weights. Use another checkpoint.")
    return SpeakerEmbedding(
        name, key, step, blocks, recipe.filterbank, network, recipe.threshold, features, weight, bias, recipe.online
    )


def digest_of(values: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
