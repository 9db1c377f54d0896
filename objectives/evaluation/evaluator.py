"""OperatingPoint × recordings → Measurement."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

from objectives import machine
from objectives.backends.library_errors import failing_the_trial
from objectives.compression.compressor import Compressor, FinishedModel
from objectives.compression.settings import CompressionSettings
from objectives.compression.training_data import (
    CalibrationData,
    TrainingData,
    calibration_data,
    refuse_leakage,
    training_data,
)
from objectives.corpora.corpus import Recording
from objectives.corpora.sources import load_corpus
from objectives.corpora.summary import in_brief
from objectives.errors import EvaluationError
from objectives.evaluation.accuracy import AccuracyPlane, KeepGoing
from objectives.evaluation.cost import TIMED_SECONDS, middle
from objectives.evaluation.timing_process import CostSettings, Stopwatch
from objectives.machine import Device, one_blas_thread, versions
from objectives.measurement import DATA, UNHURRIED, ErrorCounts, Judge, Measurement, Stopped, Timing, pool
from objectives.models.embedding_loading import load_embedding
from objectives.models.segmentation import DEFAULT_SEGMENTATION, segmentation_checkpoint
from objectives.operating_point import BASELINE, UNPRUNED, OnlineTracking, OperatingPoint
from objectives.runtime.runtime import Runtime
from objectives.runtime.torch_runtime import execution_on_cpu, open_runtime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.clustering import ALWAYS_WHOLE, MOST_FOUNDERS, ClusteringSettings

OnProgress = Callable[[str, float], None]  # (stage, fraction of it that is done)
DEFAULT_EMBEDDING = "campplus"
CODE_VERSION = "3"  # of what decides a label: raise it whenever the same point would come out with another DER
OPEN_RUNTIMES = 4  # a study makes hundreds of models, and each that is open keeps its working memory


@dataclass
class Evaluator:
    """Measures operating points on the same recordings with models of the same base.

    identity: everything but the operating point that changes an answer. device: where windows are run for the errors.
    remarks: what the corpus leaves out, a line for each kind (objectives.corpora.summary.in_brief).
    Use as a context manager, or `close` it.
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
    _apart: set[tuple[str, ...]] = field(default_factory=set)  # splits, and URIs that were found not to be in them

    def __call__(
        self,
        point: OperatingPoint,
        on_progress: OnProgress = lambda stage, fraction: None,
        judge: Judge = UNHURRIED,
    ) -> Measurement | Stopped:
        """All three objectives of one operating point, or what was known when the judge had seen enough.

        The cheapest comes first: its size, its RTF, then its errors, recording by recording.
        Raises EvaluationError where it cannot be measured on every recording, LeakageError where its model would be
        made from one of them, ModelError or CorpusError where that cannot be made at all, DeviceError where the GPU
        will serve this process no more.
        """
        with failing_the_trial(str(point), self._let_go):
            return self._judged(point, on_progress, judge)

    def _judged(self, point: OperatingPoint, on_progress: OnProgress, judge: Judge) -> Measurement | Stopped:
        self.stopwatch.start()  # it loads its libraries meanwhile
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
        """All three objectives of one operating point, to the end. Raises as a call does."""
        measurement = self(point, on_progress)
        assert isinstance(measurement, Measurement), "nobody judged it"
        return measurement

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
        self,
        point: OperatingPoint,
        on_progress: OnProgress = lambda stage, fraction: None,
        only: Collection[str] | None = None,
    ) -> Mapping[str, ErrorCounts]:
        """Errors of each recording on the accuracy plane, in the mode of the operating point. Raises as a call does.

        only: URIs of those that are wanted; all of them by default.
        """
        model = self.model(point, on_progress)
        recordings = tuple(one for one in self.recordings if only is None or one.uri in only)
        return self._errors(model, point, recordings, lambda done: on_progress("accuracy", done))

    def timing(self, point: OperatingPoint, on_progress: OnProgress = lambda stage, fraction: None) -> Timing:
        """RTF of an operating point, in turns with the baseline. Raises as a call does."""
        return self._timing(point, self.model(point, on_progress), on_progress)

    def windows(self, recording: Recording, point: OperatingPoint) -> WindowClasses:
        """A recording's windows, as the model of an operating point hears them."""
        model = self.model(point)
        return self.accuracy.windows(recording, model.key, self._runtime(model))

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
        with failing_the_trial(str(point), self._let_go):
            return self._errors(
                self._finished(point, on_progress),
                point,
                calibration.recordings,
                lambda fraction: on_progress("accuracy on calib", fraction),
            )

    def prepare(self, on_progress: Callable[[float], None] = lambda fraction: None) -> None:
        """Read every recording and make its embedding features, so that what is wrong with one shows at once.

        Raises CorpusError.
        """
        self.accuracy.prepare(self.recordings, on_progress)

    def close(self) -> None:
        """End the timing process."""
        self.stopwatch.close()

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _let_go(self) -> None:
        """Give back the memory of all that can be had again."""
        self._runtimes.clear()
        self.accuracy.forget()
        self.stopwatch.close()

    def _facts(self, point: OperatingPoint, model: FinishedModel) -> dict[str, Any]:
        return {
            "operating_point": point,
            "size_bytes": model.size_bytes,
            "params": model.params,
            "execution": execution_on_cpu(model.precision),
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
        if len(counts) == len(recordings) and pool(counts.values()).total == 0:
            raise EvaluationError("no reference speech is left to score outside the collar: use longer recordings")
        return counts

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
                runtime = open_runtime(model, threads=1, device=self.device)
        self._runtimes[model.key] = runtime  # the latest last
        while len(self._runtimes) > OPEN_RUNTIMES:
            del self._runtimes[next(iter(self._runtimes))]
        return runtime


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
    device: Device = "cpu",
    trusted: Collection[str] = (),
) -> Evaluator:
    """An evaluator for a split of a corpus. None stands for the default.

    clustering_threshold: the embedding's own by default. repeats, threads: of the cost plane, 3 and 1 by default.
    seed: of the splits where a corpus brings none. compression: how pruned and low-bit models are made, from the
    corpus' train and calib. accuracy_threads: of the accuracy plane, one a core by default; fewer where several
    evaluators share a machine. device: of the accuracy plane's windows; RTF is always the CPU's, and so is `execution`.
    trusted: SHA-256 of checkpoints that may run code as they are read; no other may.
    Raises CorpusError, LeakageError, AssetError or ModelError.
    """
    heard_by = machine.name_of(device)
    one_blas_thread()
    recordings = load_corpus(corpus, seed)
    chosen = recordings.split(split)
    speaker_embedding = load_embedding(embedding or DEFAULT_EMBEDDING, threads=1, trusted=trusted)
    clustering = ClusteringSettings(
        speaker_embedding.threshold if clustering_threshold is None else clustering_threshold
    )
    compressor = Compressor(
        base=segmentation_checkpoint(segmentation or DEFAULT_SEGMENTATION),
        settings=compression or CompressionSettings(),
        training=training_data(recordings) if recordings.splits.get("train") else None,
        calibration=calibration_data(recordings) if recordings.splits.get("calib") else None,
        trusted=frozenset(trusted),
    )
    baseline = compressor.finish(BASELINE.pruning, BASELINE.precision)
    timed = max(chosen, key=lambda recording: (recording.duration, recording.uri))
    settings = CostSettings(
        waveform=middle(timed.waveform(), TIMED_SECONDS).copy(),  # not a view, which would keep hours
        embedding=speaker_embedding.name,
        clustering=clustering,
        baseline=baseline,
        repeats=repeats or 3,
        threads=threads or 1,
        trusted=frozenset(trusted),
    )
    here = machine.describe()
    identity = {
        "corpus": f"{recordings.name} {recordings.fingerprint}",
        "split": split,
        "segmentation": baseline.key,
        "compression": json.dumps(asdict(compressor.settings), sort_keys=True),
        "embedding": speaker_embedding.key,
        "clustering": f"{clustering.method} {clustering.threshold:g}"
        + (f", founders {MOST_FOUNDERS}" if timed.duration > ALWAYS_WHOLE else ""),
        "tracking": _tracking(speaker_embedding.online),
        "cost": f"{settings.repeats} repeats, {settings.threads} threads, on {timed.uri}",
        "code": CODE_VERSION,
        **({} if device == "cpu" else {"accuracy": heard_by}),
        **{f"machine {name}": value for name, value in here.items()},
    }
    return Evaluator(
        recordings=chosen,
        accuracy=AccuracyPlane(speaker_embedding, clustering, lanes=accuracy_threads or machine.cores()),
        compressor=compressor,
        stopwatch=Stopwatch(settings),
        identity=identity,
        machine=here,
        device=device,
        remarks=in_brief(recordings, corpus),
    )


def _tracking(online: OnlineTracking) -> str:
    """The embedding's own thresholds of the online mode, in words."""
    tuned = {"tau_active": online.tau_active, "rho_update": online.rho_update, "delta_new": online.delta_new}
    return ", ".join(f"{name} {value:g}" for name, value in tuned.items() if value is not None) or "not tuned"
