"""Open a finished segmentation model: in ONNX Runtime on a CPU, in torch on CUDA."""

from collections.abc import Callable
from typing import cast

import numpy as np
import onnxruntime
import torch

from objectives.backends.library_errors import finite
from objectives.compression.compressor import FinishedModel, load_network
from objectives.compression.low_bit import load, run_low_bit
from objectives.compression.precisions import PRECISION_MODES
from objectives.compression.pyannet_head import features_of
from objectives.machine import Device, name_of
from objectives.models.segmentation import contract_of
from objectives.runtime.runtime import BATCH, OnnxRuntime, Runtime
from objectives.runtime.segmentation_onnx import kept_onnx, kind_of

CUDA_BATCH = 128


def open_runtime(model: FinishedModel, threads: int, device: Device = "cpu") -> Runtime:
    """Load a finished model on a device, with this many threads.

    On a CPU, fp32 runs as it is, and the low-bit modes run on integer kernels, with 4-bit codes widened to 8 bits. No
    kernel computes in 16 bits there: fp16 weights are widened and run in 32 bits, which is `emulated`.

    Raises ModelError if the model cannot be read or this machine does not have the device.
    """
    if device == "cuda":
        return TorchRuntime(model, torch.device("cuda"), CUDA_BATCH)
    kernel = f"onnxruntime {onnxruntime.__version__} {kind_of(model)}"
    execution = PRECISION_MODES[model.precision].execution("onnxruntime cpu")
    return OnnxRuntime(kept_onnx(model), contract_of(load_network(model)), execution, kernel, threads, _name(model))


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
        mode = PRECISION_MODES[model.precision]
        self.execution = mode.execution("torch cuda" if device.type == "cuda" else "torch cpu")
        self._half = mode.bits == 16 and self.execution == "native"
        self.kernel = f"torch {torch.__version__} {name_of(cast('Device', device.type))} {self.execution}"
        self._name = _name(model)
        self._network: Callable[[torch.Tensor], torch.Tensor]  # (batch, 1, samples) → (batch, frames, classes)
        if model.bits is None:
            network = self._network = load_network(model).to(device)
        else:
            low_bit = load(model.checkpoint)
            network, ranges = low_bit.network.to(device), low_bit.ranges
            values = {name: weight.values.to(device) for name, weight in low_bit.weights.items()}
            self._network = lambda batch: run_low_bit(network, features_of(network, batch), values, ranges)
        self.contract = contract_of(network)

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
        with torch.autocast(self._device.type, dtype=torch.float16, enabled=self._half):
            return self._network(batch)[: len(windows)].float().cpu().numpy()


def _name(model: FinishedModel) -> str:
    """Return the name of a model for messages."""
    return f"model {model.key} ({model.precision})"
