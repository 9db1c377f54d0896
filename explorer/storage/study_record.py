"""The attributes of a study itself: its definition, and the identity that may not change between runs."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from pydantic import ValidationError

from explorer.storage import trial_record as record
from objectives.errors import StudyError, quoted, reason_of
from objectives.machine import Device
from objectives.measurement import DATA
from studies.definition import StudyDefinition

DEFINITION = "definition"  # study attribute: the definition, budget included
IDENTITY = "identity"  # study attribute: the parts of definition and evaluator that may not change between runs


def stored_definition(study: optuna.Study) -> StudyDefinition:
    """Return the definition that a study was last run with.

    Raises StudyError if the study was not made by explorer, or if the definition is damaged or another version's.
    """
    attributes = user_attributes(study)
    if DEFINITION not in attributes:
        raise StudyError(f"the study {study.study_name!r} was not made by `explorer run`: it has no definition")
    refuse_other_directions(study)
    try:
        return StudyDefinition.model_validate_json(attributes[DEFINITION])
    except ValidationError as error:
        raise damaged(study, DEFINITION, error) from error


def refuse_other_directions(study: optuna.Study) -> None:
    """Raise StudyError if a study has other objectives than to minimize DER, size and RTF."""
    directions = [direction.name.lower() for direction in study.directions]
    if directions != ["minimize"] * len(record.METRIC_NAMES):
        raise StudyError(
            f"the study {study.study_name!r} is to {', '.join(directions)}, and `explorer run` minimizes "
            f"{', '.join(record.METRIC_NAMES)}: another program made or changed it; give --name for another study"
        )


def stored_identity(study: optuna.Study) -> Mapping[str, Any]:
    """Return what may not change between the runs of a study; empty if it has no such attribute.

    Raises StudyError if the attribute is damaged.
    """
    return kept_json(study, IDENTITY) or {}


def evaluated_by(study: optuna.Study) -> Mapping[str, str]:
    """Return the identity of the evaluator that a study was begun with; empty if the study did not record it.

    Raises StudyError if the attribute is damaged.
    """
    prefix = "evaluator."
    identity = stored_identity(study)
    return {key.removeprefix(prefix): value for key, value in identity.items() if key.startswith(prefix)}


def data_of(study: optuna.Study) -> Mapping[str, str]:
    """Return what a study's trials are measured on and with, by content, for trials that did not record it."""
    identity = evaluated_by(study)
    return {key: identity[key] for key in DATA if key in identity}


def device_of(study: optuna.Study) -> Device:
    """Return the device of a study's accuracy plane. Identities only name it if it is a GPU."""
    return "cuda" if "accuracy" in evaluated_by(study) else "cpu"


def refuse_other_data(
    study: optuna.Study, trials: Iterable[FrozenTrial], now: Mapping[str, str], keys: Collection[str] = DATA
) -> None:
    """Raise StudyError if a trial was measured on other recordings, or with other weights or settings, than those of an
    evaluator with the identity `now`: their results cannot be compared.

    keys: the parts of the identity that must be equal. What an earlier version did not record is not compared.
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
    """Return the JSON object in an attribute; None if there is no such attribute. Raises StudyError if damaged."""
    stored = user_attributes(study).get(key)
    if stored is None:
        return None
    try:
        value = json.loads(stored)
    except (TypeError, ValueError, RecursionError) as error:
        raise damaged(study, key, error) from error
    if not isinstance(value, dict):
        raise damaged(study, key, f"holds a {type(value).__name__} and not an object")
    return value


def keep_json(study: optuna.Study, key: str, value: object, what: str, remedy: str) -> None:
    """Write an attribute as JSON. Raises StudyError, with `what` is lost and the remedy, if the storage refuses."""
    try:
        study.set_user_attr(key, json.dumps(value))
    except StorageInternalError as error:
        why = reason_of(error.__cause__ or error)
        raise StudyError(f"{what} cannot be kept in the study ({why}): {remedy}") from error


def user_attributes(study: optuna.Study) -> Mapping[str, Any]:
    """Return all user attributes of a study.

    Raises StudyError if one is not JSON, StorageInternalError if the database cannot be read.
    """
    try:
        return study.user_attrs
    except StorageInternalError as error:
        raise StorageInternalError("the attributes of a study could not be read") from error.__cause__
    except (TypeError, ValueError, RecursionError) as error:
        raise StudyError(f"the study {study.study_name!r}: its attributes {_unreadable(error)}") from error


def damaged(study: optuna.Study, key: str, why: object) -> StudyError:
    """Return the error for an attribute that cannot be read."""
    return StudyError(f"the study {study.study_name!r}: its attribute {key!r} {_unreadable(why)}")


def complaint(why: object) -> str:
    """Return what is wrong with a value, as part of a line."""
    if isinstance(why, ValidationError):
        first = why.errors()[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'all of it'} = {quoted(first['input'])}: {first['msg']}"
    return reason_of(why)


def _unreadable(why: object) -> str:
    return (
        f"cannot be read ({complaint(why)}): it was changed by hand, or written by another version of explorer: use "
        "that version, or restore the storage from a copy"
    )
