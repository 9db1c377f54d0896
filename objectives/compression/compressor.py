"""Make the finished model of an operating point from a base checkpoint. The size of its file is the size objective.

Pruning comes first, in iterations with recovery after each; then the precision is lowered (the paper's Sec. 4.3 and
4.4). Intermediate models are kept, so that all low-bit modes of one pruned model share it.
"""

import functools
import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from objectives import machine
from objectives.backends.checkpoint import plain, read_checkpoint
from objectives.backends.pyannote import PyanNet
from objectives.backends.torchao import __version__ as torchao_version
from objectives.cache.model_store import StoredModel, kept_model
from objectives.compression import low_bit, recovery, training_windows
from objectives.compression.low_bit import LowBitModel, Ranges
from objectives.compression.precisions import PRECISION_MODES, Bits
from objectives.compression.pruning import checkpoint_of, folded, kept_units, rebuild, schedule, units_to_keep
from objectives.compression.pyannet_head import forward_head
from objectives.compression.settings import CompressionSettings, QuantizationOptions
from objectives.compression.training_data import CalibrationData, TrainingData
from objectives.compression.training_windows import TrainingWindows, calibration_features, draw_windows
from objectives.errors import EvaluationError, ModelError
from objectives.machine import one_torch_thread
from objectives.models.segmentation import contract_of, file_sha256, load_segmentation, parameter_count
from objectives.operating_point import UNPRUNED, Precision, Pruning

CODE_VERSION = 5  # of this module, pruning and quantization: raise it if the files would change
# SincNet computes its filters from cut-off frequencies in Hz and sample times. Storing these 330 values in 16 bits
# changes the labels of 2.5 % of frames (AMI excerpts); storing all the other values so changes 0.03 %.
KEPT_WIDE = ".filterbank."
DROPPED = ("optimizer_states", "lr_schedulers", "callbacks", "loops")  # training state
LAST_SHARE = 0.7  # share of the recovery steps after the last pruning iteration; the others share the rest
QAT_RATE = 0.25  # of recovery's learning rate: the model is already close to its optimum

TRAINING_CODE = (recovery.CODE_VERSION, training_windows.CODE_VERSION)

OnProgress = Callable[[str, float], None]  # (stage, fraction of it that is done)


@dataclass(frozen=True)
class FinishedModel:
    """A segmentation model on disk, ready to run.

    key: hash of everything that the model depends on. checkpoint: the file; its size is the model's size. params:
    number of trainable values. sha256: of the checkpoint. kept: units that stay, {"hidden": 84, "linear": 128}. story:
    how it was made, as JSON: settings, losses, seconds.
    """

    key: str
    checkpoint: Path
    precision: Precision
    params: int
    sha256: str
    pruning: Pruning = UNPRUNED
    kept: Mapping[str, int] = field(default_factory=dict)
    story: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Size of the checkpoint file in bytes."""
        return self.checkpoint.stat().st_size

    @property
    def bits(self) -> Bits | None:
        """Bits of the LSTM and Linear weights if they are integers."""
        return PRECISION_MODES[self.precision].integer_bits


def load_network(model: FinishedModel) -> PyanNet:
    """Load the network of a finished model, with the values in the file widened to 32 bits."""
    if model.bits is not None:
        return low_bit.load(model.checkpoint).network
    return load_segmentation(model.checkpoint)


@dataclass(frozen=True)
class Compressor:
    """Makes finished models of one base checkpoint.

    training, calibration: None if the corpus has no such split; models that need it are then refused. trusted: SHA-256
    of base checkpoints that may run code when they are read. Finished models never may.
    """

    base: Path
    settings: CompressionSettings = field(default_factory=CompressionSettings)
    training: TrainingData | None = None
    calibration: CalibrationData | None = None
    trusted: frozenset[str] = frozenset()

    def finish(
        self, pruning: Pruning, precision: Precision, on_progress: OnProgress = lambda stage, fraction: None
    ) -> FinishedModel:
        """Return the finished model of a pruning and a precision. It is made once and kept.

        It is made on one thread, so that on CPUs its bytes do not depend on the number of cores. fp32 and fp16 models
        are stock pyannote.audio checkpoints; low-bit models are files of objectives/compression/low_bit.py.

        Args:
            pruning: what to remove from the base before the precision is lowered.
            precision: a key of `PRECISION_MODES`.
            on_progress: called with the name of a stage and the fraction of it that is done.

        Raises:
            ModelError: if the base is not a usable PyanNet.
            EvaluationError: if a split that is needed is missing.
        """
        mode = PRECISION_MODES[precision]
        with one_torch_thread():
            stored = self._full_precision(pruning, on_progress)
            if mode.bits == 16:
                stored = self._half(pruning, precision, stored)
            elif mode.integer_bits is not None:
                stored = self._low_bit(pruning, precision, stored, on_progress)
        story = {**stored.story, "build_seconds": stored.build_seconds}
        params, kept = story["params"], story["kept"]
        return FinishedModel(stored.key, stored.path, precision, params, stored.sha256, pruning, kept, story)

    def _full_precision(self, pruning: Pruning, on_progress: OnProgress) -> StoredModel:
        """Return the model in 32 bits: the base itself, or the pruned and recovered one."""
        pruned = pruning != UNPRUNED
        ingredients = {
            **_named(pruning, "fp32"),
            "base": file_sha256(self.base),
            "iterations": self.settings.iterations if pruned else None,
            **self._trained_with(pruned, unused="qat_steps"),
        }

        def make(path: Path) -> dict[str, Any]:
            network = load_segmentation(self.base, self.trusted)
            if name := _not_finite(network.state_dict()):
                raise ModelError(f"{self.base}: {name} holds NaN or infinite weights: give a sound checkpoint")
            network, steps = self._prune(network, pruning, on_progress) if pruned else (network, [])
            checkpoint = checkpoint_of(network, _bare(self.base, self.trusted))
            _save_as(torch.float32, checkpoint, path, f"the model pruned by {pruning} came out of its training")
            return {"params": parameter_count(network), "kept": kept_units(network), "recovered": steps}

        return kept_model(ingredients, ".bin", make, _waiting(on_progress))

    def _half(self, pruning: Pruning, precision: Precision, source: StoredModel) -> StoredModel:
        def make(path: Path) -> dict[str, Any]:
            _save_as(torch.float16, _bare(source.path), path, "the model does not fit into 16 bits")
            return {**source.story}

        ingredients = {**_named(pruning, precision), "source": source.key, "code": CODE_VERSION}
        return kept_model(ingredients, ".bin", make)

    def _low_bit(
        self, pruning: Pruning, precision: Precision, source: StoredModel, on_progress: OnProgress
    ) -> StoredModel:
        ingredients = {
            **_named(pruning, precision),
            "source": source.key,
            "quantization": asdict(self.settings.quantization),
            "calib": self._calibration().fingerprint,
            "torchao": torchao_version,
            **self._trained_with(PRECISION_MODES[precision].trained, unused="steps"),
        }

        def make(path: Path) -> dict[str, Any]:
            model, summary = self._quantize(source, precision, on_progress)
            _refuse_not_finite(low_bit.values_of(model), f"the model came out of {precision}")
            low_bit.save(model, path)
            return {**source.story, "quantized": summary}

        return kept_model(ingredients, low_bit.SUFFIX, make, _waiting(on_progress))

    def _trained_with(self, trained: bool, unused: str) -> dict[str, Any]:
        """Return the ingredients of a model that change its training, None if it is not trained.

        unused: the field of the recovery settings that this training does not use.
        """
        if not trained:
            return {**dict.fromkeys(("recovery", "train", "seed", "device")), "code": [CODE_VERSION]}
        return {
            "recovery": {**asdict(self.settings.recovery), unused: None},
            "train": self._training().fingerprint,
            "seed": self.settings.seed,
            "device": recovery.device().type,
            "code": [CODE_VERSION, *TRAINING_CODE],
        }

    def _prune(
        self, network: PyanNet, pruning: Pruning, on_progress: OnProgress
    ) -> tuple[PyanNet, list[dict[str, Any]]]:
        windows = self._windows(QuantizationOptions(), on_progress)
        settings = self.settings.recovery
        records = []
        plan = schedule(pruning, network, self.settings.iterations)
        for number, (sizes, steps) in enumerate(zip(plan, _shares(settings.steps, len(plan)), strict=True), start=1):
            kept = units_to_keep(network, **sizes)
            if settings.method != "bce":  # the paper's method stays as published
                with machine.working():
                    network = folded(network, kept, windows.features[: windows.trained])
            learner = recovery.trainable_copy(rebuild(network, kept))
            forward = functools.partial(forward_head, learner)
            progress = functools.partial(on_progress, f"recovering {pruning}, {number} of {len(plan)}")
            seed = self.settings.seed + number
            outcome = self._train(learner, forward, windows, steps, settings.learning_rate, seed, progress)
            network = learner
            records.append({"kept": kept_units(network), **outcome})
        return network, records

    def _quantize(
        self, source: StoredModel, precision: Precision, on_progress: OnProgress
    ) -> tuple[LowBitModel, dict[str, Any]]:
        mode, options = PRECISION_MODES[precision], self.settings.quantization
        bits = mode.integer_bits
        assert bits is not None, "only modes with integer weights are quantized"
        network = low_bit.with_rounded_sincnet(load_segmentation(source.path), options)
        with machine.working():
            features = calibration_features(network, self._calibration())
            ranges = low_bit.observe_ranges(network, features)
        summary: dict[str, Any] = {"bits": bits, "calibration_windows": len(features)}
        if mode.trained:
            network, summary["trained"] = self._train_quantized(network, bits, ranges, precision, on_progress)
        with machine.working():
            return low_bit.quantize(network, bits, options, ranges), summary

    def _train_quantized(
        self, network: PyanNet, bits: Bits, ranges: Ranges, name: str, on_progress: OnProgress
    ) -> tuple[PyanNet, dict[str, Any]]:
        """Train the network while running it with the rounding that `quantize` will apply."""
        settings, options = self.settings.recovery, self.settings.quantization
        learner = recovery.trainable_copy(network)

        def forward(features: torch.Tensor) -> torch.Tensor:
            return low_bit.run_low_bit(learner, features, low_bit.faked_weights(learner, bits, options), ranges)

        windows, rate = self._windows(options, on_progress), settings.learning_rate * QAT_RATE
        progress = functools.partial(on_progress, f"quantization-aware training, {name}")
        return learner, self._train(learner, forward, windows, settings.qat_steps, rate, self.settings.seed, progress)

    def _train(
        self,
        learner: PyanNet,
        forward: recovery.Forward,
        windows: TrainingWindows,
        steps: int,
        learning_rate: float,
        seed: int,
        on_progress: Callable[[float], None],
    ) -> dict[str, Any]:
        """Train a `trainable_copy` in place, and leave it on the CPU, in evaluation mode and without gradients."""
        settings = self.settings.recovery
        trained = recovery.train(
            [parameter for parameter in learner.parameters() if parameter.requires_grad],
            forward,
            recovery.loss_of(settings.method, windows, contract_of(learner)),
            windows,
            steps,
            settings.batch,
            learning_rate,
            seed,
            on_progress,
        )
        learner.cpu().eval().requires_grad_(False)
        return asdict(trained)

    def _windows(self, options: QuantizationOptions, on_progress: OnProgress) -> TrainingWindows:
        """Return the windows to train on, with the output of SincNet as these options round it."""
        teacher = load_segmentation(self.base, self.trusted)
        return draw_windows(
            teacher,
            low_bit.with_rounded_sincnet(teacher, options),
            (file_sha256(self.base), f"SincNet in {options.sincnet}"),
            self._training(),
            self.settings.recovery.windows,
            self.settings.seed,
            functools.partial(on_progress, "drawing training windows"),
        )

    def _training(self) -> TrainingData:
        if self.training is None:
            raise EvaluationError(
                "pruned models and quantization-aware training need recordings to learn from, and the corpus has no "
                "split train: name some in splits.json, or choose pruning structure none and precision fp32, fp16 or "
                "a _ptq one"
            )
        return self.training

    def _calibration(self) -> CalibrationData:
        if self.calibration is None:
            raise EvaluationError(
                "low-bit models need recordings to calibrate with, and the corpus has no split calib: name some in "
                "splits.json, or choose precision fp32 or fp16"
            )
        return self.calibration


def _named(pruning: Pruning, precision: Precision) -> dict[str, Any]:
    return {"structure": pruning.structure, "ratio": pruning.ratio, "precision": precision}


def _bare(path: Path, trusted: Collection[str] = ()) -> dict[str, Any]:
    """Return the content of a checkpoint as plain data, without its training state."""
    checkpoint = read_checkpoint(path, trusted)
    return plain(path, {name: value for name, value in checkpoint.items() if name not in DROPPED})


def _save_as(dtype: torch.dtype, checkpoint: Mapping[str, Any], path: Path, what: str) -> None:
    """Write a checkpoint with its weights in this precision. Raises EvaluationError as _refuse_not_finite does."""
    state = {
        name: value.to(torch.float32 if KEPT_WIDE in name else dtype) if value.is_floating_point() else value
        for name, value in checkpoint["state_dict"].items()
    }
    _refuse_not_finite(state, what)
    save_checkpoint({**checkpoint, "state_dict": state}, path)


def save_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint that stock pyannote.audio loads. Equal checkpoints give equal bytes."""
    written = io.BytesIO()  # given a path, torch writes the file's name beside every parameter
    torch.save({**checkpoint, "state_dict": _vectors_together(checkpoint["state_dict"])}, written)
    path.write_bytes(written.getbuffer())  # torch itself does not report a full disk as such


def _vectors_together(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the same values, with biases and other vectors as slices of one tensor, which torch writes once.

    An entry of its own for each would take more room in the file than many of the vectors."""
    together = dict(state)
    for kind in sorted({value.dtype for value in state.values()}, key=str):
        names = [name for name, value in state.items() if value.dtype == kind and value.ndim == 1]
        if names:
            parts = torch.cat([state[name] for name in names]).split([len(state[name]) for name in names])
            together.update(zip(names, parts, strict=True))
    return together


def _not_finite(values: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinite values."""
    return next((name for name, value in values.items() if not value.isfinite().all()), None)


def _refuse_not_finite(values: Mapping[str, torch.Tensor], what: str) -> None:
    """Raise EvaluationError, beginning with `what`, if a value is NaN or infinite: such a model cannot run."""
    if name := _not_finite(values):
        raise EvaluationError(f"{what}: {name} holds NaN or infinite values, so it was not kept")


def _shares(steps: int, iterations: int) -> list[int]:
    """Return the number of recovery steps after each pruning iteration. Most come after the last."""
    early = round(steps * (1 - LAST_SHARE) / (iterations - 1)) if iterations > 1 else 0
    return [*[early] * (iterations - 1), steps - early * (iterations - 1)]


def _waiting(on_progress: OnProgress) -> Callable[[], None]:
    return functools.partial(on_progress, "waiting for another process that makes this model", 0.0)
