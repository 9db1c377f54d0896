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
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage

from explorer.search import fixed_trials, study_guard
from explorer.search.known_points import Ledger
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
    """How a run ended. trials: finished in this run. failed: of those. stopped: `done` or `timeout`."""

    study: optuna.Study
    trials: int
    failed: int
    stopped: Ending


def run_study(
    name: str, definition: StudyDefinition, workers: Workers, storage_url: str, observer: Observer | None = None
) -> Outcome:
    """Create the study or resume it, and run it until its fixed points and `definition.trials` search trials are done.

    Failed search trials count towards the budget, but for those that another program queued and that cannot be measured
    at all; a failed fixed point is queued again by the next run. What is none of the study's own trials is left out.
    In PostgreSQL several drivers, on one host or many, run the study together; each ends when nothing is left for it to
    ask. Elsewhere the first one keeps the others out.

    Raises StudyError where the storage cannot be used, another process drives the study and it cannot be shared, it was
    made with another definition, or too many trials failed in a row. Any error of the evaluator but EvaluationError is
    a bug: its trial is failed and the error goes on.
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
        # another seed each time, or a resumed study would draw the numbers of its first run again; and another than
        # those of the drivers beside this one
        seed = definition.seed + len(trials) + (0 if alone else held.key)
        study.sampler = build_sampler(definition.sampler, seed % 2**32)
        loop = Loop(study, definition, workers, observer, Ledger.of(definition.space, trials), held)
        with study_guard.guarded(study, storage_url):
            ending = loop.run()
        storage.engine.dispose()  # whoever looks at the outcome connects anew; an SQLite file takes its log in now
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
    if stored is None and storage.get_n_trials(study._study_id):  # whosever they are
        raise StudyError(f"the study {name!r} was not made by `explorer run`: give --name to make one beside it")
    if stored is None:
        # first run, or its driver died here: nothing was enqueued yet, so nothing can contradict
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
    """Keep from the loop and from the sampler what is none of the study's own. Returns which, and why."""
    left_out: dict[int, str] = {}
    storage = study._storage
    if isinstance(storage, OwnTrials):
        storage.standard = standard_of(study)
        bulk_sql.read_all(study, left_out=left_out)
        storage.left_out |= left_out
    return left_out


def _refuse_differences(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    # through JSON, so that a tuple and the list that it became are the same
    new = json.loads(json.dumps(new))
    old = _as_told_now(old, new)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    if keys:
        lines = "".join(f"\n  {_short(key)}: {_shown(old, key)} → {_shown(new, key)}" for key in keys[:MOST_SHOWN])
        if len(keys) > MOST_SHOWN:
            lines += f"\n  and {len(keys) - MOST_SHOWN} more"
        raise StudyError(
            f"the study {name!r} was made with other settings, and trials of both cannot be compared:{lines}\n"
            f"Give --name for a new study, or go back to the old settings to resume this one."
        )


def _as_told_now(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier version did not tell yet, since there was one way only: speakers were tracked chunk-wise."""
    told = {"space.tracking": ["chunk-wise"], **old}
    if told.get("space.mode") == "chunk-wise":
        told["space.mode"] = "streaming"
    if "space.tracking" not in old and TRACKING in new:
        told.setdefault(TRACKING, new[TRACKING])
    return told


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return _short(str(settings.get(key, "(absent)")))


def _short(told: str) -> str:
    return shortened(ascii_controls(told))


def build_sampler(name: Sampler, seed: int) -> BaseSampler:
    """The sampler of that name; random search has no use for constraints."""
    match name:
        case "tpe":
            return TPESampler(seed=seed)
        case "random":
            return RandomSampler(seed=seed)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=16)  # the default of 50 outgrows a study of 60 trials
        case "gp":
            return GPSampler(seed=seed)
