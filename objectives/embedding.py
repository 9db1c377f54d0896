"""Speaker embeddings: frame-level features made once in fixed blocks, then pooled by each speaker's activity.

A block of features depends on the recording's audio around it and on nothing else: not on C, R, the window or who
asks. Sharing features between updates and trials is therefore exact. The offline mode's, which see whole windows as the
released pipeline's do, are in objectives/window_features.py.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from objectives._onnx import export_network, open_session
from objectives._store import content_key, kept_file, reading_arrays
from objectives.assets import fetch
from objectives.backend import Model, WeSpeakerResNet34
from objectives.campplus import CAMPPlus
from objectives.errors import ModelError
from objectives.released import CLUSTERING_THRESHOLD
from objectives.segmentation import Contract, file_sha256

MIN_FRAMES = 2  # fewer pooled frames have no standard deviation, so no embedding

# Features have 16 bits wherever they are used, so that a file of them is half as large and says the same as the real
# loop: of 14 AMI excerpts not one changes its labels
KEPT_AS = np.float16
LARGEST = float(np.finfo(KEPT_AS).max)

CODE_VERSION = 2  # of what makes a feature: raise it whenever one would come out different
FBANK_WIDTH, FBANK_STEP = 400, 160  # samples: 25 ms windows every 10 ms, Kaldi's and both embeddings'


@dataclass(frozen=True)
class Blocks:
    """How features are cut out of a recording, in samples: block j covers [j·length, (j + 1)·length) and is computed
    from `left` past samples more and `right` future samples more. It is ready once those have been heard."""

    length: int
    left: int
    right: int

    def ready(self, heard: int) -> int:
        """Number of blocks whose context lies within the first `heard` samples."""
        return max(0, (heard - self.right) // self.length)

    def span(self, block: int, total: int) -> tuple[int, int]:
        """Samples that a block is computed from, in a recording of `total` samples."""
        start = block * self.length
        return max(0, start - self.left), min(total, start + self.length + self.right)


@dataclass(frozen=True)
class SpeakerEmbedding:
    """A speaker embedding cut in two: frame-level features, then statistics pooling and one affine map.

    key: hash of all that changes a feature. step: samples between features. centre: centre of feature 0 in its input.
    threshold: of the clustering, tuned on *calib* for this embedding. features: (samples,) → (frames, channels).
    weight: (dimension, 2·channels). bias: (dimension,).
    """

    name: str
    key: str
    step: int
    centre: int
    blocks: Blocks
    threshold: float
    features: Callable[[np.ndarray], np.ndarray]
    weight: np.ndarray
    bias: np.ndarray

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self.weight.shape[0]

    @property
    def channels(self) -> int:
        """Length of a frame-level feature."""
        return self.weight.shape[1] // 2

    def block(self, waveform: np.ndarray, index: int) -> np.ndarray:
        """Features of one block, (frames, channels) float16. `waveform` is what was heard: all of the block's span, or
        all of the recording."""
        start, end = self.blocks.span(index, len(waveform))
        if end - start < FBANK_WIDTH:
            return np.zeros((0, self.channels), KEPT_AS)
        first = (index * self.blocks.length - start) // self.step
        return self.of(waveform[start:end])[first : first + self.blocks.length // self.step]

    def of(self, samples: np.ndarray) -> np.ndarray:
        """Features of a stretch of audio that hears nothing else, (frames, channels) float16."""
        return np.clip(self.features(samples), -LARGEST, LARGEST).astype(KEPT_AS)

    def frames_before(self, heard: int) -> int:
        """Number of features that are ready once so many samples have been heard."""
        return self.blocks.ready(heard) * (self.blocks.length // self.step)

    def centres(self, first: int, last: int) -> np.ndarray:
        """Samples of the recording at which features first … last - 1 are centred."""
        return np.arange(first, last) * self.step + self.centre

    def features_of_speakers(
        self, contract: Contract, activity: np.ndarray, window_start: int
    ) -> tuple[int, list[np.ndarray]]:
        """Which features to pool for each local speaker of a window that starts at a sample of the recording.

        activity: (frames, speakers) bool. Returns the number of features that must be ready, and for each speaker the
        indices of the features during which nobody else speaks, or all of its own where these are too few.
        """
        first = max(0, -(-(window_start - self.centre) // self.step))
        until = max(first, -(-(window_start + contract.window - self.centre) // self.step))
        local = activity[contract.frame_at(self.centres(first, until) - window_start)]
        # (features of the window, speakers)
        alone = local & (local.sum(axis=1, keepdims=True) == 1)
        chosen = [clean if clean.sum() >= MIN_FRAMES else own for clean, own in zip(alone.T, local.T, strict=True)]
        return until, [np.flatnonzero(mask) + first for mask in chosen]

    def pool(self, features: np.ndarray) -> np.ndarray:
        """(frames, channels) of one speaker → (dimension,): mean and unbiased standard deviation over frames, then the
        affine map. NaN where there are fewer than two frames."""
        if len(features) < MIN_FRAMES:
            return np.full(self.dimension, np.nan, np.float32)
        features = features.astype(np.float32)
        mean = features.mean(axis=0)
        deviation = features - mean
        std = np.sqrt(np.einsum("fc,fc->c", deviation, deviation) / (len(features) - 1))
        return self.weight @ np.concatenate([mean, std]) + self.bias


class FeatureStream:
    """The features of a recording as it is heard, each made once.

    expected: samples that the recording will have, as far as is known. Beyond them features are moved at times, to
    twice the room.
    """

    def __init__(self, embedding: SpeakerEmbedding, expected: int = 0):
        self._embedding = embedding
        self._blocks = 0
        self._frames = 0
        self._rows = np.empty((0, embedding.channels), KEPT_AS)
        self._reserve(-(-expected // embedding.blocks.length))

    def hear(self, waveform: np.ndarray, last: bool = False) -> np.ndarray:
        """Take in all that was heard so far; (frames, channels): every feature that is ready, from 0, as a view.

        last: nothing more will be heard, so the blocks that still wait for context are made from what there is.
        """
        plan = self._embedding.blocks
        wanted = -(-len(waveform) // plan.length) if last else plan.ready(len(waveform))
        self._reserve(wanted)
        while self._blocks < wanted:
            fresh = self._embedding.block(waveform, self._blocks)
            self._rows[self._frames : self._frames + len(fresh)] = fresh
            self._frames += len(fresh)
            self._blocks += 1
        return self._rows[: self._frames]

    def _reserve(self, blocks: int) -> None:
        needed = blocks * self._embedding.blocks.length // self._embedding.step
        if needed > len(self._rows):
            room = np.empty((max(needed, 2 * len(self._rows)), self._embedding.channels), KEPT_AS)
            room[: self._frames] = self._rows[: self._frames]
            self._rows = room


def recording_features(embedding: SpeakerEmbedding, waveform: np.ndarray, digest: str | None = None) -> np.ndarray:
    """(frames, channels) float16: all features of a recording, kept on disk by content.

    digest: SHA-256 of the waveform's samples, where the caller has it already.
    """
    key = content_key(embedding=embedding.key, samples=digest or _digest(waveform))

    def make(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, FeatureStream(embedding).hear(waveform, last=True))

    path = kept_file("features", f"{key}.npy", make)
    with reading_arrays:
        return np.load(path, mmap_mode="r")


def load_embedding(name: str, threads: int = 1) -> SpeakerEmbedding:
    """The embedding of that name, its features computed by ONNX Runtime on so many threads.

    `campplus`, a pinned asset, or the path or Hugging Face name of a WeSpeaker ResNet34 as pyannote.audio loads it
    (`pyannote/wespeaker-voxceleb-resnet34-LM`, the released pipeline's). Raises ModelError for anything else.
    """
    return _load_campplus(threads) if name == "campplus" else _load_wespeaker(name, threads)


CAMPPLUS_BLOCKS = Blocks(length=32_000, left=16_000, right=640)
CAMPPLUS_THRESHOLD = 0.8  # tuned on train and calib of ami-excerpts, offline mode: 0.8 to 1.0 are alike there


def _load_campplus(threads: int) -> SpeakerEmbedding:
    path = fetch("campplus")
    model = load_campplus(path)
    return _assemble(
        name="campplus",
        digest=file_sha256(path),
        front=_FrontEnd(model.compute_fbank, _CAMPPlusFrames(model), stride=2),
        affine=model.xvector.projection(),
        blocks=CAMPPLUS_BLOCKS,
        threshold=CAMPPLUS_THRESHOLD,
        threads=threads,
    )


def load_campplus(path: Path) -> CAMPPlus:
    """CAM++ from its published state dict. Raises ModelError unless all of its 937 tensors are used and none left."""
    model = CAMPPlus()
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{path}: not the CAM++ of 192 dimensions and 937 tensors: {error}") from error
    return model.eval()


WESPEAKER_BLOCKS = Blocks(length=32_000, left=16_640, right=640)  # whole steps of 80 ms


def _load_wespeaker(name: str, threads: int) -> SpeakerEmbedding:
    local = Path(name).expanduser()
    try:
        model = Model.from_pretrained(local if local.is_file() else name)
    except Exception as error:  # unpickling and the hub raise arbitrary types
        raise ModelError(
            f"embedding {name!r}: cannot be loaded ({type(error).__name__}). Use campplus, or a WeSpeaker ResNet34 "
            "checkpoint (pyannote/wespeaker-voxceleb-resnet34-LM wants a Hugging Face token)."
        ) from error
    if not isinstance(model, WeSpeakerResNet34):
        raise ModelError(f"embedding {name!r}: holds no WeSpeakerResNet34. Use campplus or a WeSpeaker ResNet34.")
    return wespeaker_embedding(model.eval(), name, threads)


def wespeaker_embedding(model: WeSpeakerResNet34, name: str, threads: int) -> SpeakerEmbedding:
    """A loaded WeSpeaker ResNet34 as a SpeakerEmbedding: 80 ms steps, statistics over all channels and bins."""
    affine = model.resnet.seg_1
    return _assemble(
        name=name,
        digest=content_key(state={key: _digest(value.numpy()) for key, value in model.state_dict().items()}),
        front=_FrontEnd(model.compute_fbank, _WeSpeakerFrames(model), stride=8),
        affine=(affine.weight, affine.bias),
        blocks=WESPEAKER_BLOCKS,
        threshold=CLUSTERING_THRESHOLD,
        threads=threads,
    )


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


@dataclass(frozen=True)
class _FrontEnd:
    """(1, 1, samples) → fbank (1, fbank frames, 80), not centred; then a network with an output per `stride` frames."""

    fbank: Callable[[torch.Tensor], torch.Tensor]
    network: torch.nn.Module
    stride: int


def _assemble(
    *,
    name: str,
    digest: str,
    front: _FrontEnd,
    affine: tuple[torch.Tensor, torch.Tensor],
    blocks: Blocks,
    threshold: float,
    threads: int,
) -> SpeakerEmbedding:
    step = front.stride * FBANK_STEP
    assert blocks.length % step == 0, "blocks must lie on the grid of the features"
    assert blocks.left % step == 0, "blocks must lie on the grid of the features"
    key = content_key(weights=digest, blocks=[blocks.length, blocks.left, blocks.right], code=CODE_VERSION)

    def make(path: Path) -> None:
        export_network(
            front.network, torch.zeros(1, 300, 80), path, inputs="fbank", outputs="features", dynamic={1: "time"}
        )

    session = open_session(kept_file("models", f"{key}.onnx", make), threads)

    def features(samples: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            fbank = front.fbank(torch.from_numpy(np.ascontiguousarray(samples))[None, None])
        # (1, fbank frames, 80)
        centred = fbank - fbank.mean(dim=1, keepdim=True)
        (made,) = session.run(None, {"fbank": centred.numpy()})
        return np.ascontiguousarray(made[0].T)

    weight, bias = (values.detach().numpy().copy() for values in affine)
    return SpeakerEmbedding(name, key, step, FBANK_WIDTH // 2, blocks, threshold, features, weight, bias)


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
