"""A study from its creation or resumption to its end.

Everything that a killed driver can leave behind is mended by the next one: trials that were running are failed, fixed
points that are neither waiting nor complete are queued (again). So the same command resumes, whatever happened.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from explorer import provenance, selection
from explorer import trial_record as record
from explorer.ledger import Ledger
from explorer.loop import Ending, Loop, fail
from explorer.observer import Observer
from explorer.samplers import build_sampler
from explorer.storage import open_storage, sole_driver
from explorer.stored import DEFINITION, IDENTITY
from explorer.workers import Workers
from objectives.errors import StudyError
from studies.definition import StudyDefinition


@dataclass(frozen=True)
class Outcome:
    """How a run ended. trials: finished in this run. failed: of those. stopped: `done` or `timeout`."""

    study: optuna.Study
    trials: int
    failed: int
    stopped: Ending


def run_study(
    name: str, definition: StudyDefinition, workers: Workers, storage_url: str, observer: Observer | None = None
) -> Outcome:
    """Create the study or resume it, and run it until its fixed points and `definition.trials` search trials are done.

    Failed search trials count towards the budget; a failed fixed point is queued again by the next run.
    Raises StudyError where the storage cannot be used, another process drives the study, or it was made with another
    definition. Any error of the evaluator but EvaluationError is a bug: its trial is failed and the error goes on.
    """
    storage = open_storage(storage_url)
    with sole_driver(name, storage_url):
        study = _create_or_resume(name, definition, workers.identity, storage)
        _fail_abandoned(study)
        selection.enqueue_missing(study, definition)
        trials = study.get_trials(deepcopy=False)
        observer = observer or Observer()
        if changes := provenance.changed_versions(trials, workers.versions):
            observer.versions_changed(changes)
        # another seed each time, or a resumed study would draw the numbers of its first run again
        study.sampler = build_sampler(definition.sampler, definition.seed + len(trials))
        loop = Loop(study, definition, workers, observer, Ledger.of(definition.space, trials))
        ending = loop.run()
        return Outcome(study, loop.trials, loop.failed, ending)


def _create_or_resume(
    name: str, definition: StudyDefinition, evaluated_by: Mapping[str, str], storage: RDBStorage
) -> optuna.Study:
    study = optuna.create_study(
        study_name=name, storage=storage, directions=["minimize"] * len(record.METRIC_NAMES), load_if_exists=True
    )
    identity = definition.identity() | {f"evaluator.{key}": value for key, value in evaluated_by.items()}
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
        fail(study, trial._trial_id, trial.number, "its driver ended before the trial did")
