"""Optuna's tables, many rows at a time.

Optuna reads and writes through objects, one transaction a value: a trial of thirty recordings takes it some forty
milliseconds to write, and a study of ten thousand trials some ten seconds to read, nearly all of it for attributes that
neither the front nor the status of a study asks for. So what the explorer does most goes to the tables themselves, as
Optuna 5 declares them (`optuna.storages._rdb.models`); the tests compare both ways. Other storages keep their trials in
memory, and are asked as anybody asks them.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from explorer import trial_record as record
from explorer.attributes import damaged_trial
from explorer.trial_schema import check

TRIAL, VALUE, PARAM = models.TrialModel, models.TrialValueModel, models.TrialParamModel
DATES = TRIAL.__table__.c  # as they are stored: in UTC
MANY = 10_000  # trials to ask for by number: SQLite takes some thirty thousand values in one statement
USER, SYSTEM = models.TrialUserAttributeModel, models.TrialSystemAttributeModel


def skim(study: optuna.Study, keys: Collection[str], params: Collection[str] = ()) -> list[FrozenTrial]:
    """Every trial in order, with its state, values, constraints, the user attributes of these `keys` and the parameters
    of these names (`params`).

    Without dates, other parameters and anything else; a storage that is no database gives more.
    Raises StudyError where what a trial carries was damaged, as `read` and `read_all` do, and
    optuna.exceptions.StorageInternalError where the database cannot be read.
    """
    database = database_of(study)
    if database is None:
        return [check(study.study_name, trial, whole=False) for trial in study.get_trials(deepcopy=False)]
    return _read(database, study, TRIAL.study_id == study._study_id, USER.key.in_(keys), whole=False, names=params)


def read(study: optuna.Study, numbers: Collection[int]) -> dict[int, FrozenTrial]:
    """These trials by number, whole but for intermediate values, which no trial of several objectives has.

    Raises optuna.exceptions.StorageInternalError where the database cannot be read.
    """
    database = database_of(study)
    if database is None:
        found = [trial for trial in study.get_trials(deepcopy=False) if trial.number in numbers]
        return {trial.number: check(study.study_name, trial, whole=True) for trial in found}
    these = (TRIAL.study_id == study._study_id) & TRIAL.number.in_(numbers)
    return {trial.number: trial for trial in _read(database, study, these, None, whole=True)}


def read_all(study: optuna.Study, known: Sequence[FrozenTrial] = ()) -> list[FrozenTrial]:
    """Every trial in order, as `read` reads it. known: trials read before, of which the finished are not read again.

    Raises StorageInternalError where the database cannot be read.
    """
    database = database_of(study)
    if database is None:
        return [check(study.study_name, trial, whole=True) for trial in study.get_trials(deepcopy=False)]
    of_study = TRIAL.study_id == study._study_id
    finished = {trial._trial_id: trial for trial in known if trial.state.is_finished()}
    try:
        with database.engine.connect() as connection:
            columns = (TRIAL.trial_id, TRIAL.number, TRIAL.state, DATES.datetime_complete)
            present = connection.execute(select(*columns).where(of_study)).all()
    except DBAPIError as error:
        raise StorageInternalError("the trials of a study could not be read") from error
    # the date too: where a study was deleted and made again, its trials have the old numbers
    same = {
        trial_id: finished[trial_id]
        for trial_id, number, state, complete in present
        if (trial := finished.get(trial_id)) is not None
        and (trial.number, trial.state, trial.datetime_complete) == (number, state, _local(complete))
    }
    new = [number for trial_id, number, _, _ in present if trial_id not in same]
    few = len(new) < MANY
    wanted = of_study & TRIAL.number.in_(new) if few else of_study
    read_now = _read(database, study, wanted, None, whole=True) if new else []
    trials = {trial.number: trial for trial in [*same.values(), *read_now]}
    return [trials[number] for number in sorted(trials)]


def finish(
    study: optuna.Study,
    trial_id: int,
    state: TrialState,
    values: Sequence[float] | None = None,
    user: Mapping[str, Any] | None = None,
    system: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """End a running trial, with its values and the attributes of a user and of the system, all or nothing: whoever dies
    when, a trial is running or whole. Returns it as the storage has it now.

    Raises optuna.exceptions.UpdateFinishedTrialError where it does not run any more, StorageInternalError where the
    database cannot be written.
    """
    assert state.is_finished(), f"{state.name} ends no trial"
    storage, user, system = study._storage, user or {}, system or {}
    database = database_of(study)
    if database is None:
        for key, value in user.items():
            storage.set_trial_user_attr(trial_id, key, value)
        for key, value in system.items():
            storage.set_trial_system_attr(trial_id, key, value)
        storage.set_trial_state_values(trial_id, state, values)
        return storage.get_trial(trial_id)
    ended = {DATES.state: state, DATES.datetime_complete: datetime.now(UTC).replace(tzinfo=None)}
    running = (DATES.trial_id == trial_id) & (DATES.state == TrialState.RUNNING)
    try:
        with database.engine.begin() as connection:
            # written first: so SQLite takes its one writer's lock, a server that of the trial, and both see it as it is
            if connection.execute(update(TRIAL.__table__).where(running).values(ended)).rowcount != 1:
                raise UpdateFinishedTrialError(f"trial {trial_id} does not run any more: it cannot be changed")
            for table, told in ((USER, user), (SYSTEM, system)):
                rows = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(one)} for key, one in told.items()]
                connection.execute(delete(table).where(table.trial_id == trial_id, table.key.in_(list(told))))
                if rows:
                    connection.execute(insert(table), rows)
            for objective, number in enumerate(values or ()):
                value, kind = VALUE.value_to_stored_repr(number)
                row = {"trial_id": trial_id, "objective": objective, "value": value, "value_type": kind}
                connection.execute(insert(VALUE), row)
    except DBAPIError as error:
        raise StorageInternalError("the end of a trial could not be written") from error
    return storage.get_trial(trial_id)


def database_of(study: optuna.Study) -> RDBStorage | None:
    """The database that a study lies in; None where it lies elsewhere."""
    # Optuna puts a cache before a database; what is finished never changes, so nothing here passes it by unseen
    storage = getattr(study._storage, "_backend", study._storage)
    return storage if isinstance(storage, RDBStorage) else None


def _read(
    database: RDBStorage,
    study: optuna.Study,
    which: ColumnElement[bool],
    attributes: ColumnElement[bool] | None,
    whole: bool,
    names: Collection[str] = (),
) -> list[FrozenTrial]:
    try:
        with database.engine.connect() as connection:
            columns = (TRIAL.trial_id, TRIAL.number, TRIAL.state, DATES.datetime_start, DATES.datetime_complete)
            # trials first: what is complete then has all of its rows, whatever a driver writes meanwhile
            trials = connection.execute(select(*columns).where(which).order_by(TRIAL.number)).all()
            values = _values(connection, which)
            name = study.study_name
            user = _attributes(connection, name, USER, which, attributes)
            of_system = None if whole else SYSTEM.key.startswith(record.CONSTRAINTS)
            system = _attributes(connection, name, SYSTEM, which, of_system)
            named = which if whole else which & PARAM.param_name.in_(names)
            params = _params(connection, name, named) if whole or names else {}
    except DBAPIError as error:
        raise StorageInternalError("the trials of a study could not be read") from error
    made = [
        FrozenTrial(
            number=number,
            trial_id=trial_id,
            state=state,
            value=None,
            values=values.get(trial_id) if state is TrialState.COMPLETE else None,
            datetime_start=_local(start) if whole else None,
            datetime_complete=_local(complete) if whole else None,
            params={name: value for name, (value, _) in params.get(trial_id, {}).items()},
            distributions={name: distribution for name, (_, distribution) in params.get(trial_id, {}).items()},
            user_attrs=user.get(trial_id, {}),
            system_attrs=system.get(trial_id, {}),
            intermediate_values={},
        )
        for trial_id, number, state, start, complete in trials
    ]
    return [check(name, trial, whole) for trial in made]


def _local(stored: datetime | None) -> datetime | None:
    """A stored date as Optuna tells it: local time, naive."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _values(connection: Connection, which: ColumnElement[bool]) -> Mapping[int, list[float]]:
    columns = (VALUE.trial_id, VALUE.value, VALUE.value_type)
    query = select(*columns).join(TRIAL, TRIAL.trial_id == VALUE.trial_id).where(which)
    found: defaultdict[int, list[float]] = defaultdict(list)
    for trial_id, value, kind in connection.execute(query.order_by(VALUE.trial_id, VALUE.objective)).all():
        found[trial_id].append(VALUE.stored_repr_to_value(value, kind))
    return found


def _attributes(
    connection: Connection,
    study: str,
    table: type[models.TrialUserAttributeModel] | type[models.TrialSystemAttributeModel],
    which: ColumnElement[bool],
    keys: ColumnElement[bool] | None,
) -> Mapping[int, dict[str, Any]]:
    query = select(table.trial_id, TRIAL.number, table.key, table.value_json).join(
        TRIAL, TRIAL.trial_id == table.trial_id
    )
    query = query.where(which) if keys is None else query.where(which, keys)
    found: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, number, key, value in connection.execute(query).all():
        try:
            found[trial_id][key] = json.loads(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise damaged_trial(study, number, f"attribute {key!r}", error) from error
    return found


def _params(connection: Connection, study: str, which: ColumnElement[bool]) -> Mapping[int, dict[str, tuple[Any, Any]]]:
    columns = (PARAM.trial_id, TRIAL.number, PARAM.param_name, PARAM.param_value, PARAM.distribution_json)
    query = select(*columns).join(TRIAL, TRIAL.trial_id == PARAM.trial_id).where(which).order_by(PARAM.param_id)
    found: defaultdict[int, dict[str, tuple[Any, Any]]] = defaultdict(dict)
    for trial_id, number, name, value, told in connection.execute(query).all():
        try:
            distribution = json_to_distribution(told)
            found[trial_id][name] = distribution.to_external_repr(value), distribution
        except (TypeError, ValueError, KeyError, IndexError, RecursionError) as error:
            raise damaged_trial(study, number, f"parameter {name!r}", error) from error
    return found
