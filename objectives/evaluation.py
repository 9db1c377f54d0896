"""OperatingPoint × recordings → Measurement."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

from pyannote.core import Annotation

from objectives import machine
from objectives.clustering import ClusteringSettings
from objectives.compression import Compressor, FinishedModel
from objectives.corpus import Recording
from objectives.cost import Timing
from objectives.embedding import SpeakerEmbedding, load_embedding, recording_features
from objectives.errors import CorpusError, EvaluationError
from objectives.offline import diarize_offline
from objectives.operating_point import BASELINE, UNPRUNED, OperatingPoint
from objectives.runtime import Execution, Runtime, open_runtime
from objectives.scoring import ErrorCounts, pool, score
from objectives.segmentation import DEFAULT_SEGMENTATION, segmentation_checkpoint
from objectives.settings import CompressionSettings
from objectives.sources import load_corpus
from objectives.stopwatch import CostSettings, Stopwatch
from objectives.streaming import stream_batched
from objectives.training_data import CalibrationData, TrainingData, calibration_data, refuse_leakage, training_data

OnProgress = Callable[[str, float], None]  # (stage, fraction of it that is done)
DEFAULT_EMBEDDING = "campplus"
CODE_VERSION = "1"  # of what decides a label: raise it whenever the same point would come out with another DER
OPEN_RUNTIMES = 4  # a study makes hundreds of models, and each that is open keeps its working memory


@dataclass(frozen=True)
class Measurement:
    """The three objectives of one operating point, and what they were made of.

    counts: errors by recording (URI). size_bytes: of the segmentation checkpoint on disk. params: its parameters.
    execution: `native` where the machine has a kernel for the precision, else `emulated`: then the RTF is no gain.
    model_key: hash of everything that made the model. machine: what was measured on. kept: units that stay in the
    model, {"hidden": 84, "linear": 128}. story: how the model was made, as JSON.
    """

    operating_point: OperatingPoint
    counts: Mapping[str, ErrorCounts]
    size_bytes: int
    params: int
    timing: Timing
    execution: Execution
    model_key: str
    machine: Mapping[str, str]
    kept: Mapping[str, int] = field(default_factory=dict)
    story: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pooled(self) -> ErrorCounts:
        """Errors over all recordings."""
        return pool(self.counts.values())

    @property
    def size_mib(self) -> float:
        """Checkpoint size in MiB, the "MB" of the paper's tables."""
        return self.size_bytes / 2**20


@dataclass
class Evaluator:
    """Measures operating points on the same recordings with models of the same base.

    identity: everything but the operating point that changes an answer. Use as a context manager, or `close` it.
    """

    recordings: tuple[Recording, ...]
    embedding: SpeakerEmbedding
    clustering: ClusteringSettings
    compressor: Compressor
    stopwatch: Stopwatch
    identity: Mapping[str, str]
    machine: Mapping[str, str]
    threads: int
    _runtimes: dict[str, Runtime] = field(default_factory=dict)
    _apart: set[tuple[str, ...]] = field(default_factory=set)  # splits, and URIs that were found not to be in them

    def __call__(self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None) -> Measurement:
        """All three objectives of one operating point.

        Raises EvaluationError where it cannot be measured on every recording, LeakageError where its model would be
        made from one of them, ModelError or CorpusError where that cannot be made at all.
        """
        model = self.model(point, on_progress)
        self.stopwatch.start()  # it loads its libraries meanwhile
        counts = self.errors(point, lambda fraction: on_progress("accuracy", fraction))
        on_progress("cost", 0.0)
        with machine.quiet():
            timing = self.stopwatch.measure(point, model)
        on_progress("cost", 1.0)
        return Measurement(
            operating_point=point,
            counts=counts,
            size_bytes=model.size_bytes,
            params=model.params,
            timing=timing,
            execution=self._runtime(model).execution,
            model_key=model.key,
            machine=self.machine,
            kept=model.kept,
            story=model.story,
        )

    def model(self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None) -> FinishedModel:
        """The finished model of an operating point, made where it was not yet.

        Raises LeakageError where it would be made from recordings that this evaluator measures on.
        """
        for data in self._made_from(point):
            self._keep_apart(data, self.recordings)
        return self._finished(point, on_progress)

    def runtime(self, point: OperatingPoint) -> Runtime:
        """The finished model of an operating point, loaded once."""
        return self._runtime(self.model(point))

    def errors(
        self, point: OperatingPoint, on_progress: Callable[[float], None] = lambda fraction: None
    ) -> Mapping[str, ErrorCounts]:
        """Errors of each recording on the accuracy plane, in the mode of the operating point."""
        return self._errors(point, self.runtime(point), self.recordings, on_progress)

    def calibration_errors(
        self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None
    ) -> Mapping[str, ErrorCounts]:
        """Errors of each recording of `calib`: what a choice between models may look at.

        Raises EvaluationError where the corpus has none, LeakageError where one of them is in `train` too.
        """
        calibration = self.compressor.calibration
        if calibration is None:
            raise EvaluationError("the corpus has no split calib to choose on: name its recordings in a splits.json")
        for data in self._made_from(point):
            if data is not calibration:  # ranges come from calib, and so may choices
                self._keep_apart(data, calibration.recordings)
        runtime = self._runtime(self._finished(point, on_progress))
        return self._errors(
            point, runtime, calibration.recordings, lambda fraction: on_progress("accuracy on calib", fraction)
        )

    def prepare(self, on_progress: Callable[[float], None] = lambda fraction: None) -> None:
        """Read every recording and make its embedding features, so that what is wrong with one shows at once.

        Raises CorpusError.
        """
        for done, recording in enumerate(self.recordings, start=1):
            with machine.working():
                recording_features(self.embedding, recording.waveform())
            on_progress(done / len(self.recordings))

    def close(self) -> None:
        """End the timing process."""
        self.stopwatch.close()

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _errors(
        self,
        point: OperatingPoint,
        runtime: Runtime,
        recordings: tuple[Recording, ...],
        on_progress: Callable[[float], None],
    ) -> Mapping[str, ErrorCounts]:
        seconds = sum(recording.duration for recording in recordings)
        counts: dict[str, ErrorCounts] = {}
        done = 0.0
        for recording in recordings:
            share = recording.duration / seconds
            with machine.working():
                try:
                    labels = self._labels(recording, point, runtime, _part(on_progress, done, share))
                except CorpusError as error:
                    raise EvaluationError(f"{recording.uri}: {error}") from error
                counts[recording.uri] = score(recording.reference, labels, recording.annotated)
            done += share
            on_progress(done)
        if pool(counts.values()).total == 0:
            raise EvaluationError("no reference speech is left to score outside the collar: use longer recordings")
        return counts

    def _labels(
        self, recording: Recording, point: OperatingPoint, runtime: Runtime, on_progress: Callable[[float], None]
    ) -> Annotation:
        waveform = recording.waveform()
        features = recording_features(self.embedding, waveform)
        if point.mode == "offline":
            return diarize_offline(waveform, features, runtime, self.embedding, self.clustering)
        labels = stream_batched(waveform, features, point, runtime, self.embedding, self.clustering, on_progress)
        return labels.annotation(recording.uri)

    def _made_from(self, point: OperatingPoint) -> list[TrainingData | CalibrationData]:
        """What the model of a point learns from: pruning and QAT from `train`, low-bit modes from `calib`."""
        low_bit = point.precision not in ("fp32", "fp16")
        trained = point.pruning != UNPRUNED or point.precision.endswith("_qat")
        needed = (self.compressor.training if trained else None, self.compressor.calibration if low_bit else None)
        return [data for data in needed if data is not None]

    def _keep_apart(self, data: TrainingData | CalibrationData, evaluated: tuple[Recording, ...]) -> None:
        pair = (data.split, *(recording.uri for recording in evaluated))
        if pair not in self._apart:  # to look means to decode audio
            refuse_leakage(data, evaluated)
            self._apart.add(pair)

    def _finished(self, point: OperatingPoint, on_progress: OnProgress) -> FinishedModel:
        return self.compressor.finish(point.pruning, point.precision, on_progress)

    def _runtime(self, model: FinishedModel) -> Runtime:
        runtime = self._runtimes.pop(model.key, None)
        if runtime is None:
            with machine.working():
                runtime = open_runtime(model, self.threads)
        self._runtimes[model.key] = runtime  # the latest last
        while len(self._runtimes) > OPEN_RUNTIMES:
            del self._runtimes[next(iter(self._runtimes))]
        return runtime


def _part(on_progress: Callable[[float], None], done: float, share: float) -> Callable[[float], None]:
    return lambda fraction: on_progress(done + share * fraction)


def build_evaluator(
    corpus: str = "ami-excerpts",
    split: str = "eval",
    segmentation: str | None = None,
    embedding: str | None = None,
    clustering_threshold: float | None = None,
    repeats: int | None = None,
    threads: int | None = None,
    seed: int = 0,
    compression: CompressionSettings | None = None,
    accuracy_threads: int | None = None,
) -> Evaluator:
    """An evaluator for a split of a corpus. None stands for the default.

    clustering_threshold: the embedding's own by default. repeats, threads: of the cost plane, 3 and 1 by default.
    seed: of the splits where a corpus brings none. compression: how pruned and low-bit models are made, from the
    corpus' train and calib. accuracy_threads: of the accuracy plane, one a core by default; fewer where several
    evaluators share a machine. Raises CorpusError, LeakageError, AssetError or ModelError.
    """
    recordings = load_corpus(corpus, seed)
    chosen = recordings.split(split)
    cores = accuracy_threads or machine.cores()
    speaker_embedding = load_embedding(embedding or DEFAULT_EMBEDDING, cores)
    clustering = ClusteringSettings(
        speaker_embedding.threshold if clustering_threshold is None else clustering_threshold
    )
    compressor = Compressor(
        base=segmentation_checkpoint(segmentation or DEFAULT_SEGMENTATION),
        settings=compression or CompressionSettings(),
        training=training_data(recordings) if recordings.splits.get("train") else None,
        calibration=calibration_data(recordings) if recordings.splits.get("calib") else None,
    )
    baseline = compressor.finish(BASELINE.pruning, BASELINE.precision)
    timed = max(chosen, key=lambda recording: (recording.duration, recording.uri))
    settings = CostSettings(
        waveform=timed.waveform(),
        embedding=speaker_embedding.name,
        clustering=clustering,
        baseline=baseline,
        repeats=repeats or 3,
        threads=threads or 1,
    )
    here = machine.describe()
    identity = {
        "corpus": f"{recordings.name} {recordings.fingerprint}",
        "split": split,
        "segmentation": baseline.key,
        "compression": json.dumps(asdict(compressor.settings), sort_keys=True),
        "embedding": speaker_embedding.key,
        "clustering": f"{clustering.method} {clustering.threshold:g}",
        "cost": f"{settings.repeats} repeats, {settings.threads} threads, on {timed.uri}",
        "code": CODE_VERSION,
        **{f"machine {name}": value for name, value in here.items()},
    }
    return Evaluator(
        recordings=chosen,
        embedding=speaker_embedding,
        clustering=clustering,
        compressor=compressor,
        stopwatch=Stopwatch(settings),
        identity=identity,
        machine=here,
        threads=cores,
    )
