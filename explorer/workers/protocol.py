"""Where trials are evaluated: in this process, or in those of a Dask cluster (explorer/workers/dask_workers.py).

One process asks, tells and writes: the driver. Workers only evaluate. They get definitions and content keys, never a
database handle, and what they need besides (corpus, assets, finished models) they find in their host's own cache or on
a file system that they share.
"""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from objectives.backends.library_errors import failing_the_trial
from objectives.compression.settings import CompressionSettings
from objectives.measurement import ErrorCounts, Judge, Measurement, Stopped
from objectives.operating_point import OnlineTracking, OperatingPoint
from studies.definition import StudyDefinition

if TYPE_CHECKING:  # they bring torch, which neither the front nor the status of a study should wait for
    from objectives.machine import Device


OnStage = Callable[[str, float], None]  # (stage, fraction of it that is done)
OnProgress = Callable[[int, str, float], None]  # (number of the trial, stage, fraction of it that is done)


class Evaluator(Protocol):
    """What measures operating points: objectives.evaluation.evaluator.Evaluator, or a test's stand-in for it.

    identity: everything but the operating point that changes an answer: corpus, weights, settings, machine. remarks:
    what its corpus leaves out, for people.
    """

    @property
    def identity(self) -> Mapping[str, str]: ...

    @property
    def remarks(self) -> tuple[str, ...]: ...

    def __call__(self, point: OperatingPoint, on_progress: OnStage, judge: Judge = ...) -> "Measurement | Stopped": ...

    def errors(self, point: OperatingPoint, on_progress: OnStage) -> "Mapping[str, ErrorCounts]": ...

    def calibration_errors(self, point: OperatingPoint, on_progress: OnStage) -> "Mapping[str, ErrorCounts]": ...

    def prepare(self, on_progress: Callable[[float], None]) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Builder(Protocol):
    """What an evaluator is built from: plain data that pickles and compares by value."""

    def build(self, accuracy_threads: int | None) -> Evaluator:
        """An evaluator whose accuracy plane runs on so many threads; None: on every core."""
        ...


@dataclass(frozen=True)
class EvaluatorSettings:
    """The arguments of objectives.evaluation.evaluator.build_evaluator, which explains them. None stands for the
    default.

    tracking: what the study says of the online mode; None where it has no such point.
    """

    corpus: str = "ami-excerpts"
    split: str = "eval"
    segmentation: str | None = None
    embedding: str | None = None
    clustering_threshold: float | None = None
    repeats: int | None = None
    threads: int | None = None
    seed: int = 0
    compression: CompressionSettings | None = None
    device: "Device" = "cpu"
    trusted: frozenset[str] = frozenset()
    tracking: OnlineTracking | None = None

    @classmethod
    def of(
        cls, definition: StudyDefinition, device: "Device" = "cpu", trusted: frozenset[str] = frozenset()
    ) -> "EvaluatorSettings":
        """What the trials of a study are measured with. trusted: never the study's to say, but the command line's."""
        return cls(
            corpus=definition.corpus,
            split=definition.split,
            segmentation=definition.models.segmentation,
            embedding=definition.models.embedding,
            clustering_threshold=definition.models.clustering_threshold,
            repeats=definition.cost.repeats,
            threads=definition.cost.threads,
            seed=definition.seed,
            compression=definition.compression_settings(),
            device=device,
            trusted=trusted,
            tracking=definition.space.online if "online" in definition.space.modes else None,
        )

    def arguments(self) -> dict[str, Any]:
        """Of build_evaluator."""
        given = asdict(self) | {"compression": self.compression}
        del given["tracking"]
        return given

    def build(self, accuracy_threads: int | None = None) -> Evaluator:
        """Build it. Limits torch to so many threads in the whole process.

        Raises CorpusError, LeakageError, AssetError or ModelError, and EvaluationError where memory runs out;
        ModelError also where the online mode is asked for and was never tuned for the embedding.
        """
        # late, so that a driver that only talks to workers does not wait for torch
        import torch

        from objectives.evaluation.evaluator import build_evaluator
        from objectives.streaming.online import tracking_of

        if accuracy_threads is not None:
            torch.set_num_threads(accuracy_threads)
        with failing_the_trial("models and recordings cannot be loaded"):
            evaluator = build_evaluator(**self.arguments(), accuracy_threads=accuracy_threads)
            if self.tracking is not None:
                tracking_of(self.tracking, evaluator.accuracy.embedding)
            return evaluator


@dataclass(frozen=True)
class Task:
    """One trial to evaluate. judge: what may stop it early, handed on to the evaluator; plain data that pickles."""

    number: int
    point: OperatingPoint
    judge: "Judge | None" = None


@dataclass(frozen=True)
class Answer:
    """How a trial ended.

    error: what the evaluator raised, as it was; its notes hold the traceback where it was raised in another process.
    seconds: of the last attempt. worker: `host:process` that made it. attempts: 2 where a worker died in the first.
    """

    number: int
    measurement: "Measurement | Stopped | None"
    error: BaseException | None
    seconds: float
    worker: str
    attempts: int = 1


class Workers(Protocol):
    """Evaluate trials, `slots` at once. A context manager, which lets go of everything at its end."""

    @property
    def slots(self) -> int:
        """How many trials may be submitted and not yet answered; changes as workers join and leave."""
        ...

    @property
    def identity(self) -> Mapping[str, str]:
        """The evaluators' identity: the same for all of them."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the packages that decide an answer, where they evaluate: the same for all of them."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the corpus leaves out, as the first evaluator told it."""
        ...

    def submit(self, task: Task) -> None:
        """Have a trial evaluated."""
        ...

    def wait(self) -> Answer | None:
        """Block until a trial is answered, or until there are more slots than before: then None.

        Raises StudyError where nobody is left to answer.
        """
        ...

    def cancel(self) -> None:
        """Drop every trial that was submitted and not answered."""
        ...

    def calibration_errors(self, point: OperatingPoint, on_progress: OnStage) -> "Mapping[str, ErrorCounts]":
        """Errors of one point by recording of the calib split. Raises EvaluationError where it cannot be measured."""
        ...

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """Read every recording once on each host. Raises CorpusError where one is wrong."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def name_of_this_process() -> str:
    """`host:process`, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"


def prefixed(on_progress: OnStage, step: str) -> OnStage:
    """What tells of stages within a step of something longer."""
    return lambda stage, fraction: on_progress(f"{step}: {stage}", fraction)
