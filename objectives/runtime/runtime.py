"""What any segmentation model that runs offers, and one that ONNX Runtime runs from a file. Needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from objectives.backends.library_errors import finite
from objectives.backends.onnxruntime import open_session
from objectives.measurement import Execution
from objectives.models.contract import Contract

BATCH = 32  # windows at once on the accuracy plane: the fastest on two cores


class Runtime(Protocol):
    """A segmentation model that runs. kernel: what computes it; another one may decide a tie between classes
    otherwise. batch: windows to give it at once, where there are so many."""

    contract: Contract
    execution: Execution
    kernel: str
    batch: int

    def scores(self, windows: np.ndarray) -> np.ndarray:
        """(windows, samples) float32 → (windows, frames, classes) float32 powerset log-probabilities.

        Raises EvaluationError naming the model where one is NaN or infinite: their argmax would pass for silence.
        """
        ...


class DeployedModel:
    """An exported segmentation model on a CPU, on so many threads: a Runtime. name: for messages, else its path."""

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
        """What the file says of itself (objectives/models/sherpa_metadata.py)."""
        said: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return said

    def scores(self, windows: np.ndarray) -> np.ndarray:
        """See Runtime.scores."""
        scores: np.ndarray = self._session.run(None, {self._entering: windows[:, None, :]})[0]
        return finite(scores, f"the scores of {self._name}")


def local_activity(runtime: Runtime, windows: np.ndarray) -> np.ndarray:
    """Local speakers of each window, by the powerset argmax: (windows, samples) → (windows, frames, speakers) bool."""
    classes = runtime.scores(windows).argmax(axis=-1)
    return runtime.contract.powerset[classes]
