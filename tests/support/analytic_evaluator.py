"""An evaluator that fits on a screen: DER, size and RTF by formula, with faults and delays on demand."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

from explorer.search import driver
from explorer.search.driver import Outcome
from explorer.search.observer import Observer
from explorer.workers.in_process import InProcess
from objectives.errors import EvaluationError
from objectives.measurement import UNHURRIED, ErrorCounts, Judge, Measurement, Stop, Stopped, Timing
from objectives.operating_point import OperatingPoint, Pruning
from studies.definition import StudyDefinition, parse

MIB = 2**20
VERSIONS = {"numpy": "a formula"}


@dataclass
class AnalyticEvaluator:
    """DER falls with C + R and grows with pruning, RTF with 1/C, size with the precision. `fails`: points that cannot
    be measured.

    `seconds`: how long a measurement takes. `calls`, `calibrated`: the points measured on the study's split and on
    calib, where DER is `on_calib` times larger. `before`: called first, to misbehave.
    """

    seconds: float = 0.0
    fails: frozenset[OperatingPoint] = frozenset()
    before: Callable[[OperatingPoint], None] = lambda point: None
    identity: Mapping[str, str] = field(default_factory=lambda: {"corpus": "analytic", "machine": "a formula"})
    remarks: tuple[str, ...] = ()
    calls: list[OperatingPoint] = field(default_factory=list)
    calibrated: list[OperatingPoint] = field(default_factory=list)
    on_calib: Callable[[Pruning], float] = lambda pruning: 1.0
    closed: bool = False

    def __call__(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None], judge: Judge = UNHURRIED
    ) -> Measurement | Stopped:
        self.before(point)
        on_progress("accuracy", 0.5)
        time.sleep(self.seconds)
        if point in self.fails:
            raise EvaluationError(f"no answer at C = {point.chunk_length:g} s: a fault made for a test")
        self.calls.append(point)
        return judged(measurement(point), judge)

    def errors(self, point: OperatingPoint, on_progress: Callable[[str, float], None]) -> Mapping[str, ErrorCounts]:
        self.before(point)
        on_progress("accuracy", 0.5)
        if point in self.fails:
            raise EvaluationError(f"no answer at C = {point.chunk_length:g} s: a fault made for a test")
        self.calls.append(point)
        return measurement(point).counts

    def calibration_errors(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None]
    ) -> Mapping[str, ErrorCounts]:
        on_progress(f"recovering {point.pruning}, 1 of 4", 0.25)
        self.before(point)
        if point in self.fails:
            raise EvaluationError(f"no answer for {point.pruning}: a fault made for a test")
        self.calibrated.append(point)
        return {"c": ErrorCounts(confusion=der_of(point) * self.on_calib(point.pruning), total=100.0)}

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        on_progress(1.0)

    def __enter__(self) -> "AnalyticEvaluator":
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True


def judged(whole: Measurement, judge: Judge) -> Measurement | Stopped:
    """What is known of a measurement when the judge stops it, as objectives.evaluation.evaluator goes about it."""
    size, rtf = whole.size_mib, whole.timing.median
    if stop := judge.look(size, None, {}):
        return stopped(whole, stop, timed=False, scored=())
    if stop := judge.look(size, rtf, {}):
        return stopped(whole, stop, timed=True, scored=())
    order = judge.order(size, rtf, dict.fromkeys(whole.counts, 25.0)) or tuple(whole.counts)
    for last in range(1, len(order)):
        if stop := judge.look(size, rtf, {uri: whole.counts[uri] for uri in order[:last]}):
            return stopped(whole, stop, timed=True, scored=order[:last])
    return whole


def stopped(whole: Measurement, stop: Stop, timed: bool, scored: tuple[str, ...]) -> Stopped:
    """The part of a measurement that was made when it was stopped."""
    facts = {field.name: getattr(whole, field.name) for field in fields(whole)}
    counts = {uri: whole.counts[uri] for uri in scored}
    return Stopped(**facts | {"stop": stop, "timing": whole.timing if timed else None, "counts": counts})


def der_of(point: OperatingPoint) -> float:
    """10 % + 5 / (C + R), plus 1 % for each share that Linear cuts and 10 % for Hidden; at most 40 %."""
    weight = {"none": 0.0, "linear": 1.0, "hidden": 10.0, "both": 11.0}[point.pruning.structure]
    return min(40.0, 10.0 + 5.0 / point.latency + weight * point.pruning.ratio)


def measurement(point: OperatingPoint) -> Measurement:
    """100 s of speech in two recordings."""
    der = der_of(point)
    rtf = 0.01 + 0.02 / point.chunk_length
    return Measurement(
        operating_point=point,
        counts={
            "a": ErrorCounts(false_alarm=0.0, missed_detection=der / 2, confusion=0.0, total=50.0),
            "b": ErrorCounts(false_alarm=der / 4, missed_detection=0.0, confusion=der / 4, total=50.0),
        },
        size_bytes=4 * MIB if point.precision == "fp32" else 2 * MIB,
        params=1_000_000,
        timing=Timing(
            rtf=(rtf, rtf * 1.1, rtf * 0.9),
            baseline_rtf=(0.03, 0.03, 0.03),
            threads=1,
            updates=(0.02, 0.03, 0.04),
            stages={"segmentation": 0.6, "embedding": 0.3, "clustering": 0.06, "other": 0.04},
            peak_memory=400 * MIB,
        ),
        kernel="a formula",
        execution="native" if point.precision == "fp32" else "emulated",
        model_key=f"model-{point.precision}",
        machine={"cpu": "a formula", "threads": "1"},
        kept={"hidden": 128, "linear": 128},
        story={"seconds": 1.5},
        model_sha256=f"sha-{point.precision}",
        data={"corpus": "analytic", "split": "eval"},
        versions=VERSIONS,
    )


def small_study(**changes: object) -> StudyDefinition:
    """Three fixed points (ORIGINS) and one random search trial."""
    fixed = {"right_context": [0.5], "chunk_length": [0.5]}
    return parse({"sampler": "random", "trials": 1, "fixed": fixed} | changes, "a test")


ORIGINS = ["baseline", "paper:figure1:R=0.5", "paper:figure2:C=0.5"]


def run_study(
    name: str,
    definition: StudyDefinition,
    evaluator: AnalyticEvaluator,
    url: str,
    observer: Observer | None = None,
) -> Outcome:
    """A run whose trials are evaluated in this process."""
    observer = observer or Observer()
    return driver.run_study(name, definition, InProcess(evaluator, observer.trial_progress), url, observer)


def drive(url: str, seconds: float, name: str = "study") -> None:
    """Run the small study to its end: what a subprocess does until it is killed."""
    run_study(name, small_study(), AnalyticEvaluator(seconds=seconds), url)
