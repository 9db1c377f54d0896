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
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from explorer.storage import errors
from explorer.storage import trial_record as record
from explorer.storage.foreign_trials import Standard, refusal, standard_of
from explorer.storage.study_record import complaint
from explorer.storage.trial_schema import KEPT, lacks, unlike_the_others, unreadable
from objectives.errors import StudyError

TRIAL, VALUE, PARAM = models.TrialModel, models.TrialValueModel, models.TrialParamModel
DATES = TRIAL.__table__.c  # dates as stored: in UTC
PEERS = 5  # complete trials that are read to see which data a study's trials are measured with
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
    return _own(study, None, keys, params, left_out)


def read(
    study: optuna.Study, numbers: Collection[int] | None = None, left_out: dict[int, str] | None = None
) -> dict[int, FrozenTrial]:
    """Read the trials that are the study's own, by number and in order: those among `numbers`, or all if it is None.

    They are whole except for intermediate values, which trials with several objectives do not have. left_out: filled
    with the others, by number, and the reasons. Raises as `skim` does.
    """
    trials = _own(study, numbers, None, (), left_out)
    odd = unlike_the_others(trials)
    if left_out is not None:
        left_out |= odd
    return {trial.number: trial for trial in trials if trial.number not in odd}


def read_own(study: optuna.Study, number: int) -> FrozenTrial:
    """Read one trial as `read` does. Raises StudyError if the study has no such trial, or it is not the study's own."""
    left_out: dict[int, str] = {}
    _, whole = read_chosen(study, lambda left: {number} & {trial.number for trial in left}, left_out=left_out)
    if number in left_out:
        raise refusal(study, number, left_out[number])
    if number not in whole:
        raise StudyError(f"the study {study.study_name!r} has no trial {number}: `explorer front` names them")
    return whole[number]


def read_chosen(
    study: optuna.Study,
    choose: Callable[[Sequence[FrozenTrial]], Collection[int]],
    keys: Collection[str] = (),
    params: Collection[str] = (),
    left_out: dict[int, str] | None = None,
) -> tuple[list[FrozenTrial], dict[int, FrozenTrial]]:
    """Skim a study, and read the trials that matter whole. If one of these turns out not to be the study's own, choose
    again without it.

    choose: returns the numbers of the trials that matter among those given. keys, params: what it looks at.
    Returns (the skimmed trials that are left, the chosen ones, whole, by number). Raises as `skim` does.
    """
    left = skim(study, keys, params, left_out)
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
                connection.execute(delete(table).where(table.trial_id == trial_id, table.key.in_(list(attributes))))
                for key, value in attributes.items():
                    row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                    connection.execute(insert(table), row)
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


def refuse_read_only(study: optuna.Study) -> None:
    """Raise StudyError if the database of a study is read-only. Nothing in it is changed.

    Call it before working for minutes on what will be stored there.
    """
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
        raise errors.refusal(f"the study {study.study_name!r} cannot be written", error) from error


def _own(
    study: optuna.Study,
    numbers: Collection[int] | None,
    keys: Collection[str] | None,
    params: Collection[str],
    left_out: dict[int, str] | None,
) -> list[FrozenTrial]:
    database, standard = database_of(study), standard_of(study)
    if database is None:
        trials = study.get_trials(deepcopy=False)
        wanted = [trial for trial in trials if numbers is None or trial.number in numbers]
        checked = [(trial, standard.fault(trial, whole=keys is None)) for trial in wanted]
    else:
        which = TRIAL.study_id == study._study_id
        these = which if numbers is None else which & TRIAL.number.in_(numbers)
        checked = read_checked(database, standard, these, keys, params)
    if left_out is not None:
        left_out |= {trial.number: why for trial, why in checked if why is not None}
    return [trial for trial, why in checked if why is None]


def read_checked(
    database: RDBStorage,
    standard: Standard,
    which: ColumnElement[bool],
    keys: Collection[str] | None = None,
    names: Collection[str] = (),
) -> list[tuple[FrozenTrial, str | None]]:
    """Read trials of any database, each with the reason why it is not its study's own, or None if it is.

    keys: the user attributes to read, with the parameters `names`, as in `skim`; None to read trials whole.
    Raises StorageInternalError if the database cannot be read.
    """
    whole = keys is None
    faults: dict[int, str] = {}
    try:
        with database.engine.connect() as connection:
            columns = (TRIAL.trial_id, TRIAL.number, TRIAL.state, DATES.datetime_start, DATES.datetime_complete)
            # trials first: one that is complete then has all of its rows, whatever a driver writes in the meantime
            trials = connection.execute(select(*columns).where(which).order_by(TRIAL.number)).all()
            values = _values(connection, which)
            user = _attributes(connection, USER, which if keys is None else which & USER.key.in_(keys), faults)
            of_system = which if whole else which & SYSTEM.key.startswith(record.CONSTRAINTS)
            system = _attributes(connection, SYSTEM, of_system, faults)
            named = which if whole else which & PARAM.param_name.in_(names)
            params = _params(connection, named, faults) if whole or names else {}
            if not whole:
                _find_lacking(connection, which, faults)
    except DBAPIError as error:
        raise StorageInternalError("the trials of a study could not be read") from error
    checked = []
    for trial_id, number, state, start, complete in trials:
        trial = FrozenTrial(
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
        unread = None if state is TrialState.WAITING else faults.get(trial_id)
        checked.append((trial, unread or standard.fault(trial, whole)))
    return checked


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
    faults: dict[int, str],
) -> Mapping[int, dict[str, Any]]:
    """Read attributes by trial id. One that is not JSON is added to `faults`."""
    query = select(table.trial_id, table.key, table.value_json).join(TRIAL, TRIAL.trial_id == table.trial_id)
    by_trial: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, value in connection.execute(query.where(which)).all():
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
