"""An exported operating point on disk: a folder of files that run, and one that says what they are.

Reading one needs ONNX Runtime and neither torch nor Optuna, so that it can run where these are not installed.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from objectives._onnx import open_session
from objectives.clustering import ClusteringSettings
from objectives.contract import Contract
from objectives.deployed import DeployedModel, Execution
from objectives.errors import BundleError
from objectives.filterbank import Filterbank, WindowName
from objectives.operating_point import Mode, OperatingPoint, Precision, Pruning, Structure
from objectives.speaker_embedding import Blocks, SpeakerEmbedding, features_by

FORMAT: Literal["explorer bundle 1"] = "explorer bundle 1"

POINT = "operating_point.json"
CARD = "README.md"
MODEL = "model.onnx"
WEIGHTS = "model.safetensors"
CHECKPOINT = "pytorch_model.bin"  # where stock pyannote.audio can load the mode
EMBEDDING = "embedding.onnx"
PROJECTION = "embedding.safetensors"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PruningPart(_Part):
    """See objectives.operating_point.Pruning."""

    structure: Structure
    ratio: float


class PointPart(_Part):
    """An operating point. chunk_length, right_context, latency: seconds; None in the offline mode."""

    mode: Mode
    chunk_length: float | None
    right_context: float | None
    latency: float | None
    pruning: PruningPart
    precision: Precision

    def point(self) -> OperatingPoint:
        """Raises OperatingPointError where the values do not make one."""
        pruning = Pruning(self.pruning.structure, self.pruning.ratio)
        if self.chunk_length is None or self.right_context is None:
            return OperatingPoint(pruning=pruning, precision=self.precision, mode=self.mode)
        return OperatingPoint(self.chunk_length, self.right_context, pruning, self.precision, self.mode)


class SegmentationPart(_Part):
    """The segmentation model. contract: see objectives.contract, in samples. execution: of `model.onnx` on a CPU."""

    window: int = Field(gt=0)
    frames: int = Field(gt=0)
    field: int = Field(gt=0)
    centre: int = Field(ge=0)
    step: int = Field(gt=0)
    speakers: int = Field(gt=0)
    max_at_once: int = Field(gt=0)
    execution: Execution

    def contract(self) -> Contract:
        """How frames lie in a window."""
        return Contract(**self.model_dump(exclude={"execution"}))


class EmbeddingPart(_Part):
    """The speaker embedding: objectives.speaker_embedding, lengths in samples."""

    name: str
    key: str
    step: int = Field(gt=0)
    block_length: int = Field(gt=0)
    block_left: int = Field(ge=0)
    block_right: int = Field(ge=0)
    window: WindowName
    scale: float = Field(gt=0)


class ClusteringPart(_Part):
    """See objectives.clustering.ClusteringSettings."""

    method: str
    threshold: float = Field(ge=0)


class FilePart(_Part):
    """A file of the bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class PointFile(_Part):
    """`operating_point.json`. measured, parity, provenance, versions: for people and for other programs; nothing that
    runs depends on them. licences: by file."""

    format: Literal["explorer bundle 1"] = FORMAT
    operating_point: PointPart
    segmentation: SegmentationPart
    embedding: EmbeddingPart
    clustering: ClusteringPart
    measured: dict[str, Any]
    parity: dict[str, Any]
    provenance: dict[str, Any]
    versions: dict[str, str]
    licences: dict[str, str]
    files: dict[str, FilePart]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read: every file is there, and is what `operating_point.json` says."""

    folder: Path
    told: PointFile

    @property
    def point(self) -> OperatingPoint:
        """The operating point."""
        return self.told.operating_point.point()

    @property
    def clustering(self) -> ClusteringSettings:
        """Settings of the speaker clustering."""
        return ClusteringSettings(self.told.clustering.threshold, self.told.clustering.method)

    def runtime(self, threads: int = 1) -> DeployedModel:
        """The segmentation model, on so many threads of the CPU. Raises BundleError."""
        part = self.told.segmentation
        with _mending(self.folder / MODEL):
            return DeployedModel(self.folder / MODEL, part.contract(), part.execution, "bundle", threads)

    def embedding(self, threads: int = 1) -> SpeakerEmbedding:
        """The speaker embedding, on so many threads of the CPU. Raises BundleError."""
        part = self.told.embedding
        filterbank = Filterbank(part.window, part.scale)
        network = self.folder / EMBEDDING
        with _mending(network):
            features = features_by(filterbank, open_session(network, threads))
        with _mending(self.folder / PROJECTION):
            affine = load_file(self.folder / PROJECTION)
            weight, bias = affine["weight"], affine["bias"]
        return SpeakerEmbedding(
            name=part.name,
            key=part.key,
            step=part.step,
            blocks=Blocks(part.block_length, part.block_left, part.block_right),
            filterbank=filterbank,
            network=network,
            threshold=self.told.clustering.threshold,
            features=features,
            weight=np.asarray(weight, np.float32),
            bias=np.asarray(bias, np.float32),
        )


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file of it. Raises BundleError naming the file and what is wrong."""
    path = folder / POINT
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path}: cannot be read ({error}): give the folder that `explorer export STUDY TRIAL DIR` wrote"
        ) from error
    try:
        told = PointFile.model_validate_json(text)
        told.operating_point.point()
    except (ValidationError, ValueError) as error:
        raise BundleError(f"{path}: {_first(error)}: export the operating point again") from error
    missing = {MODEL, EMBEDDING, PROJECTION} - told.files.keys()
    if missing:
        raise BundleError(f"{path}: names no {', '.join(sorted(missing))}: export the operating point again")
    for name, part in told.files.items():
        _check(folder, name, part)
    return Bundle(folder, told)


def describe_file(path: Path) -> FilePart:
    """Hash and size of a file."""
    with path.open("rb") as file:
        return FilePart(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


def _check(folder: Path, name: str, part: FilePart) -> None:
    path = folder / name
    if Path(name).name != name:
        raise BundleError(f"{folder / POINT}: names {name!r}, which is not in its folder: export it again")
    try:
        found = describe_file(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}): export the operating point again") from error
    if found != part:
        raise BundleError(
            f"{path}: {found.bytes} bytes with SHA-256 {found.sha256[:12]}…, where {POINT} says {part.bytes} with "
            f"{part.sha256[:12]}…: it was changed or cut short, copy the bundle again or export it again"
        )


class _mending:
    """What a file of the bundle that cannot be used raises becomes a BundleError that names it."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | SafetensorError | KeyError | ValueError) or _is_onnxruntimes(error):
            raise BundleError(f"{self._path}: cannot be loaded ({error}): export the operating point again") from error


def _is_onnxruntimes(error: BaseException | None) -> bool:
    # its exceptions derive from Exception itself, and from nothing of their own
    return isinstance(error, Exception) and type(error).__module__.startswith("onnxruntime")


def _first(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return f"{where}: {first['msg']}"
