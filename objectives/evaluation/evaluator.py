"""Measure an operating point on recordings: OperatingPoint × recordings → Measurement."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from objectives import machine
from objectives.backends.library_errors import failing_the_trial
from objectives.compression.compressor import Compressor, FinishedModel
from objectives.compression.precisions import PRECISION_MODES
from objectives.compression.training_data import CalibrationData, TrainingData, refuse_leakage
from objectives.corpora.corpus import Recording
from objectives.corpora.sources import load_corpus
from objectives.corpora.summary import in_brief
from objectives.errors import EvaluationError
from objectives.evaluation.accuracy import AccuracyPlane, KeepGoing
from objectives.evaluation.cost import TIMED_SECONDS, middle
from objectives.evaluation.scoring import refuse_unscored
from objectives.evaluation.settings import EvaluatorSettings
from objectives.evaluation.timing_process import CostSettings, Stopwatch
from objectives.machine import Device, one_blas_thread, versions
from objectives.measurement import DATA, UNHURRIED, ErrorCounts, Judge, Measurement, Stopped, Timing
from objectives.models.embedding_loading import load_embedding
from objectives.models.segmentation import DEFAULT_SEGMENTATION, segmentation_checkpoint
from objectives.operating_point import BASELINE, UNPRUNED, OnlineTracking, OperatingPoint
from objectives.runtime.runtime import Runtime
from objectives.runtime.torch_runtime import open_runtime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import ALWAYS_WHOLE, MOST_VOICES, ClusteringSettings
from objectives.streaming.incremental.online import tracking_of

OnProgress = Callable[[str, float], None]  # (stage, fraction of it that is done)
DEFAULT_EMBEDDING = "campplus"
CODE_VERSION = "4"  # of the code that decides labels: raise it whenever the same operating point would get another DER
OPEN_RUNTIMES = 4  # a study makes hundreds of models, and each open one keeps its working memory


@dataclass
class Evaluator:
    """Measures operating points on the same recordings, with models made from the same base.

    identity: everything that changes an answer, except the operating point.
    device: where windows are run to find the errors.
    remarks: what the corpus leaves out, one line for each kind (objectives.corpora.summary.in_brief).

    Use it as a context manager: it has a process of its own for timing.
    """

    recordings: tuple[Recording, ...]
    accuracy: AccuracyPlane
    compressor: Compressor
    stopwatch: Stopwatch
    identity: Mapping[str, str]
    machine: Mapping[str, str]
    device: Device = "cpu"
    remarks: tuple[str, ...] = ()
    _runtimes: dict[str, Runtime] = field(default_factory=dict)
    _apart: set[tuple[str, ...]] = field(default_factory=set)  # a split and the URIs that were found not to be in it

    def __call__(
        self,
        point: OperatingPoint,
        on_progress: OnProgress = lambda stage, fraction: None,
        judge: Judge = UNHURRIED,
    ) -> Measurement | Stopped:
        """Measure all three objectives of one operating point, unless the judge stops the measurement early.

        The cheapest comes first: its size, then its RTF, then its errors, recording by recording.

        Raises EvaluationError if it cannot be measured on every recording, LeakageError if its model would be made from
        one of them, ModelError or CorpusError if its model cannot be made at all, DeviceError if this process can no
        longer use the GPU.
        """
        with failing_the_trial(str(point), self._let_go):
            return self._judged(point, on_progress, judge)

    def _judged(self, point: OperatingPoint, on_progress: OnProgress, judge: Judge) -> Measurement | Stopped:
        self.stopwatch.start()  # started early, so that it imports its libraries while the model is made
        model = self.model(point, on_progress)
        facts = self._facts(point, model)
        size = model.size_bytes / 2**20
        if stop := judge.look(size, None, {}):
            return Stopped(**facts, stop=stop, timing=None, counts={})
        timing = self._timing(point, model, on_progress)
        if stop := judge.look(size, timing.median, {}):
            return Stopped(**facts, stop=stop, timing=timing, counts={})
        durations = {recording.uri: recording.duration for recording in self.recordings}
        recordings = self._in_order(judge.order(size, timing.median, durations))
        counts = self._errors(
            model,
            point,
            recordings,
            lambda done: on_progress("accuracy", done),
            lambda counts: judge.look(size, timing.median, counts) is None,
        )
        if len(counts) < len(recordings) and (stop := judge.look(size, timing.median, counts)):
            return Stopped(**facts, stop=stop, timing=timing, counts=counts)
        return Measurement(**facts, timing=timing, counts=counts)

    def measure(self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None) -> Measurement:
        """Measure all three objectives of one operating point, to the end. Raises as a call does."""
        measurement = self(point, on_progress)
        assert isinstance(measurement, Measurement), "nobody judged it"
        return measurement

    def model(self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None) -> FinishedModel:
        """Return the finished model of an operating point, making it if it does not exist yet.

        Raises LeakageError if it would be made from recordings that this evaluator measures on.
        """
        for data in self._made_from(point):
            self._keep_apart(data, self.recordings)
        return self._finished(point, on_progress)

    def runtime(self, point: OperatingPoint) -> Runtime:
        """Return the finished model of an operating point, loaded once."""
        return self._runtime(self.model(point))

    def errors(
        self,
        point: OperatingPoint,
        on_progress: OnProgress = lambda stage, fraction: None,
        only: Collection[str] | None = None,
    ) -> Mapping[str, ErrorCounts]:
        """Return the errors of each recording on the accuracy plane, in the operating point's mode. Raises as a call
        does.

        only: URIs of the recordings that are wanted; all of them by default.
        """
        model = self.model(point, on_progress)
        recordings = tuple(one for one in self.recordings if only is None or one.uri in only)
        return self._errors(model, point, recordings, lambda done: on_progress("accuracy", done))

    def timing(self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None) -> Timing:
        """Time an operating point in turns with the baseline. Raises as a call does."""
        return self._timing(point, self.model(point, on_progress), on_progress)

    def windows(self, recording: Recording, point: OperatingPoint) -> WindowClasses:
        """Return a recording's windows, as the model of an operating point classifies them."""
        model = self.model(point)
        return self.accuracy.windows(recording, model.key, self._runtime(model))

    def calibration_errors(
        self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None
    ) -> Mapping[str, ErrorCounts]:
        """Return the errors of each recording of `calib`, on which a choice between models may be based.

        Raises EvaluationError if the corpus has no `calib`, LeakageError if one of its recordings is also in `train`.
        """
        calibration = self.compressor.calibration
        if calibration is None:
            raise EvaluationError("the corpus has no split calib to choose on: name its recordings in a splits.json")
        for data in self._made_from(point):
            if data is not calibration:  # both ranges and choices may come from calib
                self._keep_apart(data, calibration.recordings)
        with failing_the_trial(str(point), self._let_go):
            return self._errors(
                self._finished(point, on_progress),
                point,
                calibration.recordings,
                lambda fraction: on_progress("accuracy on calib", fraction),
            )

    def prepare(self, on_progress: Callable[[float], None] = lambda fraction: None) -> None:
        """Read every recording and compute its embedding features, so that a recording with a fault is reported at
        once.

        Raises CorpusError.
        """
        self.accuracy.prepare(self.recordings, on_progress)

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(self, *error: object) -> None:
        self.stopwatch.close()  # the timing process

    def _let_go(self) -> None:
        """Free the memory of everything that can be loaded again."""
        self._runtimes.clear()
        self.accuracy.forget()
        self.stopwatch.close()

    def _facts(self, point: OperatingPoint, model: FinishedModel) -> dict[str, Any]:
        return {
            "operating_point": point,
            "size_bytes": model.size_bytes,
            "params": model.params,
            "execution": PRECISION_MODES[model.precision].execution("onnxruntime cpu"),
            "kernel": self._runtime(model).kernel,
            "model_key": model.key,
            "machine": self.machine,
            "kept": model.kept,
            "story": model.story,
            "model_sha256": model.sha256,
            "data": {name: self.identity[name] for name in DATA},
            "versions": versions(),
        }

    def _timing(self, point: OperatingPoint, model: FinishedModel, on_progress: OnProgress) -> Timing:
        on_progress("cost", 0.0)
        with machine.quiet():
            timing = self.stopwatch.measure(point, model)
        on_progress("cost", 1.0)
        return timing

    def _in_order(self, order: tuple[str, ...]) -> tuple[Recording, ...]:
        if not order:
            return self.recordings
        known = {recording.uri: recording for recording in self.recordings}
        assert sorted(order) == sorted(known), "a judge's order names every recording once"
        return tuple(known[uri] for uri in order)

    def _errors(
        self,
        model: FinishedModel,
        point: OperatingPoint,
        recordings: tuple[Recording, ...],
        on_progress: Callable[[float], None],
        keep_going: KeepGoing = lambda counts: True,
    ) -> Mapping[str, ErrorCounts]:
        counts = self.accuracy.errors(recordings, point, model.key, self._runtime(model), on_progress, keep_going)
        if len(counts) == len(recordings):
            refuse_unscored(counts.values())
        return counts

    def _made_from(self, point: OperatingPoint) -> list[TrainingData | CalibrationData]:
        """Return the data that a point's model is made from: `train` for pruning and QAT, `calib` for low-bit modes."""
        mode = PRECISION_MODES[point.precision]
        trained = point.pruning != UNPRUNED or mode.trained
        needed = (
            self.compressor.training if trained else None,
            self.compressor.calibration if mode.integer_bits is not None else None,
        )
        return [data for data in needed if data is not None]

    def _keep_apart(self, data: TrainingData | CalibrationData, evaluated: tuple[Recording, ...]) -> None:
        pair = (data.split, *(recording.uri for recording in evaluated))
        if pair not in self._apart:  # checked once, since the check decodes audio
            refuse_leakage(data, evaluated)
            self._apart.add(pair)

    def _finished(self, point: OperatingPoint, on_progress: OnProgress) -> FinishedModel:
        return self.compressor.finish(point.pruning, point.precision, on_progress)

    def _runtime(self, model: FinishedModel) -> Runtime:
        runtime = self._runtimes.pop(model.key, None)
        if runtime is None:
            with machine.working():
                runtime = open_runtime(model, threads=1, device=self.device)
        self._runtimes[model.key] = runtime  # most recently used last
        while len(self._runtimes) > OPEN_RUNTIMES:
            del self._runtimes[next(iter(self._runtimes))]
        return runtime


def build_evaluator(settings: EvaluatorSettings) -> Evaluator:
    """Build an evaluator for a split of a corpus.

    Raises CorpusError, LeakageError, AssetError or ModelError, the last also if online points are to have thresholds
    that were never tuned for the embedding; EvaluationError if memory runs out.
    """
    with failing_the_trial("models and recordings cannot be loaded"):
        return _built(settings)


def _built(settings: EvaluatorSettings) -> Evaluator:
    heard_by = machine.name_of(settings.device)
    one_blas_thread()
    recordings = load_corpus(settings.corpus, settings.seed)
    chosen = recordings.split(settings.split)
    embedding = load_embedding(settings.embedding or DEFAULT_EMBEDDING, threads=1, trusted=settings.trusted)
    if settings.tracking is not None:
        tracking_of(settings.tracking, embedding)  # refused before anything is made
    clustering = ClusteringSettings(settings.clustering_threshold, settings.speakers)
    compressor = Compressor(
        base=segmentation_checkpoint(settings.segmentation or DEFAULT_SEGMENTATION),
        settings=settings.compression,
        training=TrainingData(recordings) if recordings.splits.get("train") else None,
        calibration=CalibrationData(recordings) if recordings.splits.get("calib") else None,
        trusted=settings.trusted,
    )
    baseline = compressor.finish(BASELINE.pruning, BASELINE.precision)
    timed = max(chosen, key=lambda recording: (recording.duration, recording.uri))
    cost = CostSettings(
        waveform=middle(timed.waveform(), TIMED_SECONDS).copy(),  # copied: a view would keep hours of audio in memory
        embedding=embedding.name,
        clustering=clustering,
        baseline=baseline,
        repeats=settings.repeats,
        threads=settings.threads,
        trusted=settings.trusted,
    )
    here = machine.describe()
    identity = {
        "corpus": f"{recordings.name} {recordings.fingerprint}",
        "split": settings.split,
        "segmentation": baseline.key,
        "compression": json.dumps(asdict(compressor.settings), sort_keys=True),
        "embedding": embedding.key,
        "clustering": clustering.words + (f", voices {MOST_VOICES}" if timed.duration > ALWAYS_WHOLE else ""),
        "offline clustering": f"{clustering.method} {clustering.offline_threshold(embedding.threshold):g}",
        "tracking": _tracking(embedding.online),
        "cost": f"{cost.repeats} repeats, {cost.threads} threads, on {timed.uri}",
        "code": CODE_VERSION,
        **({} if settings.device == "cpu" else {"accuracy": heard_by}),
        **{f"machine {name}": value for name, value in here.items()},
    }
    return Evaluator(
        recordings=chosen,
        accuracy=AccuracyPlane(embedding, clustering, lanes=settings.accuracy_threads or machine.cores()),
        compressor=compressor,
        stopwatch=Stopwatch(cost),
        identity=identity,
        machine=here,
        device=settings.device,
        remarks=in_brief(recordings, settings.corpus),
    )


def _tracking(online: OnlineTracking) -> str:
    """Return the embedding's own thresholds for the online mode, in words."""
    tuned = {"tau_active": online.tau_active, "rho_update": online.rho_update, "delta_new": online.delta_new}
    return ", ".join(f"{name} {value:g}" for name, value in tuned.items() if value is not None) or "not tuned"
