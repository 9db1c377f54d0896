"""Check that the study that a driver writes to is still the one that it began with.

Another program may delete a study while it runs, and create a new one. SQLite gives the new study and its trials the
same ids, so a driver that did not notice would write into trials that are not its own. So each study carries a unique
mark, and a driver commits only if the mark is still there.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import optuna
from optuna.storages._rdb import models
from sqlalchemy import Connection, event, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from explorer.storage import bulk_sql
from explorer.storage.connection import shown
from objectives.errors import StudyError

MARK = "made_as"  # study attribute: unique to each study, whatever its name and id
ATTRIBUTE = models.StudyUserAttributeModel


@contextmanager
def guarded(study: optuna.Study, url: str) -> Iterator[None]:
    """Refuse every commit of this process inside the block once the study is gone.

    Raises StudyError then, instead of any error that this caused. Does nothing for a storage that is not a database,
    since no other program can change it.
    """
    storage = bulk_sql.database_of(study)
    if storage is None:
        yield
        return
    study_id = study._study_id
    gone = StudyError(
        f"the study {study.study_name!r} in {shown(url)} was deleted while it was run, and nothing of it is left: run "
        "the same command again to begin anew, or give --name if another study has its name now"
    )
    row = {"study_id": study_id, "key": MARK, "value_json": json.dumps(uuid.uuid4().hex)}
    # the first mark stays, by whichever driver and run
    with suppress(IntegrityError), storage.engine.begin() as connection:
        connection.execute(insert(ATTRIBUTE), [row])
    with storage.engine.connect() as connection:
        mark = _read(connection, study_id)
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
    except Exception as error:  # replaced if the study is gone; otherwise re-raised
        with suppress(SQLAlchemyError), storage.engine.connect() as connection:
            if _read(connection, study_id) != mark:
                raise gone from error
        raise
    finally:
        event.remove(storage.engine, "commit", refuse)


def _read(connection: Connection, study_id: int) -> str | None:
    """Return the mark of a study; None if the study no longer exists."""
    marks = select(ATTRIBUTE.value_json).join(models.StudyModel, models.StudyModel.study_id == ATTRIBUTE.study_id)
    mark: str | None = connection.scalar(marks.where(ATTRIBUTE.study_id == study_id, ATTRIBUTE.key == MARK))
    return mark
