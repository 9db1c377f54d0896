"""What a study keeps in its attributes as JSON, read so that a damaged one is named and nothing else breaks."""

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from pydantic import ValidationError

from objectives.errors import StudyError, quoted, reason_of


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
