"""Optuna's tables, many rows at a time.

Optuna reads and writes through objects, one transaction a value: a trial of thirty recordings takes it some forty
milliseconds to write, and a study of ten thousand trials some ten seconds to read, nearly all of it for attributes that
neither the front nor the status of a study asks for. So what the explorer does most goes to the tables themselves, as
Optuna 5 declares them (`optuna.storages._rdb.models`); the tests compare both ways. Other storages keep their trials in
memory, and are asked as anybody asks them.
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
DATES = TRIAL.__table__.c  # as they are stored: in UTC
PEERS = 5  # trials that say with and on what a study's trials are measured
MANY = 10_000  # trials to ask for by number: SQLite takes some thirty thousand values in one statement
USER, SYSTEM = models.TrialUserAttributeModel, models.TrialSystemAttributeModel


def skim(
    study: optuna.Study,
    keys: Collection[str],
    params: Collection[str] = (),
    left_out: dict[int, str] | None = None,
) -> list[FrozenTrial]:
    """Every trial of the study's own in order, with its state, values, constraints, the user attributes of these `keys`
    and the parameters of these names (`params`).

    Without dates, other parameters and anything else; a storage that is no database gives more. left_out: is told
    which trials are none of the study's own, and why, as far as that shows here: what `read` finds shows more.
    Raises StudyError where the study's own attributes were damaged, and optuna.exceptions.StorageInternalError where
    the database cannot be read.
    """
    database = database_of(study)
    if database is None:
        return _own(standard_of(study), study.get_trials(deepcopy=False), False, {}, left_out)
    of_study = TRIAL.study_id == study._study_id
    return _read(database, standard_of(study), of_study, USER.key.in_(keys), False, left_out, params)


def read(
    study: optuna.Study, numbers: Collection[int], left_out: dict[int, str] | None = None
) -> dict[int, FrozenTrial]:
    """Those of these trials that are the study's own, by number, whole but for intermediate values, which no trial of
    several objectives has. left_out: is told of the others.

    Raises as `skim` does.
    """
    database = database_of(study)
    if database is None:
        found = [trial for trial in study.get_trials(deepcopy=False) if trial.number in numbers]
        return _alike(_own(standard_of(study), found, True, {}, left_out), left_out)
    these = (TRIAL.study_id == study._study_id) & TRIAL.number.in_(numbers)
    return _alike(read_where(database, standard_of(study), these, left_out), left_out)


def read_where(
    database: RDBStorage, standard: Standard, which: ColumnElement[bool], left_out: dict[int, str] | None = None
) -> list[FrozenTrial]:
    """As `read`, but of trials in any database that are held against a standard known already, one by one."""
    return _read(database, standard, which, None, True, left_out)


def read_all(
    study: optuna.Study, known: Sequence[FrozenTrial] = (), left_out: dict[int, str] | None = None
) -> list[FrozenTrial]:
    """Every trial of the study's own in order, as `read` reads it. known: trials read before, of which the finished are
    not read again.

    Raises as `skim` does.
    """
    database = database_of(study)
    if database is None:
        trials = _own(standard_of(study), study.get_trials(deepcopy=False), True, {}, left_out)
        return list(_alike(trials, left_out).values())
    of_study = TRIAL.study_id == study._study_id
    finished = {trial._trial_id: trial for trial in known if trial.state.is_finished()}
    present = present_in(database, of_study)
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
    read_now = read_where(database, standard_of(study), wanted, left_out) if new else []
    by_number = {trial.number: trial for trial in [*same.values(), *read_now]}
    return list(_alike([by_number[number] for number in sorted(by_number)], left_out).values())


def present_in(
    database: RDBStorage, which: ColumnElement[bool]
) -> Sequence[Row[int, int, TrialState, datetime | None]]:
    """(trial id, number, state, date of its end in UTC) of trials, whosever they are.

    Raises StorageInternalError where the database cannot be read.
    """
    columns = (TRIAL.trial_id, TRIAL.number, TRIAL.state, DATES.datetime_complete)
    try:
        with database.engine.connect() as connection:
            return connection.execute(select(*columns).where(which)).all()
    except DBAPIError as error:
        raise StorageInternalError("the trials of a study could not be read") from error


def read_own(study: optuna.Study, number: int) -> FrozenTrial:
    """One trial, as `read` reads it. Raises StudyError where the study has no such trial, or it is none of its own."""
    left_out: dict[int, str] = {}
    skimmed = skim(study, (), left_out=left_out)
    _, found = settle(study, skimmed, lambda left: {number} & {trial.number for trial in left}, left_out)
    if number in left_out:
        raise refusal(study, number, left_out[number])
    if number not in found:
        raise StudyError(f"the study {study.study_name!r} has no trial {number}: `explorer front` names them")
    return found[number]


def settle(
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    choose: Callable[[Sequence[FrozenTrial]], Collection[int]],
    left_out: dict[int, str] | None = None,
) -> tuple[list[FrozenTrial], dict[int, FrozenTrial]]:
    """Choose among skimmed trials until all that are chosen prove to be the study's own when they are read whole.

    choose: numbers of those that matter, among these trials. Returns (the trials that are left, those chosen, whole, by
    number). Raises as `skim` does.
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
            # trials first: what is complete then has all of its rows, whatever a driver writes meanwhile
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
    """Those that are the study's own. faults: found already, by trial id."""
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
    """Those that were measured with and on the same data, by number."""
    odd = unlike_the_others(trials)
    if left_out is not None:
        left_out |= odd
    return {trial.number: trial for trial in trials if trial.number not in odd}


def _local(stored: datetime | None) -> datetime | None:
    """A stored date as Optuna tells it: local time, naive."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _values(connection: Connection, which: ColumnElement[bool]) -> Mapping[int, list[float]]:
    columns = (VALUE.trial_id, VALUE.value, VALUE.value_type)
    query = select(*columns).join(TRIAL, TRIAL.trial_id == VALUE.trial_id).where(which)
    found: defaultdict[int, list[float]] = defaultdict(list)
    for trial_id, value, kind in connection.execute(query.order_by(VALUE.trial_id, VALUE.objective)).all():
        # a value that is none at all is no number either
        finite = value is None and kind is VALUE.TrialValueType.FINITE
        found[trial_id].append(math.nan if finite else VALUE.stored_repr_to_value(value, kind))
    return found


def _attributes(
    connection: Connection,
    table: type[models.TrialUserAttributeModel] | type[models.TrialSystemAttributeModel],
    which: ColumnElement[bool],
    keys: ColumnElement[bool] | None,
    faults: dict[int, str],
) -> Mapping[int, dict[str, Any]]:
    """Attributes by trial id; of one that is no JSON, `faults` is told."""
    query = select(table.trial_id, table.key, table.value_json).join(TRIAL, TRIAL.trial_id == table.trial_id)
    query = query.where(which) if keys is None else query.where(which, keys)
    found: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, value in connection.execute(query).all():
        try:
            found[trial_id][key] = json.loads(value)
        except (TypeError, ValueError, RecursionError) as error:
            faults.setdefault(trial_id, unreadable(key, error))
    return found


def _params(
    connection: Connection, which: ColumnElement[bool], faults: dict[int, str]
) -> Mapping[int, dict[str, tuple[Any, Any]]]:
    """(value, distribution) by trial id and name; of one that cannot be read, `faults` is told."""
    columns = (PARAM.trial_id, PARAM.param_name, PARAM.param_value, PARAM.distribution_json)
    query = select(*columns).join(TRIAL, TRIAL.trial_id == PARAM.trial_id).where(which).order_by(PARAM.param_id)
    found: defaultdict[int, dict[str, tuple[Any, Any]]] = defaultdict(dict)
    for trial_id, name, value, told in connection.execute(query).all():
        try:
            distribution = json_to_distribution(told)
            found[trial_id][name] = distribution.to_external_repr(value), distribution
        except (TypeError, ValueError, KeyError, IndexError, RecursionError, AttributeError) as error:
            faults.setdefault(trial_id, f"its parameter {name!r} cannot be read ({complaint(error)})")
    return found


def _find_lacking(connection: Connection, which: ColumnElement[bool], faults: dict[int, str]) -> None:
    """Tell `faults` of finished trials without what `explorer run` keeps of each, by their keys alone."""
    for state, keys in KEPT.items():
        has = (USER.trial_id == TRIAL.trial_id) & USER.key.in_(keys)
        counted = select(TRIAL.trial_id).outerjoin(USER, has).where(which, TRIAL.state == state)
        counted = counted.group_by(TRIAL.trial_id).having(func.count(USER.key) < len(keys))
        for trial_id in connection.scalars(counted).all():
            present = set(connection.scalars(select(USER.key).where(USER.trial_id == trial_id)).all())
            faults.setdefault(trial_id, lacks([key for key in keys if key not in present]))
