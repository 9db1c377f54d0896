"""The interface of a segmentation model that runs, and its implementation in ONNX Runtime. Needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from objectives.backends.library_errors import finite
from objectives.backends.onnxruntime import open_session
from objectives.measurement import Execution
from objectives.models.contract import Contract

BATCH = 32  # windows run at once on the accuracy plane: the fastest on two cores


class Runtime(Protocol):
    """A segmentation model that runs.

    kernel: what computes it. Another kernel may break a tie between classes differently.
    batch: number of windows to pass at once, if there are that many.
    """

    contract: Contract
    execution: Execution
    kernel: str
    batch: int

    def scores(self, windows: np.ndarray) -> np.ndarray:
        """Return the powerset log-probabilities: (windows, samples) float32 → (windows, frames, classes) float32.

        Raises EvaluationError, naming the model, if one is NaN or infinite, since their argmax would look like silence.
        """
        ...


class OnnxRuntime:
    """A segmentation model in an ONNX file, on a CPU with a fixed number of threads: a Runtime.

    name: for messages, the path by default.
    """

    batch = BATCH

    def __init__(
        self, path: Path, contract: Contract, execution: Execution, kernel: str, threads: int, name: str | None = None
    ):
        self.contract = contract
        self.execution = execution
        self.kernel = kernel
        self._name = name or str(path)
        self._session = open_session(path, threads)
        self._entering = self._session.get_inputs()[0].name

    @property
    def metadata(self) -> Mapping[str, str]:
        """Metadata of the file (objectives/models/sherpa_metadata.py)."""
        metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return metadata

    def scores(self, windows: np.ndarray) -> np.ndarray:
        """See Runtime.scores."""
        scores: np.ndarray = self._session.run(None, {self._entering: windows[:, None, :]})[0]
        return finite(scores, f"the scores of {self._name}")


def local_activity(runtime: Runtime, windows: np.ndarray) -> np.ndarray:
    """Return the local speakers of each window, by the powerset argmax: (windows, samples) → (windows, frames,
    speakers) bool."""
    classes = runtime.scores(windows).argmax(axis=-1)
    return runtime.contract.powerset[classes]
