"""OperatingPoint × recordings → Measurement."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from objectives import machine
from objectives.clustering import ClusteringSettings
from objectives.compression import FinishedModel, finish
from objectives.corpus import Recording
from objectives.cost import Timing
from objectives.embedding import SpeakerEmbedding, load_embedding, recording_features
from objectives.errors import CorpusError, EvaluationError
from objectives.offline import diarize_offline
from objectives.operating_point import BASELINE, OperatingPoint, Precision
from objectives.runtime import Execution, Runtime, open_runtime
from objectives.scoring import ErrorCounts, pool, score
from objectives.segmentation import DEFAULT_SEGMENTATION, segmentation_checkpoint
from objectives.sources import load_corpus
from objectives.stopwatch import CostSettings, Stopwatch
from objectives.streaming import stream_batched

OnProgress = Callable[[str, float], None]  # (stage, fraction of it that is done)
DEFAULT_EMBEDDING = "campplus"
CODE_VERSION = "1"  # of what decides a label: raise it whenever the same point would come out with another DER


@dataclass(frozen=True)
class Measurement:
    """The three objectives of one operating point, and what they were made of.

    counts: errors by recording (URI). size_bytes: of the segmentation checkpoint on disk. params: its parameters.
    execution: `native` where the machine has a kernel for the precision, else `emulated`: then the RTF is no gain.
    model_key: hash of everything that made the model. machine: what was measured on.
    """

    operating_point: OperatingPoint
    counts: Mapping[str, ErrorCounts]
    size_bytes: int
    params: int
    timing: Timing
    execution: Execution
    model_key: str
    machine: Mapping[str, str]

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
    """Measures operating points on the same recordings with the same models.

    identity: everything but the operating point that changes an answer. Use as a context manager, or `close` it.
    """

    recordings: tuple[Recording, ...]
    embedding: SpeakerEmbedding
    clustering: ClusteringSettings
    segmentation: str
    stopwatch: Stopwatch
    identity: Mapping[str, str]
    machine: Mapping[str, str]
    threads: int
    _runtimes: dict[str, Runtime] = field(default_factory=dict)

    def __call__(self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None) -> Measurement:
        """All three objectives of one operating point.

        Raises EvaluationError where it cannot be measured on every recording.
        """
        model = self.model(point.precision)
        self.stopwatch.start()  # it loads its libraries meanwhile
        counts = self.streaming_errors(point, lambda fraction: on_progress("accuracy", fraction))
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
        )

    def model(self, precision: Precision) -> FinishedModel:
        """The finished model of a precision."""
        return finish(segmentation_checkpoint(self.segmentation), precision)

    def runtime(self, precision: Precision) -> Runtime:
        """The finished model of a precision, loaded once."""
        return self._runtime(self.model(precision))

    def streaming_errors(
        self, point: OperatingPoint, on_progress: Callable[[float], None] = lambda fraction: None
    ) -> Mapping[str, ErrorCounts]:
        """Errors of each recording on the accuracy plane, chunk-wise mode."""
        runtime = self.runtime(point.precision)

        def hypothesis(recording: Recording, share: Callable[[float], None]) -> ErrorCounts:
            waveform = recording.waveform()
            features = recording_features(self.embedding, waveform)
            labels = stream_batched(
                waveform, features, point, runtime, self.embedding, self.clustering, on_progress=share
            )
            return score(recording.reference, labels.annotation(recording.uri), recording.annotated)

        return self._each(hypothesis, on_progress)

    def offline_errors(
        self, precision: Precision = "fp32", on_progress: Callable[[float], None] = lambda fraction: None
    ) -> Mapping[str, ErrorCounts]:
        """Errors of each recording in the offline mode."""
        runtime = self.runtime(precision)

        def hypothesis(recording: Recording, share: Callable[[float], None]) -> ErrorCounts:
            waveform = recording.waveform()
            features = recording_features(self.embedding, waveform)
            labels = diarize_offline(waveform, features, runtime, self.embedding, self.clustering)
            return score(recording.reference, labels, recording.annotated)

        return self._each(hypothesis, on_progress)

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

    def _each(
        self,
        errors: Callable[[Recording, Callable[[float], None]], ErrorCounts],
        on_progress: Callable[[float], None],
    ) -> Mapping[str, ErrorCounts]:
        seconds = sum(recording.duration for recording in self.recordings)
        counts: dict[str, ErrorCounts] = {}
        done = 0.0
        for recording in self.recordings:
            share = recording.duration / seconds
            with machine.working():
                try:
                    counts[recording.uri] = errors(recording, _part(on_progress, done, share))
                except CorpusError as error:
                    raise EvaluationError(f"{recording.uri}: {error}") from error
            done += share
        if pool(counts.values()).total == 0:
            raise EvaluationError("no reference speech is left to score outside the collar: use longer recordings")
        return counts

    def _runtime(self, model: FinishedModel) -> Runtime:
        if model.key not in self._runtimes:
            self._runtimes[model.key] = open_runtime(model, self.threads)
        return self._runtimes[model.key]


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
) -> Evaluator:
    """An evaluator for a split of a corpus. None stands for the default.

    clustering_threshold: the embedding's own by default. repeats, threads: of the cost plane, 3 and 1 by default.
    seed: of the splits where a corpus brings none. Raises CorpusError, AssetError or ModelError.
    """
    recordings = load_corpus(corpus, seed)
    chosen = recordings.split(split)
    segmentation = segmentation or DEFAULT_SEGMENTATION
    cores = machine.cores()
    speaker_embedding = load_embedding(embedding or DEFAULT_EMBEDDING, cores)
    clustering = ClusteringSettings(
        speaker_embedding.threshold if clustering_threshold is None else clustering_threshold
    )
    baseline = finish(segmentation_checkpoint(segmentation), BASELINE.precision)
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
        segmentation=segmentation,
        stopwatch=Stopwatch(settings),
        identity=identity,
        machine=here,
        threads=cores,
    )
