"""An exported operating point on disk: a folder of files that run, and `operating_point.json` that describes them.

Reading one needs ONNX Runtime but neither torch nor Optuna, so that it can run where these are not installed.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load_file

from objectives.backends.onnxruntime import open_session
from objectives.errors import BundleError, ascii_controls, quoted, reason_of, shortened
from objectives.measurement import Execution
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.embedding import Blocks, SpeakerEmbedding, features_by
from objectives.models.filterbank import FBANK_STEP, FBANK_WIDTH, Filterbank, WindowName
from objectives.models.sherpa_metadata import segmentation_metadata
from objectives.operating_point import AS_TUNED, Mode, OnlineTracking, OperatingPoint, Precision, Pruning
from objectives.runtime.runtime import OnnxRuntime
from objectives.streaming.clustering import ClusteringSettings

FORMAT: Literal["explorer bundle 1"] = "explorer bundle 1"

POINT = "operating_point.json"
CARD = "README.md"
MODEL = "model.onnx"
WEIGHTS = "model.safetensors"
CHECKPOINT = "pytorch_model.bin"  # present if stock pyannote.audio can load the precision mode
EMBEDDING = "embedding.onnx"
PROJECTION = "embedding.safetensors"
FILES = frozenset({POINT, CARD, MODEL, WEIGHTS, CHECKPOINT, EMBEDDING, PROJECTION})

# The buffers of audio and features in the real loop (objectives/streaming/loop.py) hold no larger ones
LARGEST_WINDOW = 20 * SAMPLE_RATE
LARGEST_BLOCK = 8 * SAMPLE_RATE
MOST_SPEAKERS = 8  # local ones; the number of powerset classes grows exponentially with it

TRIED = 64  # frames of the filterbank that an embedding is tried on when it is loaded

LINKAGES = "^(average|centroid|complete|median|single|ward|weighted)$"  # those of scipy
Plain = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_][A-Za-z0-9._-]*$")]  # a file name, not a path


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class OnlinePart(_Part):
    """How the online mode tracks speakers: see objectives.operating_point.OnlineTracking."""

    tau_active: float | None
    rho_update: float | None
    delta_new: float | None
    min_duration_off: float

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        thresholds = {name: getattr(self, name) for name in ("tau_active", "rho_update", "delta_new")}
        if None in thresholds.values() and any(value is not None for value in thresholds.values()):
            raise ValueError(f"{', '.join(thresholds)} are given all together or not at all")
        return self


class PointPart(_Part):
    """An operating point. chunk_length, right_context, latency: seconds; None in the offline mode. online: None in all
    other modes."""

    mode: Mode
    chunk_length: float | None
    right_context: float | None
    latency: float | None
    pruning: Pruning
    precision: Precision
    online: OnlinePart | None = None

    @model_validator(mode="after")
    def _makes_a_point(self) -> Self:
        streamed = self.mode != "offline"
        if (self.online is None) == (self.mode == "online"):
            raise ValueError(f"online = {self.online} does not go with the mode {self.mode!r}")
        for name in ("chunk_length", "right_context", "latency"):
            if (getattr(self, name) is None) == streamed:
                raise ValueError(f"{name} = {getattr(self, name)} does not go with the mode {self.mode!r}")
        latency = self.point().latency
        if streamed and abs(latency - (self.latency or 0.0)) > 1 / SAMPLE_RATE:
            raise ValueError(f"latency = {self.latency:g} s is not C + R = {latency:g} s, pauses waited for included")
        return self

    def point(self) -> OperatingPoint:
        """Return the operating point. Raises OperatingPointError if the values are not valid."""
        if self.chunk_length is None or self.right_context is None:
            return OperatingPoint(pruning=self.pruning, precision=self.precision, mode=self.mode)
        online = AS_TUNED if self.online is None else OnlineTracking(**self.online.model_dump())
        return OperatingPoint(self.chunk_length, self.right_context, self.pruning, self.precision, self.mode, online)


class SegmentationPart(_Part):
    """The segmentation model. contract: see objectives.models.contract, in samples. execution: of `model.onnx` on a
    CPU."""

    window: int = Field(gt=0, le=LARGEST_WINDOW)
    frames: int = Field(gt=0, le=LARGEST_WINDOW)
    field: int = Field(gt=0, le=LARGEST_WINDOW)
    centre: int = Field(ge=0, le=LARGEST_WINDOW)
    step: int = Field(gt=0, le=LARGEST_WINDOW)
    speakers: int = Field(gt=0, le=MOST_SPEAKERS)
    max_at_once: int = Field(gt=0, le=MOST_SPEAKERS)
    execution: Execution

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.centre >= self.field:
            raise ValueError(f"centre = {self.centre} lies outside of the field of {self.field} samples")
        if self.max_at_once > self.speakers:
            raise ValueError(f"max_at_once = {self.max_at_once} is more than the {self.speakers} speakers")
        return self

    def contract(self) -> Contract:
        """Return how frames lie in a window."""
        return Contract(**self.model_dump(exclude={"execution"}))


class EmbeddingPart(_Part):
    """The speaker embedding: objectives.models.embedding, lengths in samples."""

    name: str
    key: str
    step: int = Field(gt=0, le=LARGEST_BLOCK)
    block_length: int = Field(gt=0, le=LARGEST_BLOCK)
    block_left: int = Field(ge=0, le=LARGEST_BLOCK)
    block_right: int = Field(ge=0, le=LARGEST_BLOCK)
    window: WindowName
    scale: float = Field(gt=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("block_length", "block_left"):
            if getattr(self, name) % self.step:
                raise ValueError(f"{name} = {getattr(self, name)} is not a multiple of step = {self.step}")
        if (block := self.block_length + self.block_left + self.block_right) > LARGEST_BLOCK:
            raise ValueError(f"block_length, block_left and block_right are {block} samples, over {LARGEST_BLOCK}")
        if self.block_left < self.block_right:
            raise ValueError(f"block_left = {self.block_left} is less than block_right = {self.block_right}")
        return self


class ClusteringPart(_Part):
    """See objectives.streaming.clustering.ClusteringSettings. offline_threshold: the embedding's own."""

    speakers: tuple[int, int] | None
    method: str = Field(pattern=LINKAGES)
    threshold: float | None = Field(ge=0)
    offline_threshold: float = Field(ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.settings()  # checks the numbers of speakers
        return self

    def settings(self) -> ClusteringSettings:
        """Return the settings as the streaming loop takes them."""
        return ClusteringSettings(self.threshold, self.speakers, self.method)


class FilePart(_Part):
    """A file of the bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(_Part):
    """The content of `operating_point.json`. measured, parity, provenance, versions: for people and other programs;
    running the bundle does not depend on them. licences: by file."""

    format: Literal["explorer bundle 1"]
    operating_point: PointPart
    segmentation: SegmentationPart
    embedding: EmbeddingPart
    clustering: ClusteringPart
    measured: dict[str, Any]
    parity: dict[str, Any]
    provenance: dict[str, Any]
    versions: dict[str, str]
    licences: dict[str, str]
    files: dict[Plain, FilePart]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read: every file is present and has the hash in its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def point(self) -> OperatingPoint:
        """The operating point."""
        return self.manifest.operating_point.point()

    @property
    def clustering(self) -> ClusteringSettings:
        """Settings of the speaker clustering."""
        return self.manifest.clustering.settings()

    def runtime(self, threads: int = 1) -> OnnxRuntime:
        """Load the segmentation model on this many threads of the CPU, and run it once. Raises BundleError."""
        part, path = self.manifest.segmentation, self.folder / MODEL
        contract = part.contract()
        with _as_bundle_errors(path):
            model = OnnxRuntime(path, contract, part.execution, "bundle", threads)
            for name, value in segmentation_metadata(contract).items():
                if model.metadata.get(name) != value:
                    raise ValueError(f"{name} is {model.metadata.get(name)}, and by {POINT} it is {value}")
            made = model.scores(np.zeros((1, contract.window), np.float32)).shape
            expected = (1, contract.frames, len(contract.powerset))
            if made != expected:
                raise ValueError(f"gives {made} for a window, and by {POINT} it is {expected}")
        return model

    def embedding(self, threads: int = 1) -> SpeakerEmbedding:
        """Load the speaker embedding on this many threads of the CPU, and try it on silence. Raises BundleError."""
        part = self.manifest.embedding
        filterbank = Filterbank(part.window, part.scale)
        network = self.folder / EMBEDDING
        with _as_bundle_errors(network):
            features = _finite(features_by(filterbank, open_session(network, threads)), network)
            made = features(np.zeros(FBANK_WIDTH + (TRIED - 1) * FBANK_STEP, np.float32))
            if abs(len(made) - TRIED * FBANK_STEP / part.step) > 1:
                raise ValueError(f"gives {len(made)} features for {TRIED} frames, and by {POINT} step = {part.step}")
        with _as_bundle_errors(self.folder / PROJECTION):
            affine = load_file(self.folder / PROJECTION)
            weight, bias = np.asarray(affine["weight"], np.float32), np.asarray(affine["bias"], np.float32)
            if bias.ndim != 1 or weight.shape != (len(bias), 2 * made.shape[1]):
                raise ValueError(f"weight {weight.shape}, bias {bias.shape}, {made.shape[1]} channels of {EMBEDDING}")
        return SpeakerEmbedding(
            name=part.name,
            key=part.key,
            step=part.step,
            blocks=Blocks(part.block_length, part.block_left, part.block_right),
            filterbank=filterbank,
            network=network,
            threshold=self.manifest.clustering.offline_threshold,
            features=features,
            weight=weight,
            bias=bias,
        )


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file in it. Raises BundleError with the file and what is wrong."""
    path = folder / POINT
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path}: cannot be read ({error}): give the folder that `explorer export STUDY TRIAL DIR` wrote"
        ) from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{path}: {_first(error)}: export the operating point again") from error
    missing = {MODEL, EMBEDDING, PROJECTION} - manifest.files.keys()
    if missing:
        raise BundleError(f"{path}: names no {', '.join(sorted(missing))}: export the operating point again")
    for name, part in manifest.files.items():
        _check(folder, name, part)
    return Bundle(folder, manifest)


def describe_file(path: Path) -> FilePart:
    """Return the hash and size of a file."""
    with path.open("rb") as file:
        return FilePart(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


def _check(folder: Path, name: str, part: FilePart) -> None:
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path}: there is no such file: copy the bundle again, or export the operating point again")
    try:
        found = describe_file(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}): export the operating point again") from error
    if found != part:
        raise BundleError(
            f"{path}: {found.bytes} bytes with SHA-256 {found.sha256[:12]}…, where {POINT} says {part.bytes} with "
            f"{part.sha256[:12]}…: it was changed or cut short, copy the bundle again or export it again"
        )


def _finite(features: Callable[[np.ndarray], np.ndarray], network: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Wrap a function of features so that it raises BundleError, naming the file, if one is not finite."""

    def checked(samples: np.ndarray) -> np.ndarray:
        made = features(samples)
        if not np.isfinite(made).all():
            raise BundleError(f"{network}: gives features that are NaN or infinite: export the operating point again")
        return made

    return checked


@contextmanager
def _as_bundle_errors(path: Path) -> Iterator[None]:
    """Turn errors raised by a file of the bundle that cannot be used into a BundleError that names it."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's exceptions have no other base class
        known = isinstance(error, OSError | SafetensorError | KeyError | ValueError)
        if not (known or type(error).__module__.startswith("onnxruntime")):
            raise
        raise BundleError(f"{path}: cannot be loaded ({reason_of(error)}): export the operating point again") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    given = first["input"]
    value = "" if isinstance(given, dict | bytes) or not first["loc"] else f", and is {quoted(given)}"
    return f"{shortened(ascii_controls(where))}: {reason_of(first['msg'].removeprefix('Value error, '))}{value}"
