"""Create or resume a study and run it to its end.

A driver repairs whatever a killed driver left behind: trials that were running are marked failed, and fixed points that
are neither waiting nor complete are queued (again). So the same command resumes the study, whatever happened.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage

from explorer.search import fixed_trials, study_guard
from explorer.search.known_points import KnownPoints
from explorer.search.loop import Ending, Loop
from explorer.search.observer import Observer
from explorer.search.shared_study import claim, fail_abandoned
from explorer.storage import bulk_sql, provenance
from explorer.storage import trial_record as record
from explorer.storage.connection import open_storage
from explorer.storage.foreign_trials import LeftOut, standard_of
from explorer.storage.own_trials import OwnTrials
from explorer.storage.study_record import DEFINITION, IDENTITY, kept_json, refuse_other_directions
from explorer.workers.protocol import Workers
from objectives.errors import StudyError, ascii_controls, shortened
from studies.definition import Sampler, StudyDefinition

TRACKING = "evaluator.tracking"  # the embedding's own thresholds of the online mode
MOST_SHOWN = 12  # settings that differ, in one message


@dataclass(frozen=True)
class Outcome:
    """How a run ended. trials: how many finished in this run. failed: how many of those failed. stopped: why it ended,
    `done` or `timeout`."""

    study: optuna.Study
    trials: int
    failed: int
    stopped: Ending


def run_study(
    name: str, definition: StudyDefinition, workers: Workers, storage_url: str, observer: Observer | None = None
) -> Outcome:
    """Create the study or resume it, and run it until its fixed points and `definition.trials` search trials are done.

    Failed search trials count towards the budget, except those that another program queued and that cannot be measured
    at all. A failed fixed point is queued again by the next run. Trials that are not the study's own are left out.
    In PostgreSQL several drivers, on one host or many, can run the study together; each ends when nothing is left for
    it to ask. With other storages the first driver keeps the others out.

    Raises StudyError if the storage cannot be used, if another process drives the study and it cannot be shared, if the
    study was made with another definition, or if too many trials failed in a row. Any error of the evaluator other than
    EvaluationError is a bug: its trial is marked failed and the error is re-raised.
    """
    storage = open_storage(storage_url)
    with claim(name, storage_url, storage) as held:
        with held.turn():
            study = _create_or_resume(name, definition, workers.identity, storage)
            left_out = _leave_out(study)
            fail_abandoned(study, held)
            fixed_trials.enqueue_missing(study, definition)
            trials = study.get_trials(deepcopy=False)
            alone = held.living() == {held.key}
        observer = observer or Observer()
        if left_out:
            observer.left_out(left_out)
        if changes := provenance.changed_versions(trials, workers.versions):
            observer.versions_changed(changes)
        # a new seed for each run, or a resumed study would draw the numbers of its first run again; and not the seed of
        # a driver that runs at the same time
        seed = definition.seed + len(trials) + (0 if alone else held.key)
        study.sampler = build_sampler(definition.sampler, seed % 2**32)
        loop = Loop(study, definition, workers, observer, KnownPoints.of(definition.space, trials), held)
        with study_guard.guarded(study, storage_url):
            ending = loop.run()
        storage.engine.dispose()  # closes the connections, so SQLite folds its write-ahead log into the file
        return Outcome(study, loop.trials, loop.failed, ending)


def _create_or_resume(
    name: str, definition: StudyDefinition, evaluated_by: Mapping[str, str], storage: RDBStorage
) -> optuna.Study:
    study = optuna.create_study(
        study_name=name,
        storage=OwnTrials(storage) if isinstance(storage, RDBStorage) else storage,
        directions=["minimize"] * len(record.METRIC_NAMES),
        load_if_exists=True,
    )
    refuse_other_directions(study)
    identity = definition.identity() | {f"evaluator.{key}": value for key, value in evaluated_by.items()}
    stored = kept_json(study, IDENTITY)
    if stored is None and storage.get_n_trials(study._study_id):  # any trials, whoever made them
        raise StudyError(f"the study {name!r} was not made by `explorer run`: give --name to make one beside it")
    if stored is None:
        # the first run, or one whose driver died here: no trial is queued yet, so none can contradict the definition
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(record.METRIC_NAMES))
        study.set_user_attr(DEFINITION, definition.model_dump_json())
        study.set_user_attr(IDENTITY, json.dumps(identity))
    else:
        _refuse_differences(name, stored, identity)
        study.set_user_attr(DEFINITION, definition.model_dump_json())
    return study


def _leave_out(study: optuna.Study) -> LeftOut:
    """Hide trials that are not the study's own from the loop and the sampler. Returns their numbers and the reasons."""
    left_out: dict[int, str] = {}
    storage = study._storage
    if isinstance(storage, OwnTrials):
        storage.standard = standard_of(study)
        bulk_sql.read(study, left_out=left_out)
        storage.left_out |= left_out
    return left_out


def _refuse_differences(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    # through JSON, so that a tuple equals the list that it was stored as
    new = json.loads(json.dumps(new))
    old = _with_later_settings(old, new)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if keys:
        lines = "".join(
            f"\n  {_short(key)}: {_short(old.get(key, '(absent)'))} → {_short(new.get(key, '(absent)'))}"
            for key in keys[:MOST_SHOWN]
        )
        if len(keys) > MOST_SHOWN:
            lines += f"\n  and {len(keys) - MOST_SHOWN} more"
        raise StudyError(
            f"the study {name!r} was made with other settings, and trials of both cannot be compared:{lines}\n"
            f"Give --name for a new study, or go back to the old settings to resume this one."
        )


def _with_later_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored identity with the settings that an earlier version did not record yet.

    That version could only track speakers chunk-wise.
    """
    settings = {"space.tracking": ["chunk-wise"], **old}
    if settings.get("space.mode") == "chunk-wise":
        settings["space.mode"] = "streaming"
    if "space.tracking" not in old and TRACKING in new:
        settings.setdefault(TRACKING, new[TRACKING])
    return settings


def _short(value: object) -> str:
    return shortened(ascii_controls(str(value)))


def build_sampler(name: Sampler, seed: int) -> BaseSampler:
    """Return the sampler of that name. Random search ignores constraints."""
    match name:
        case "tpe":
            return TPESampler(seed=seed)
        case "random":
            return RandomSampler(seed=seed)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=16)  # the default of 50 outgrows a study of 60 trials
        case "gp":
            return GPSampler(seed=seed)
