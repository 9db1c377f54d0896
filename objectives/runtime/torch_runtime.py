"""Run a finished segmentation model: ONNX Runtime on a CPU, torch on CUDA. Reports whether a precision is native
there."""

from typing import cast

import numpy as np
import onnxruntime
import torch

from objectives.backends.library_errors import finite
from objectives.compression.compressor import FinishedModel, load_network
from objectives.compression.low_bit import LowBitModel, load, run_low_bit
from objectives.compression.pyannet_head import features_of
from objectives.machine import Device, name_of
from objectives.measurement import Execution
from objectives.models.segmentation import contract_of
from objectives.operating_point import Precision
from objectives.runtime.runtime import BATCH, DeployedModel, Runtime
from objectives.runtime.segmentation_onnx import kept_onnx, kind_of

CUDA_BATCH = 128


def open_runtime(model: FinishedModel, threads: int, device: Device = "cpu") -> Runtime:
    """Load a finished model on a device, with this many threads."""
    if device == "cuda":
        return TorchRuntime(model, torch.device("cuda"), CUDA_BATCH)
    return OnnxRuntime(model, threads)


def execution_on_cpu(precision: Precision) -> Execution:
    """Return whether a CPU has a kernel for a precision: ONNX Runtime's compute in 32 and in 8 bits, none of them in
    16."""
    return "emulated" if precision == "fp16" else "native"


class OnnxRuntime(DeployedModel):
    """A finished model in ONNX Runtime on a CPU.

    fp32 runs as it is, and the low-bit modes run on integer kernels, with 4-bit codes widened to 8 bits. No kernel
    computes in 16 bits there: fp16 weights are widened and run in 32 bits, which is `emulated`.
    """

    def __init__(self, model: FinishedModel, threads: int):
        kernel = f"onnxruntime {onnxruntime.__version__} {kind_of(model)}"
        contract = contract_of(load_network(model))
        execution = execution_on_cpu(model.precision)
        super().__init__(kept_onnx(model), contract, execution, kernel, threads, _name(model))


class TorchRuntime:
    """A finished model in torch.

    On CUDA, fp16 runs with autocast (the paper's FP16, Sec. 4.4); elsewhere its weights are widened. The low-bit modes
    are emulated: the values of the integer kernels, computed in 32 bits.

    fixed_batch: run this many windows at once, however many are given, and fill the last batch with silence. CUDA
    chooses kernels by shape, and the result for a window must not depend on how many others came with it.
    """

    def __init__(self, model: FinishedModel, device: torch.device, fixed_batch: int | None = None):
        self._device = device
        self._fixed_batch = fixed_batch
        self.batch = fixed_batch or BATCH
        self._half = model.precision == "fp16" and device.type == "cuda"
        self.execution: Execution = "native" if model.precision == "fp32" or self._half else "emulated"
        self.kernel = f"torch {torch.__version__} {name_of(cast('Device', device.type))} {self.execution}"
        self._name = _name(model)
        low_bit = load(model.checkpoint) if model.bits is not None else None
        self._network = (load_network(model) if low_bit is None else low_bit.network).to(device)
        self._tail = None if low_bit is None else _Emulated(low_bit, device)
        self.contract = contract_of(self._network)

    @torch.inference_mode()
    def scores(self, windows: np.ndarray) -> np.ndarray:
        """See Runtime.scores."""
        size = self._fixed_batch or len(windows)
        # by default, CUDA may round the inputs of a convolution or an LSTM to 10 bits of mantissa
        with torch.backends.cudnn.flags(allow_tf32=False):
            batches = [self._scores(windows[first : first + size], size) for first in range(0, len(windows), size)]
        return finite(np.concatenate(batches), f"the scores of {self._name}")

    def _scores(self, windows: np.ndarray, size: int) -> np.ndarray:
        batch = torch.zeros(size, 1, windows.shape[1], device=self._device)
        batch[: len(windows), 0] = torch.tensor(windows)
        if self._tail is not None:
            return self._tail(features_of(self._network, batch))[: len(windows)].cpu().numpy()
        with torch.autocast(self._device.type, dtype=torch.float16, enabled=self._half):
            return self._network(batch)[: len(windows)].float().cpu().numpy()


def _name(model: FinishedModel) -> str:
    """Return the name of a model for messages."""
    return f"model {model.key} ({model.precision})"


class _Emulated:
    """The part of a low-bit model that follows SincNet, with its weights widened once."""

    def __init__(self, model: LowBitModel, device: torch.device):
        self._network, self._ranges = model.network, model.ranges
        self._values = {name: weight.values.to(device) for name, weight in model.weights.items()}

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return run_low_bit(self._network, features, self._values, self._ranges)
