"""Hand-made studies for tests of recommendations: operating points with the errors of each recording given."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import optuna

from explorer.storage import trial_record as record
from explorer.storage.study_record import DEFINITION, IDENTITY
from objectives.measurement import ErrorCounts, Measurement, Timing
from objectives.operating_point import BASELINE, OperatingPoint, Pruning
from studies.definition import StudyDefinition
from studies.search_space import SearchSpace, params_of, suggest
from tests.support.analytic_evaluator import MIB, measurement, small_study

SPOKEN = 100.0  # seconds of reference speech of each recording
LINEAR_40_FP16 = OperatingPoint(pruning=Pruning("linear", 0.4), precision="fp16")


def empty_study(definition: StudyDefinition | None = None, url: str | None = None) -> optuna.Study:
    """A study of `explorer run` before its first trial."""
    study = optuna.create_study(study_name="study", storage=url, directions=["minimize"] * 3)
    study.set_user_attr(DEFINITION, (definition or small_study()).model_dump_json())
    study.set_user_attr(IDENTITY, '{"evaluator.corpus": "analytic", "evaluator.machine": "a formula"}')
    return study


def add(
    study: optuna.Study,
    errors: Sequence[float] | Mapping[str, float],
    size: float = 4.0,
    rtf: float | Sequence[float] = 0.1,
    *,
    point: OperatingPoint | None = None,
    origin: str = "search",
    execution: str = "native",
    kernel: str = "a formula",
    excesses: Mapping[str, float] | None = None,
    reuses: int | None = None,
) -> int:
    """One complete trial and its number. errors: seconds of each recording, of 100 s of speech, so a percentage.

    rtf: median, or repeats. point: by default one of its own. reuses: the trial whose measurement it takes over.
    """
    number = len(study.trials)
    point = point or OperatingPoint(chunk_length=round(0.2 + 0.01 * number, 2))
    by_uri = errors if isinstance(errors, Mapping) else {f"r{place}": each for place, each in enumerate(errors)}
    repeats = (rtf, rtf, rtf) if isinstance(rtf, float) else tuple(rtf)
    told = replace(
        measurement(point),
        counts={uri: ErrorCounts(confusion=each, total=SPOKEN) for uri, each in by_uri.items()},
        size_bytes=round(size * MIB),
        timing=Timing(rtf=repeats, baseline_rtf=(0.1, 0.1, 0.1), threads=1),
        execution=execution,
        kernel=kernel,
    )
    trial = measured(study, told, origin)
    if reuses is not None:
        trial.set_user_attr(record.REUSED_FROM, reuses)
    for name, excess in (excesses or {}).items():
        trial.set_constraint(name, excess)
    study.tell(trial, record.values_of(told))
    return number


def measured(study: optuna.Study, told: Measurement, origin: str = "search") -> optuna.Trial:
    """A trial that was measured, and is still to be told."""
    point = told.operating_point
    tracking = ("online",) if point.mode == "online" else ("chunk-wise",)
    space = SearchSpace(tracking=tracking) if point.streamed else SearchSpace(mode="offline")
    study.enqueue_trial(params_of(point, space), user_attrs={record.ORIGIN: origin})
    trial = study.ask()
    suggest(trial, space)
    for key, value in record.attributes_of(told).items():
        trial.set_user_attr(key, value)
    return trial


def add_baseline(study: optuna.Study, errors: Sequence[float], size: float = 5.0, rtf: float = 0.1) -> int:
    """The baseline: C = 1 s, R = 0."""
    return add(study, errors, size, rtf, point=BASELINE, origin="baseline")
