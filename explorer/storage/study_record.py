"""What a study itself carries, and how much of it is left to do."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from pydantic import ValidationError

from explorer.storage import trial_record as record
from objectives.errors import StudyError, quoted, reason_of
from objectives.measurement import DATA
from studies.definition import StudyDefinition

if TYPE_CHECKING:  # it brings torch, which neither the front nor the status of a study should wait for
    from objectives.machine import Device


DEFINITION = "definition"  # study attribute: the definition, budget included
IDENTITY = "identity"  # study attribute: what may not change between runs, definition and evaluator


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


def kept_json(study: optuna.Study, key: str) -> Mapping[str, Any] | None:
    """The object that an attribute holds; None where the study has no such attribute. Raises StudyError."""
    stored = user_attributes(study).get(key)
    if stored is None:
        return None
    try:
        told = json.loads(stored)
    except (TypeError, ValueError, RecursionError) as error:
        raise damaged(study, key, error) from error
    if not isinstance(told, dict):
        raise damaged(study, key, f"holds a {type(told).__name__} and no object")
    return told


def user_attributes(study: optuna.Study) -> Mapping[str, Any]:
    """All that a study keeps. Raises StudyError where a row of it is no JSON, StorageInternalError where the database
    cannot be read."""
    try:
        return study.user_attrs
    except StorageInternalError as error:
        raise StorageInternalError("the attributes of a study could not be read") from error.__cause__
    except (TypeError, ValueError, RecursionError) as error:
        raise StudyError(f"the study {study.study_name!r}: its attributes {_unreadable(error)}") from error


def damaged(study: optuna.Study, key: str, why: object) -> StudyError:
    """The error that names an attribute which cannot be read."""
    return StudyError(f"the study {study.study_name!r}: its attribute {key!r} {_unreadable(why)}")


def complaint(why: object) -> str:
    """What is wrong with a value, in a part of a line."""
    if isinstance(why, ValidationError):
        first = why.errors()[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'all of it'} = {quoted(first['input'])}: {first['msg']}"
    return reason_of(why)


def _unreadable(why: object) -> str:
    return (
        f"cannot be read ({complaint(why)}): it was changed by hand, or written by another version of explorer: use "
        "that version, or restore the storage from a copy"
    )
