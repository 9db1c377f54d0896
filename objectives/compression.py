"""From a base checkpoint to the finished model of an operating point: a file whose bytes are the size objective."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from objectives._store import content_key, kept_file
from objectives.operating_point import UNPRUNED, Precision, Pruning
from objectives.quantization import QuantizationOptions
from objectives.recovery import RecoverySettings
from objectives.segmentation import file_sha256, load_segmentation, parameter_count
from objectives.training_data import CalibrationData, TrainingData

CODE_VERSION = 2  # of this module: raise it whenever a finished file would come out different
# SincNet computes its filters from cut-off frequencies in Hz and sample times: 330 values, which in 16 bits change the
# labels of 2.5 % of frames (AMI excerpts), all the other values together of 0.03 %
KEPT_WIDE = ".filterbank."
DROPPED = ("optimizer_states", "lr_schedulers", "callbacks", "loops")  # training state that a deployed model lacks


OnProgress = Callable[[str, float], None]  # (what is being done, fraction of it that is done)


@dataclass(frozen=True)
class CompressionSettings:
    """What all models of a study share. iterations: K of the paper's Sec. 4.3. seed: of everything that is drawn."""

    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    quantization: QuantizationOptions = field(default_factory=QuantizationOptions)
    iterations: int = 4
    seed: int = 0


@dataclass(frozen=True)
class FinishedModel:
    """A segmentation model on disk, ready to run.

    key: hash of everything that made it. checkpoint: the file whose bytes are its size. params: trainable values.
    kept: units that stay, {"hidden": 84, "linear": 128}. story: how it was made, as JSON: settings, losses, seconds.
    """

    key: str
    checkpoint: Path
    precision: Precision
    params: int
    pruning: Pruning = UNPRUNED
    kept: Mapping[str, int] = field(default_factory=dict)
    story: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of the checkpoint file."""
        return self.checkpoint.stat().st_size


@dataclass(frozen=True)
class Compressor:
    """Makes finished models of one base checkpoint.

    training, calibration: None where the corpus has no such split; then what needs it is refused.
    """

    base: Path
    settings: CompressionSettings = field(default_factory=CompressionSettings)
    training: TrainingData | None = None
    calibration: CalibrationData | None = None

    def finish(
        self, pruning: Pruning, precision: Precision, on_progress: OnProgress = lambda stage, fraction: None
    ) -> FinishedModel:
        """The finished model of a pruning and a precision, made once and kept."""
        return finish(self.base, precision)


def finish(base: Path, precision: Precision) -> FinishedModel:
    """The finished model of `base` in `precision`, made once and kept.

    fp32 and fp16 store weights in 32 and 16 bits, but for SincNet's filters, always in 32; stock pyannote.audio loads
    both (widening the latter).
    Raises ModelError where `base` is no usable PyanNet.
    """
    key = content_key(base=file_sha256(base), precision=precision, code=CODE_VERSION)
    checkpoint = kept_file("models", f"{key}.bin", lambda path: _write(base, precision, path))
    return FinishedModel(key, checkpoint, precision, parameter_count(load_segmentation(checkpoint)))


def _write(base: Path, precision: Precision, path: Path) -> None:
    load_segmentation(base)  # refuses anything but a usable PyanNet
    checkpoint: dict[str, Any] = torch.load(base, map_location="cpu", weights_only=False)
    kept = {name: value for name, value in checkpoint.items() if name not in DROPPED}
    kept["state_dict"] = {name: _stored(name, value, precision) for name, value in checkpoint["state_dict"].items()}
    torch.save(kept, path)


def _stored(name: str, value: torch.Tensor, precision: Precision) -> torch.Tensor:
    if not value.is_floating_point():
        return value
    return value.to(torch.float16 if precision == "fp16" and KEPT_WIDE not in name else torch.float32)
