"""Read and write Optuna's tables, many rows at a time.

Optuna reads and writes through objects, with one transaction per value. A trial of 30 recordings takes about 40 ms to
write, and a study of 10,000 trials about 10 s to read, nearly all of it for attributes that neither the front nor the
status of a study needs. So the most frequent operations go to the tables directly, as Optuna 5 declares them
(`optuna.storages._rdb.models`); the tests compare the results with Optuna's. Other storages keep their trials in memory
and are used through Optuna's interface.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from explorer.storage import trial_record as record
from explorer.storage.foreign_trials import Standard, refusal, standard_of
from explorer.storage.study_record import complaint
from explorer.storage.trial_schema import KEPT, lacks, unlike_the_others, unreadable
from objectives.errors import StudyError

TRIAL, VALUE, PARAM = models.TrialModel, models.TrialValueModel, models.TrialParamModel
DATES = TRIAL.__table__.c  # dates as stored: in UTC
PEERS = 5  # complete trials that are read to see which data a study's trials are measured with
MANY = 10_000  # most trials to ask for by number: SQLite takes about 30,000 values in one statement
USER, SYSTEM = models.TrialUserAttributeModel, models.TrialSystemAttributeModel


def skim(
    study: optuna.Study,
    keys: Collection[str],
    params: Collection[str] = (),
    left_out: dict[int, str] | None = None,
) -> list[FrozenTrial]:
    """Read every trial that is the study's own, in order, but only part of each.

    A trial has its state, values, constraints, the user attributes `keys` and the parameters `params`, but no dates and
    nothing else. A storage that is not a database returns more.
    left_out: filled with the numbers of the trials that are not the study's own, and the reasons, as far as the parts
    read here show them; `read` finds more.
    Raises StudyError if the study's own attributes are damaged, and optuna.exceptions.StorageInternalError if the
    database cannot be read.
    """
    database = database_of(study)
    if database is None:
        return _own(standard_of(study), study.get_trials(deepcopy=False), False, {}, left_out)
    of_study = TRIAL.study_id == study._study_id
    return _read(database, standard_of(study), of_study, USER.key.in_(keys), False, left_out, params)


def read(
    study: optuna.Study, numbers: Collection[int], left_out: dict[int, str] | None = None
) -> dict[int, FrozenTrial]:
    """Read those of these trials that are the study's own, by number.

    They are whole except for intermediate values, which trials with several objectives do not have. left_out: filled
    with the others, by number, and the reasons. Raises as `skim` does.
    """
    database = database_of(study)
    if database is None:
        wanted = [trial for trial in study.get_trials(deepcopy=False) if trial.number in numbers]
        return _alike(_own(standard_of(study), wanted, True, {}, left_out), left_out)
    these = (TRIAL.study_id == study._study_id) & TRIAL.number.in_(numbers)
    return _alike(read_where(database, standard_of(study), these, left_out), left_out)


def read_where(
    database: RDBStorage, standard: Standard, which: ColumnElement[bool], left_out: dict[int, str] | None = None
) -> list[FrozenTrial]:
    """Read trials of any database as `read` does, but check each one on its own, against a standard that is known."""
    return _read(database, standard, which, None, True, left_out)


def read_all(
    study: optuna.Study, known: Sequence[FrozenTrial] = (), left_out: dict[int, str] | None = None
) -> list[FrozenTrial]:
    """Read every trial that is the study's own, in order, as `read` does.

    known: trials that were read before; those that had finished are not read again. Raises as `skim` does.
    """
    database = database_of(study)
    if database is None:
        trials = _own(standard_of(study), study.get_trials(deepcopy=False), True, {}, left_out)
        return list(_alike(trials, left_out).values())
    of_study = TRIAL.study_id == study._study_id
    finished = {trial._trial_id: trial for trial in known if trial.state.is_finished()}
    present = present_in(database, of_study)
    # the date is compared too: if a study was deleted and made again, its trials have the old numbers
    same = {
        trial_id: finished[trial_id]
        for trial_id, number, state, complete in present
        if (trial := finished.get(trial_id)) is not None
        and (trial.number, trial.state, trial.datetime_complete) == (number, state, _local(complete))
    }
    new = [number for trial_id, number, _, _ in present if trial_id not in same]
    few = len(new) < MANY
    wanted = of_study & TRIAL.number.in_(new) if few else of_study
    read_now = read_where(database, standard_of(study), wanted, left_out) if new else []
    by_number = {trial.number: trial for trial in [*same.values(), *read_now]}
    return list(_alike([by_number[number] for number in sorted(by_number)], left_out).values())


def present_in(
    database: RDBStorage, which: ColumnElement[bool]
) -> Sequence[Row[int, int, TrialState, datetime | None]]:
    """Return (trial id, number, state, end date in UTC) for each trial, whether or not it is the study's own.

    Raises StorageInternalError if the database cannot be read.
    """
    columns = (TRIAL.trial_id, TRIAL.number, TRIAL.state, DATES.datetime_complete)
    try:
        with database.engine.connect() as connection:
            return connection.execute(select(*columns).where(which)).all()
    except DBAPIError as error:
        raise StorageInternalError("the trials of a study could not be read") from error


def read_own(study: optuna.Study, number: int) -> FrozenTrial:
    """Read one trial as `read` does. Raises StudyError if the study has no such trial, or it is not the study's own."""
    left_out: dict[int, str] = {}
    skimmed = skim(study, (), left_out=left_out)
    _, whole = settle(study, skimmed, lambda left: {number} & {trial.number for trial in left}, left_out)
    if number in left_out:
        raise refusal(study, number, left_out[number])
    if number not in whole:
        raise StudyError(f"the study {study.study_name!r} has no trial {number}: `explorer front` names them")
    return whole[number]


def settle(
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    choose: Callable[[Sequence[FrozenTrial]], Collection[int]],
    left_out: dict[int, str] | None = None,
) -> tuple[list[FrozenTrial], dict[int, FrozenTrial]]:
    """Choose among skimmed trials until all chosen ones prove to be the study's own when they are read whole.

    choose: returns the numbers of the trials that matter among those given. Returns (the trials that are left, the
    chosen ones, whole, by number). Raises as `skim` does.
    """
    left = list(trials)
    while True:
        chosen = set(choose(left))
        peers = [trial.number for trial in left if trial.state is TrialState.COMPLETE][:PEERS]
        whole = read(study, {*chosen, *peers}, left_out)
        if chosen <= whole.keys():
            return left, {number: trial for number, trial in whole.items() if number in chosen}
        left = [trial for trial in left if trial.number not in chosen or trial.number in whole]


def finish(
    study: optuna.Study,
    trial_id: int,
    state: TrialState,
    values: Sequence[float] | None = None,
    user: Mapping[str, Any] | None = None,
    system: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """End a running trial, and write its values, user attributes and system attributes in one transaction.

    So a killed driver leaves a trial either running or whole. Returns the trial as the storage has it now.
    Raises optuna.exceptions.UpdateFinishedTrialError if it is no longer running, StorageInternalError if the database
    cannot be written.
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
            # this comes first to take the lock (SQLite's single writer lock, a server's row lock), so that the state is
            # the current one
            if connection.execute(update(TRIAL.__table__).where(running).values(ended)).rowcount != 1:
                raise UpdateFinishedTrialError(f"trial {trial_id} does not run any more: it cannot be changed")
            for table, attributes in ((USER, user), (SYSTEM, system)):
                rows = [
                    {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                    for key, value in attributes.items()
                ]
                connection.execute(delete(table).where(table.trial_id == trial_id, table.key.in_(list(attributes))))
                if rows:
                    connection.execute(insert(table), rows)
            for objective, number in enumerate(values or ()):
                stored, kind = VALUE.value_to_stored_repr(number)
                row = {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
                connection.execute(insert(VALUE), row)
    except DBAPIError as error:
        raise StorageInternalError("the end of a trial could not be written") from error
    return storage.get_trial(trial_id)


def database_of(study: optuna.Study) -> RDBStorage | None:
    """Return the database that a study is stored in; None if its storage is not a database."""
    # Optuna puts a cache in front of a database. Bypassing it is safe, since finished trials never change
    storage = getattr(study._storage, "_backend", study._storage)
    return storage if isinstance(storage, RDBStorage) else None


def _read(
    database: RDBStorage,
    standard: Standard,
    which: ColumnElement[bool],
    attributes: ColumnElement[bool] | None,
    whole: bool,
    left_out: dict[int, str] | None,
    names: Collection[str] = (),
) -> list[FrozenTrial]:
    faults: dict[int, str] = {}
    try:
        with database.engine.connect() as connection:
            columns = (TRIAL.trial_id, TRIAL.number, TRIAL.state, DATES.datetime_start, DATES.datetime_complete)
            # trials first: one that is complete then has all of its rows, whatever a driver writes in the meantime
            trials = connection.execute(select(*columns).where(which).order_by(TRIAL.number)).all()
            values = _values(connection, which)
            user = _attributes(connection, USER, which, attributes, faults)
            of_system = None if whole else SYSTEM.key.startswith(record.CONSTRAINTS)
            system = _attributes(connection, SYSTEM, which, of_system, faults)
            named = which if whole else which & PARAM.param_name.in_(names)
            params = _params(connection, named, faults) if whole or names else {}
            if not whole:
                _find_lacking(connection, which, faults)
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
    return _own(standard, made, whole, faults, left_out)


def _own(
    standard: Standard,
    trials: Iterable[FrozenTrial],
    whole: bool,
    faults: Mapping[int, str],
    left_out: dict[int, str] | None,
) -> list[FrozenTrial]:
    """Return the trials that are the study's own. faults: those found while reading, by trial id."""
    own = []
    for trial in trials:
        unread = None if trial.state is TrialState.WAITING else faults.get(trial._trial_id)
        why = unread or standard.fault(trial, whole)
        if why is None:
            own.append(trial)
        elif left_out is not None:
            left_out[trial.number] = why
    return own


def _alike(trials: Sequence[FrozenTrial], left_out: dict[int, str] | None) -> dict[int, FrozenTrial]:
    """Return the trials that were measured with and on the same data, by number."""
    odd = unlike_the_others(trials)
    if left_out is not None:
        left_out |= odd
    return {trial.number: trial for trial in trials if trial.number not in odd}


def _local(stored: datetime | None) -> datetime | None:
    """Convert a stored date to the form that Optuna uses: local time, naive."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _values(connection: Connection, which: ColumnElement[bool]) -> Mapping[int, list[float]]:
    columns = (VALUE.trial_id, VALUE.value, VALUE.value_type)
    query = select(*columns).join(TRIAL, TRIAL.trial_id == VALUE.trial_id).where(which)
    values: defaultdict[int, list[float]] = defaultdict(list)
    for trial_id, value, kind in connection.execute(query.order_by(VALUE.trial_id, VALUE.objective)).all():
        # a finite value that is missing was damaged; NaN marks it as not a number
        missing = value is None and kind is VALUE.TrialValueType.FINITE
        values[trial_id].append(math.nan if missing else VALUE.stored_repr_to_value(value, kind))
    return values


def _attributes(
    connection: Connection,
    table: type[models.TrialUserAttributeModel] | type[models.TrialSystemAttributeModel],
    which: ColumnElement[bool],
    keys: ColumnElement[bool] | None,
    faults: dict[int, str],
) -> Mapping[int, dict[str, Any]]:
    """Read attributes by trial id. One that is not JSON is added to `faults`."""
    query = select(table.trial_id, table.key, table.value_json).join(TRIAL, TRIAL.trial_id == table.trial_id)
    query = query.where(which) if keys is None else query.where(which, keys)
    by_trial: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, value in connection.execute(query).all():
        try:
            by_trial[trial_id][key] = json.loads(value)
        except (TypeError, ValueError, RecursionError) as error:
            faults.setdefault(trial_id, unreadable(key, error))
    return by_trial


def _params(
    connection: Connection, which: ColumnElement[bool], faults: dict[int, str]
) -> Mapping[int, dict[str, tuple[Any, Any]]]:
    """Read (value, distribution) by trial id and parameter name. One that cannot be read is added to `faults`."""
    columns = (PARAM.trial_id, PARAM.param_name, PARAM.param_value, PARAM.distribution_json)
    query = select(*columns).join(TRIAL, TRIAL.trial_id == PARAM.trial_id).where(which).order_by(PARAM.param_id)
    by_trial: defaultdict[int, dict[str, tuple[Any, Any]]] = defaultdict(dict)
    for trial_id, name, value, stored in connection.execute(query).all():
        try:
            distribution = json_to_distribution(stored)
            by_trial[trial_id][name] = distribution.to_external_repr(value), distribution
        except (TypeError, ValueError, KeyError, IndexError, RecursionError, AttributeError) as error:
            faults.setdefault(trial_id, f"its parameter {name!r} cannot be read ({complaint(error)})")
    return by_trial


def _find_lacking(connection: Connection, which: ColumnElement[bool], faults: dict[int, str]) -> None:
    """Add to `faults` the finished trials that lack an attribute which `explorer run` writes; only keys are read."""
    for state, keys in KEPT.items():
        has = (USER.trial_id == TRIAL.trial_id) & USER.key.in_(keys)
        counted = select(TRIAL.trial_id).outerjoin(USER, has).where(which, TRIAL.state == state)
        counted = counted.group_by(TRIAL.trial_id).having(func.count(USER.key) < len(keys))
        for trial_id in connection.scalars(counted).all():
            present = set(connection.scalars(select(USER.key).where(USER.trial_id == trial_id)).all())
            faults.setdefault(trial_id, lacks([key for key in keys if key not in present]))
