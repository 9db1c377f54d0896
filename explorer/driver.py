"""The search itself, in one process: create or resume, enqueue fixed points, ask → evaluate → tell.

Everything that a killed driver can leave behind is mended by the next one: trials that were running are failed, fixed
points that are neither waiting nor complete are queued (again). So the same command resumes, whatever happened.
"""

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from explorer import selection
from explorer import trial_record as record
from explorer.selection import Choice
from explorer.storage import open_storage, sole_driver
from objectives.errors import EvaluationError, StudyError
from objectives.operating_point import OperatingPoint
from studies.definition import Sampler as SamplerName
from studies.definition import StudyDefinition
from studies.search_space import params_of, recall, suggest

if TYPE_CHECKING:  # they bring torch, which neither the front nor the status of a study should wait for
    from objectives.measurement import Measurement
    from objectives.scoring import ErrorCounts

DEFINITION = "definition"  # study attribute: the definition, budget included
IDENTITY = "identity"  # study attribute: what may not change between runs, definition and evaluator

OVER = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


class Evaluator(Protocol):
    """Measures operating points.

    identity: everything but the operating point that changes an answer: corpus fingerprint, weights, embedding,
    threshold, cost settings, machine.
    """

    @property
    def identity(self) -> Mapping[str, str]: ...

    def __call__(self, point: OperatingPoint, on_progress: Callable[[str, float], None]) -> "Measurement":
        """Measure one point, telling (stage, fraction 0..1). Raises EvaluationError where it cannot be."""
        ...

    def calibration_errors(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None]
    ) -> "Mapping[str, ErrorCounts]":
        """Errors of one point by recording of the calib split. Raises EvaluationError where it cannot be measured."""
        ...


class Observer:
    """What a driver tells while it runs; this one listens to nothing. `trials` are those of the study so far."""

    def begin(self, trials: Sequence[FrozenTrial], total: int) -> None:
        """The run starts; total: trials, fixed points included, that the study will have when it is done."""

    def trial_started(self, number: int, origin: str, point: OperatingPoint) -> None:
        """A trial is about to be evaluated."""

    def choice_started(self, on: str) -> None:
        """Table 2's variant is about to be chosen by its DER `on` calib or eval; progress is told as a trial's."""

    def choice_finished(self, choice: Choice) -> None:
        """It was chosen, or could not be."""

    def trial_progress(self, stage: str, fraction: float) -> None:
        """What is running got this far."""

    def trial_finished(self, trial: FrozenTrial) -> None:
        """A trial was told, complete or failed."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended. trials: finished in this run. failed: of those. stopped: `done` or `timeout`."""

    study: optuna.Study
    trials: int
    failed: int
    stopped: Literal["done", "timeout"]


def run_study(
    name: str, definition: StudyDefinition, evaluator: Evaluator, storage_url: str, observer: Observer | None = None
) -> Outcome:
    """Create the study or resume it, and run it until its fixed points and `definition.trials` search trials are done.

    Failed search trials count towards the budget; a failed fixed point is queued again by the next run.
    Raises StudyError where the storage cannot be used, another process drives the study, or it was made with another
    definition. Any error of the evaluator but EvaluationError is a bug: its trial is failed and the error goes on.
    """
    observer = observer or Observer()
    storage = open_storage(storage_url)
    with sole_driver(name, storage_url):
        study = _create_or_resume(name, definition, evaluator, storage)
        _fail_abandoned(study)
        _enqueue_missing(study, definition)
        # another seed each time, or a resumed study would draw the numbers of its first run again
        study.sampler = build_sampler(definition.sampler, definition.seed + len(study.get_trials(deepcopy=False)))
        return _loop(study, definition, evaluator, observer)


def build_sampler(name: SamplerName, seed: int) -> BaseSampler:
    """An Optuna sampler that honours several objectives and constraints (random search has no use for either)."""
    match name:
        case "tpe":
            return TPESampler(seed=seed)
        case "random":
            return RandomSampler(seed=seed)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=16)  # the default of 50 outgrows a study of 60 trials
        case "gp":
            return GPSampler(seed=seed)


def stored_definition(study: optuna.Study) -> StudyDefinition:
    """The definition that a study was last run with. Raises StudyError where the study is not explorer's."""
    if DEFINITION not in study.user_attrs:
        raise StudyError(f"the study {study.study_name!r} was not made by `explorer run`: it has no definition")
    return StudyDefinition.model_validate_json(study.user_attrs[DEFINITION])


def _create_or_resume(
    name: str, definition: StudyDefinition, evaluator: Evaluator, storage: RDBStorage
) -> optuna.Study:
    study = optuna.create_study(
        study_name=name, storage=storage, directions=["minimize"] * len(record.METRIC_NAMES), load_if_exists=True
    )
    identity = definition.identity() | {f"evaluator.{key}": value for key, value in evaluator.identity.items()}
    stored = study.user_attrs.get(IDENTITY)
    if stored is None and study.get_trials(deepcopy=False):
        raise StudyError(f"the study {name!r} was not made by `explorer run`: give --name to make one beside it")
    if stored is None:
        # first run, or its driver died here: nothing was enqueued yet, so nothing can contradict
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(record.METRIC_NAMES))
        study.set_user_attr(DEFINITION, definition.model_dump_json())
        study.set_user_attr(IDENTITY, json.dumps(identity))
    else:
        _refuse_differences(name, json.loads(stored), identity)
        study.set_user_attr(DEFINITION, definition.model_dump_json())
    return study


def _refuse_differences(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    # through JSON, so that a tuple and the list that it became are the same
    new = json.loads(json.dumps(new))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if keys:
        lines = "".join(f"\n  {key}: {old.get(key, '(absent)')} → {new.get(key, '(absent)')}" for key in keys)
        raise StudyError(
            f"the study {name!r} was made with other settings, and trials of both cannot be compared:{lines}\n"
            f"Give --name for a new study, or go back to the old settings to resume this one."
        )


def _fail_abandoned(study: optuna.Study) -> None:
    """Fail what a dead driver left running: with the lock held, nobody else can be running it."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        _fail(study, trial._trial_id, trial.number, "its driver ended before the trial did")


def _enqueue_missing(study: optuna.Study, definition: StudyDefinition, failed_too: bool = True) -> None:
    """Queue every fixed point that is neither waiting nor complete, in order: the baseline is trial 0.

    failed_too: also what failed, as each run does once, when it starts.
    One transaction a point and always in this order, so a driver killed between two loses none and doubles none.
    """
    alive = (TrialState.WAITING, TrialState.COMPLETE) if failed_too else None
    present = {record.origin_of(trial) for trial in study.get_trials(deepcopy=False, states=alive)}
    for fixed in selection.fixed_points(study, definition):
        if fixed.origin not in present:
            study.enqueue_trial(params_of(fixed.point), user_attrs={record.ORIGIN: fixed.origin})


def _loop(study: optuna.Study, definition: StudyDefinition, evaluator: Evaluator, observer: Observer) -> Outcome:
    started = time.monotonic()
    trials, failed = 0, 0
    to_choose = selection.is_pending(study, definition)
    observer.begin(study.get_trials(deepcopy=False), total=_finished(study) + remaining(study, definition))
    while _queued(study) or to_choose or _unsearched(study, definition):
        if definition.timeout is not None and time.monotonic() - started >= definition.timeout:
            return Outcome(study, trials, failed, "timeout")
        if to_choose and not _queued(study):
            to_choose = False
            _choose(study, definition, evaluator, observer)
            continue
        told = _one_trial(study, definition, evaluator, observer)
        trials += 1
        failed += told.state is TrialState.FAIL
        observer.trial_finished(told)
    return Outcome(study, trials, failed, "done")


def _choose(study: optuna.Study, definition: StudyDefinition, evaluator: Evaluator, observer: Observer) -> None:
    """Choose Table 2's variant and queue its points; they stay out of this run where none can be chosen."""
    observer.choice_started(definition.fixed.table2_variant)
    choice = selection.choose(study, definition, evaluator.calibration_errors, observer.trial_progress)
    _enqueue_missing(study, definition, failed_too=False)
    observer.choice_finished(choice)


def remaining(study: optuna.Study, definition: StudyDefinition) -> int:
    """Trials still to run: those that wait, Table 2's where its variant is still to be chosen, and what is left of the
    budget of search trials."""
    unknown = len(definition.precisions) if selection.is_pending(study, definition) else 0
    return _queued(study) + unknown + _unsearched(study, definition)


def _queued(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def _unsearched(study: optuna.Study, definition: StudyDefinition) -> int:
    searched = sum(record.origin_of(trial) == record.SEARCH for trial in study.get_trials(deepcopy=False, states=OVER))
    return max(0, definition.trials - searched)


def _finished(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=OVER))


def _one_trial(
    study: optuna.Study, definition: StudyDefinition, evaluator: Evaluator, observer: Observer
) -> FrozenTrial:
    trial = study.ask()
    started = time.monotonic()
    try:
        if record.ORIGIN not in trial.user_attrs:
            trial.set_user_attr(record.ORIGIN, record.SEARCH)
        point = suggest(trial, definition.space)
        observer.trial_started(trial.number, trial.user_attrs[record.ORIGIN], point)
        if twin := _already_measured(study, definition, point):
            values = _reuse(trial, twin)
        else:
            values = _measure(trial, evaluator, point, observer)
        _constrain(study, trial, record.excesses(definition.limits.given(), point.latency, values))
        trial.set_user_attr(record.SECONDS, time.monotonic() - started)
        return study.tell(trial, values)
    except EvaluationError as error:
        return _fail(study, trial._trial_id, trial.number, str(error))
    except KeyboardInterrupt:
        _fail(study, trial._trial_id, trial.number, "interrupted")
        raise
    except BaseException as error:
        _fail(study, trial._trial_id, trial.number, f"{type(error).__name__}: {error}")
        raise


def _already_measured(study: optuna.Study, definition: StudyDefinition, point: OperatingPoint) -> FrozenTrial | None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if record.is_measured(trial) and recall(trial, definition.space) == point:
            return trial
    return None


def _reuse(trial: Trial, twin: FrozenTrial) -> tuple[float, float, float]:
    for key, value in record.measured_attributes(twin).items():
        trial.set_user_attr(key, value)
    trial.set_user_attr(record.REUSED_FROM, twin.number)
    der, size, rtf = twin.values
    return der, size, rtf


def _measure(
    trial: Trial, evaluator: Evaluator, point: OperatingPoint, observer: Observer
) -> tuple[float, float, float]:
    measurement = evaluator(point, observer.trial_progress)
    values = record.values_of(measurement)
    for key, value in record.attributes_of(measurement).items():
        trial.set_user_attr(key, value)
    return values


def _constrain(study: optuna.Study, trial: Trial, excesses: Mapping[str, float]) -> None:
    """Write the budgets twice: Optuna reads one attribute a constraint, optuna-dashboard only the list of all."""
    if not excesses:
        return
    for name, excess in excesses.items():
        trial.set_constraint(name, excess)
    study._storage.set_trial_system_attr(trial._trial_id, record.CONSTRAINTS, list(excesses.values()))


def _fail(study: optuna.Study, trial_id: int, number: int, why: str) -> FrozenTrial:
    """Tell a trial failed, unless it was told already: an interrupt may come just after its values went in."""
    if not study._storage.get_trial(trial_id).state.is_finished():
        study._storage.set_trial_user_attr(trial_id, record.ERROR, why)
    return study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
