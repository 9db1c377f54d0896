"""Run a finished segmentation model: ONNX Runtime on a CPU, torch on CUDA. Says whether a precision is native there."""

import warnings
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import onnxruntime
import torch

from objectives._store import kept_file
from objectives.backend import PyanNet
from objectives.compression import FinishedModel
from objectives.segmentation import Contract, contract_of, load_segmentation

Execution = Literal["native", "emulated"]
OPSET = 17
BATCH = 32  # windows at once on the accuracy plane: the fastest on two cores


class Runtime(Protocol):
    """A segmentation model that runs."""

    contract: Contract
    execution: Execution

    def scores(self, windows: np.ndarray) -> np.ndarray:
        """(windows, samples) float32 → (windows, frames, classes) float32 powerset log-probabilities."""
        ...


def open_runtime(model: FinishedModel, threads: int, device: Literal["cpu", "cuda"] = "cpu") -> Runtime:
    """Load a finished model on a device, on so many threads."""
    if device == "cuda":
        return TorchRuntime(model, torch.device("cuda"))
    return OnnxRuntime(model, threads)


def local_activity(runtime: Runtime, windows: np.ndarray) -> np.ndarray:
    """Local speakers of each window, by the powerset argmax: (windows, samples) → (windows, frames, speakers) bool."""
    classes = runtime.scores(windows).argmax(axis=-1)
    return runtime.contract.powerset[classes]


class OnnxRuntime:
    """ONNX Runtime on a CPU. No kernel of it computes in 16 bits there: fp16 weights are widened and run in 32 bits,
    which is `emulated`."""

    def __init__(self, model: FinishedModel, threads: int):
        network = load_segmentation(model.checkpoint)
        self.contract = contract_of(network)
        self.execution: Execution = "emulated" if model.precision == "fp16" else "native"
        path = kept_file("models", f"{model.key}.onnx", lambda target: export_segmentation(network, target))
        self._session = open_session(path, threads)

    def scores(self, windows: np.ndarray) -> np.ndarray:
        """See Runtime.scores."""
        (scores,) = self._session.run(None, {"waveform": windows[:, None, :]})
        return scores


class TorchRuntime:
    """torch, with autocast for fp16 on CUDA (the paper's FP16, Sec. 4.4); weights are widened elsewhere."""

    def __init__(self, model: FinishedModel, device: torch.device):
        self._network = load_segmentation(model.checkpoint).to(device)
        self._device = device
        self._half = model.precision == "fp16" and device.type == "cuda"
        self.contract = contract_of(self._network)
        self.execution: Execution = "emulated" if model.precision == "fp16" and not self._half else "native"

    @torch.inference_mode()
    def scores(self, windows: np.ndarray) -> np.ndarray:
        """See Runtime.scores."""
        batch = torch.tensor(windows, device=self._device)[:, None, :]
        with torch.autocast(self._device.type, dtype=torch.float16, enabled=self._half):
            return self._network(batch).float().cpu().numpy()


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def export_segmentation(network: PyanNet, path: Path) -> None:
    """Write (batch, 1, samples) → (batch, frames, classes) as ONNX, batch dynamic."""
    window = contract_of(network).window
    export(network, torch.zeros(1, 1, window), path, inputs="waveform", outputs="scores", dynamic={0: "batch"})


def export(
    network: torch.nn.Module, example: torch.Tensor, path: Path, inputs: str, outputs: str, dynamic: dict[int, str]
) -> None:
    """Write a network in evaluation mode as ONNX. `dynamic` names the free dimensions of the input; the first is also
    free in the output."""
    with warnings.catch_warnings():
        # the tracing exporter is deprecated, but the new one fails inside SincNet's filters (asteroid_filterbanks)
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example,),
            str(path),
            input_names=[inputs],
            output_names=[outputs],
            dynamic_axes={inputs: dynamic, outputs: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
