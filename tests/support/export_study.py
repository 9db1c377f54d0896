"""A real study to export from: short recordings and real models; RTF is by hand, so that nothing has to be timed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from explorer.bundle.bundle import Bundle, read_bundle
from explorer.bundle.export import export_trial
from explorer.storage import trial_record as record
from explorer.storage.study_record import IDENTITY
from objectives.compression.precisions import PRECISION_MODES
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.machine import versions
from objectives.measurement import DATA, Measurement
from objectives.operating_point import BASELINE, OperatingPoint
from studies.definition import StudyDefinition
from tests.support.analytic_evaluator import measurement, small_study
from tests.support.recommendation_study import empty_study, measured

LOW_BIT = OperatingPoint(2.0, 0.5, precision="int8_ptq")
THRESHOLD = 0.5  # of the clustering, in the study of `make_exports`

Change = Callable[[Measurement], Measurement]


def unchanged(told: Measurement) -> Measurement:
    return told


def real_definition(corpus: Path, **changes: object) -> StudyDefinition:
    """A study of a corpus on disk."""
    return small_study(corpus=str(corpus), **changes)


def real_study(definition: StudyDefinition, url: str | None = None) -> tuple[optuna.Study, Evaluator]:
    """An empty study, as `explorer run` makes it, and what measures its trials."""
    study = empty_study(definition, url)
    evaluator = build_evaluator(definition.evaluator_settings())
    assert isinstance(evaluator, Evaluator)
    told = definition.identity() | {f"evaluator.{key}": value for key, value in evaluator.identity.items()}
    study.set_user_attr(IDENTITY, json.dumps(told))
    return study, evaluator


def real_measurement(evaluator: Evaluator, point: OperatingPoint) -> Measurement:
    """A point measured, all but its RTF."""
    model = evaluator.model(point)
    return replace(
        measurement(point),
        counts=evaluator.errors(point),
        size_bytes=model.size_bytes,
        params=model.params,
        execution=PRECISION_MODES[model.precision].execution("onnxruntime cpu"),
        model_key=model.key,
        machine=evaluator.machine,
        kept=model.kept,
        story=model.story,
        model_sha256=model.sha256,
        data={name: evaluator.identity[name] for name in DATA},
        versions=versions(),
    )


def tell(study: optuna.Study, told: Measurement) -> int:
    """Tell a study a measurement; the number of its trial."""
    trial = measured(study, told, "baseline" if told.operating_point == BASELINE else "search")
    study.tell(trial, record.values_of(told))
    return trial.number


def real_trial(study: optuna.Study, evaluator: Evaluator, point: OperatingPoint, change: Change = unchanged) -> int:
    """Measure a point, all but its RTF, and tell it to the study. change: what to tell otherwise."""
    return tell(study, change(real_measurement(evaluator, point)))


@dataclass(frozen=True)
class Exports:
    """A study in `url` with a trial of each point, a bundle of each, and what measured them."""

    url: str
    study: optuna.Study
    evaluator: Evaluator
    trials: dict[OperatingPoint, int]
    folders: dict[OperatingPoint, Path]

    def bundle(self, point: OperatingPoint) -> Bundle:
        return read_bundle(self.folders[point])


def make_exports(corpus: Path, folder: Path) -> Exports:
    """The baseline and a low-bit point, exported."""
    url = f"sqlite:///{folder}/studies.db"
    # a threshold that is not the embedding's own, so that what says which one it is can be wrong
    study, evaluator = real_study(real_definition(corpus, models={"clustering_threshold": THRESHOLD}), url)
    trials = {point: real_trial(study, evaluator, point) for point in (BASELINE, LOW_BIT)}
    folders = {point: folder / point.precision for point in trials}
    for point, number in trials.items():
        export_trial(study, number, folders[point])
    return Exports(url, study, evaluator, trials, folders)
