"""What a study itself carries, and how much of it is left to do."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from explorer import selection
from explorer import trial_record as record
from explorer.attributes import damaged, kept_json, user_attributes
from objectives.errors import StudyError
from objectives.versions import DATA
from studies.definition import StudyDefinition
from studies.queued import wrong

if TYPE_CHECKING:  # it brings torch, which neither the front nor the status of a study should wait for
    from objectives.machine import Device

DEFINITION = "definition"  # study attribute: the definition, budget included
IDENTITY = "identity"  # study attribute: what may not change between runs, definition and evaluator

OVER = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


def stored_definition(study: optuna.Study) -> StudyDefinition:
    """The definition that a study was last run with. Raises StudyError where the study is not explorer's, or where the
    definition was damaged or is another version's."""
    told = user_attributes(study)
    if DEFINITION not in told:
        raise StudyError(f"the study {study.study_name!r} was not made by `explorer run`: it has no definition")
    refuse_other_directions(study)
    try:
        return StudyDefinition.model_validate_json(told[DEFINITION])
    except ValidationError as error:
        raise damaged(study, DEFINITION, error) from error


def refuse_other_directions(study: optuna.Study) -> None:
    """Raise StudyError where a study has other objectives than DER, size and RTF, all of which should be low."""
    found = [direction.name.lower() for direction in study.directions]
    if found != ["minimize"] * len(record.METRIC_NAMES):
        raise StudyError(
            f"the study {study.study_name!r} is to {', '.join(found)}, and `explorer run` minimizes "
            f"{', '.join(record.METRIC_NAMES)}: another program made or changed it; give --name for another study"
        )


def stored_identity(study: optuna.Study) -> Mapping[str, Any]:
    """What may not change between the runs of a study; empty where it says nothing. Raises StudyError where that was
    damaged."""
    return kept_json(study, IDENTITY) or {}


def evaluated_by(study: optuna.Study) -> Mapping[str, str]:
    """Identity of the evaluator that a study was begun with; empty where the study does not tell. Raises StudyError
    where that was damaged."""
    prefix = "evaluator."
    told = stored_identity(study)
    return {key.removeprefix(prefix): value for key, value in told.items() if key.startswith(prefix)}


def data_of(study: optuna.Study) -> Mapping[str, str]:
    """What a study's trials are measured on and with, by content, for trials that do not tell it themselves."""
    told = evaluated_by(study)
    return {key: told[key] for key in DATA if key in told}


def device_of(study: optuna.Study) -> "Device":
    """Where a study's windows are run: identities name the accuracy plane's device only where it is a GPU."""
    return "cuda" if "accuracy" in evaluated_by(study) else "cpu"


def refuse_other_data(
    study: optuna.Study, trials: Iterable[FrozenTrial], now: Mapping[str, str], keys: Collection[str] = DATA
) -> None:
    """Raise StudyError where one of these trials was measured on other recordings, or with other weights or settings,
    than an evaluator of the identity `now` has: what both say cannot be compared.

    keys: of the identity, those that must be alike. What a study of an earlier version does not tell is not compared.
    """
    before = evaluated_by(study)
    for trial in trials:
        then = {**before, **trial.user_attrs.get(record.DATA, {})}
        changed = [f"{key}: {then[key]} → {now[key]}" for key in keys if key in then and then[key] != now[key]]
        if changed:
            raise StudyError(
                f"trial {trial.number} of {study.study_name!r} cannot be compared: something has changed since it was "
                f"measured ({'; '.join(changed)}). Put that back, or run the study again under another --name"
            )


def remaining(study: optuna.Study, definition: StudyDefinition, trials: Sequence[FrozenTrial]) -> int:
    """Trials still to run, beside the study's `trials`: those that wait, Table 2's where its variant is still to be
    chosen, and what is left of the budget of search trials.

    trials: those that wait with all that they carry. What another program queued is one of the search trials, unless it
    cannot be measured.
    """
    waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
    queued = [trial for trial in waiting if record.origin_of(trial) == record.SEARCH]
    measurable = sum(wrong(trial, definition.space) is None for trial in queued)
    unknown = len(definition.precisions) if selection.is_pending(study, definition) else 0
    left = definition.trials - sum(trial.state in OVER and record.is_searched(trial) for trial in trials)
    return len(waiting) - measurable + unknown + max(0, measurable, left)
