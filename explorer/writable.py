"""Check that a study can be written, before a command works for minutes on what it will store there."""

import optuna
from optuna.storages._rdb import models
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from explorer.storage.bulk_sql import database_of
from explorer.storage.errors import refusal


def refuse_read_only(study: optuna.Study) -> None:
    """Raise StudyError if the database of a study is read-only. Nothing in it is changed."""
    database = database_of(study)
    if database is None:
        return
    table = models.StudyModel
    same = update(table).where(table.study_id == study._study_id).values(study_name=table.study_name)
    try:
        with database.engine.connect() as connection:
            connection.execute(same)
            connection.rollback()
    except DBAPIError as error:
        raise refusal(f"the study {study.study_name!r} cannot be written", error) from error
