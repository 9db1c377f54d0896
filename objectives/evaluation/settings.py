"""What an evaluator is built from: plain values, so that a study and a driver of workers need no torch."""

from dataclasses import dataclass, field

from objectives.compression.settings import CompressionSettings
from objectives.machine import Device
from objectives.operating_point import OnlineTracking


@dataclass(frozen=True)
class EvaluatorSettings:
    """What an evaluator measures, with which models and how; `build_evaluator` builds it.

    corpus, split: the recordings that are measured on.
    segmentation, embedding, clustering_threshold: None for the default. Without a threshold,
    streaming modes count speakers without one, and the offline mode has the embedding's own.
    speakers: least and most number of speakers in a recording; None if they are to be counted.
    repeats, threads: of the cost plane.
    seed: for the splits, if the corpus does not define them.
    compression: how pruned and low-bit models are made from the corpus's `train` and `calib`.
    device: for the accuracy plane's windows. RTF and `execution` are always those of the CPU.
    trusted: SHA-256 of the checkpoints that may run code when they are read; no others may.
    tracking: thresholds of the online mode that the embedding must complete; None if no online point has any.
    accuracy_threads: of the accuracy plane; None for one per core. Use fewer if several evaluators share a machine.
    """

    corpus: str = "ami-excerpts"
    split: str = "eval"
    segmentation: str | None = None
    embedding: str | None = None
    clustering_threshold: float | None = None
    speakers: tuple[int, int] | None = None
    repeats: int = 3
    threads: int = 1
    seed: int = 0
    compression: CompressionSettings = field(default_factory=CompressionSettings)
    device: Device = "cpu"
    trusted: frozenset[str] = frozenset()
    tracking: OnlineTracking | None = None
    accuracy_threads: int | None = None
