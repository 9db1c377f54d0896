"""Whether the study that a driver writes into is still the one that it began with.

Other programs may delete a study while it runs, and make another one. SQLite gives that the same number, and its trials
the numbers of those that are gone: a driver that noticed nothing would write into trials that are not its own. So each
study carries a mark of its own, and whatever the driver commits is committed only where the mark still stands.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from sqlalchemy import Connection, event, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from explorer.storage import bulk_sql
from explorer.storage.connection import shown
from objectives.errors import StudyError

MARK = "made_as"  # study attribute: differs from one study to the next, whatever their names and numbers
ATTRIBUTE = models.StudyUserAttributeModel


@contextmanager
def guarded(study: optuna.Study, url: str) -> Iterator[None]:
    """Commit nothing of this process to the database inside the block once the study is gone.

    Raises StudyError then, whatever else failed because of it. A storage that is no database has nobody else in it.
    """
    storage = bulk_sql.database_of(study)
    if storage is None:
        yield
        return
    study_id = study._study_id
    gone = StudyError(
        f"the study {study.study_name!r} in {shown(url)} was deleted while it was run, and nothing of it is left: run "
        "the same command again to begin anew, or give --name where another study has its name now"
    )
    mark = _marked(storage, study_id)
    if mark is None:
        raise gone

    def refuse(connection: Connection) -> None:
        if _read(connection, study_id) != mark:
            raise gone

    event.listen(storage.engine, "commit", refuse)
    try:
        yield
    except StudyError:
        raise
    except Exception as error:  # whatever failed because the study is gone; all else goes on
        with suppress(SQLAlchemyError), storage.engine.connect() as connection:
            if _read(connection, study_id) != mark:
                raise gone from error
        raise
    finally:
        event.remove(storage.engine, "commit", refuse)


def _marked(storage: RDBStorage, study_id: int) -> str | None:
    """The mark of a study, given to it where it has none; None where there is no such study any more."""
    row = {"study_id": study_id, "key": MARK, "value_json": json.dumps(uuid.uuid4().hex)}
    with storage.engine.connect() as connection:
        mark = _read(connection, study_id)
    if mark is None:
        # another driver may be as quick: the first row stays
        with suppress(IntegrityError), storage.engine.begin() as connection:
            connection.execute(insert(ATTRIBUTE), [row])
        with storage.engine.connect() as connection:
            mark = _read(connection, study_id)
    return mark


def _read(connection: Connection, study_id: int) -> str | None:
    marks = select(ATTRIBUTE.value_json).join(models.StudyModel, models.StudyModel.study_id == ATTRIBUTE.study_id)
    mark: str | None = connection.scalar(marks.where(ATTRIBUTE.study_id == study_id, ATTRIBUTE.key == MARK))
    return mark
