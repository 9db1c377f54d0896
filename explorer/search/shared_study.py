"""Claim a study for one driver, or for several at once if the database can tell which of them are still running.

A driver claims its study before it touches it. In an SQLite file, and on a server other than PostgreSQL, only one
driver can hold the claim. In PostgreSQL any number of drivers can share a study, on one host or many. Each holds its
own advisory lock for as long as it runs: the lock belongs to a connection, so it is released when the process ends,
for whatever reason. Every trial names its driver, and a running trial whose driver's lock is free is abandoned. What
must not happen twice (asking for a trial, choosing who measures a point, repairing what a dead driver left) is done in
turns, under a lock that all drivers of the study share.
"""

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Executable, Row, select, text
from sqlalchemy.exc import DBAPIError

from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.connection import shown
from explorer.storage.driver_lock import sole_driver
from explorer.storage.urls import without_paths
from objectives.errors import StudyError
from objectives.operating_point import OperatingPoint
from studies.search_space import SearchSpace, recall

DRIVER = "driver"  # system attribute of a trial: the key of the driver that asked for it
EVALUATING = "evaluating"  # system attribute of a trial that is being measured, not waiting for a twin
TURN, CHOICE, FIRST_KEY = 0, 1, 2  # second half of an advisory lock's key; the first half is the study's
PATIENCE = 120.0  # seconds to wait for a turn, which takes as long as a sampler needs to propose a trial
LOOK = 0.5  # seconds between two checks of what other drivers do
TRIAL, STUDY = models.TrialModel, models.StudyModel


class Claim:
    """The claim of a driver that is the only one: there is nothing to record and nobody to keep out.

    shared: whether others may drive the study at the same time. key: a number that differs for every driver; 0 if there
    can be only one.
    """

    shared = False
    key = 0

    def turn(self) -> AbstractContextManager[None]:
        """Keep other drivers from asking, placing and repairing trials inside the block.

        Raises StudyError if the claim was lost.
        """
        return nullcontext()

    def choice(self) -> AbstractContextManager[bool]:
        """Yield whether this driver is to choose Table 2's variant. If so, no other driver does so inside the block."""
        return nullcontext(True)

    def living(self) -> frozenset[int]:
        """Return the keys of all running drivers, this one included. Raises StudyError if the claim was lost."""
        return frozenset({self.key})

    def sign(self, study: optuna.Study, trial_id: int) -> None:
        """Record this driver in a trial that it has just asked for, in the same turn."""

    def evaluates(self, study: optuna.Study, trial_id: int) -> None:
        """Record that a trial is being measured now."""


class SharedClaim(Claim):
    """The claim of one of several drivers in PostgreSQL: advisory locks on a connection that does nothing else."""

    shared = True

    def __init__(self, name: str, storage: RDBStorage):
        """Take this driver's lock. Raises StudyError if the server does not grant it."""
        self.key = FIRST_KEY + secrets.randbelow(2**31 - FIRST_KEY)
        self._name = name
        self._where = shown(str(storage.url))
        self._study = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1  # fits a signed integer
        self._lost = False
        self._connection = storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        settings = {
            "application_name": f"explorer run {name} ({socket.gethostname()}:{os.getpid()})",
            "lock_timeout": f"{1000 * PATIENCE:.0f}ms",
            # a host that vanished without closing its connection is noticed after a minute, not after two hours
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
            "idle_session_timeout": "0",  # skipped below on servers that do not have it
        }
        for setting, value in settings.items():
            given = {"setting": setting, "value": value[:63]}
            self._ask("SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :setting", given)
        self._ask("SELECT pg_advisory_lock(:study, :key)", {"study": self._study, "key": self.key})
        self.living()  # fails if a pooler lends connections per transaction, as far as that can be noticed

    @contextmanager
    def turn(self) -> Iterator[None]:
        self._ask("SELECT pg_advisory_lock(:study, :key)", {"study": self._study, "key": TURN})
        try:
            self._let_writes_land()
            yield
        finally:
            self._release(TURN)

    @contextmanager
    def choice(self) -> Iterator[bool]:
        given = {"study": self._study, "key": CHOICE}
        ours = bool(self._ask("SELECT pg_try_advisory_lock(:study, :key)", given)[0][0])
        try:
            yield ours
        finally:
            if ours:
                self._release(CHOICE)

    def living(self) -> frozenset[int]:
        held = self._ask(
            "SELECT CAST(objid AS bigint), pid = pg_backend_pid() FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND classid = CAST(:study AS oid) AND objsubid = 2"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            {"study": self._study},
        )
        if (self.key, True) not in [tuple(row) for row in held]:
            self._lost = True
            raise StudyError(self._how_lost("another connection took its place"))
        return frozenset(row[0] for row in held if row[0] >= FIRST_KEY)

    def sign(self, study: optuna.Study, trial_id: int) -> None:
        study._storage.set_trial_system_attr(trial_id, DRIVER, self.key)

    def evaluates(self, study: optuna.Study, trial_id: int) -> None:
        study._storage.set_trial_system_attr(trial_id, EVALUATING, True)

    def close(self) -> None:
        """Release all locks and close the connection."""
        with suppress(StudyError):  # the connection was lost, so nothing is held
            self._ask("SELECT pg_advisory_unlock_all()")  # now, not when the server notices that the client is gone
        # invalidated rather than returned to the pool, whose connections must hold no locks
        self._connection.invalidate()
        self._connection.close()

    def _let_writes_land(self) -> None:
        """Wait for the writes of a driver that died in its turn: its lock may be released before its last commit."""
        self._ask(select(STUDY.study_id).where(STUDY.study_name == self._name).with_for_update())
        unfinished = TRIAL.state.in_((TrialState.WAITING, TrialState.RUNNING))
        trials = select(TRIAL.trial_id).join(STUDY, STUDY.study_id == TRIAL.study_id)
        trials = trials.where(STUDY.study_name == self._name, unfinished).order_by(TRIAL.trial_id)
        self._ask(trials.with_for_update(of=TRIAL))

    def _release(self, number: int) -> None:
        if not self._lost:
            self._ask("SELECT pg_advisory_unlock(:study, :key)", {"study": self._study, "key": number})

    def _ask(self, statement: str | Executable, given: dict[str, Any] | None = None) -> list[Row[Any]]:
        if self._lost:
            raise StudyError(self._how_lost("it was lost before"))
        try:
            result = self._connection.execute(text(statement) if isinstance(statement, str) else statement, given)
            return list(result.all())
        except DBAPIError as error:
            reason = str(error.orig).splitlines()[0]
            if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_timeout
                raise StudyError(
                    f"another driver of the study {self._name!r} in {self._where} has held its turn for "
                    f"{PATIENCE:g} s ({reason}): see in pg_stat_activity which one hangs (application_name is "
                    "`explorer run STUDY (HOST:PROCESS)`), stop it, and run the same command again"
                ) from error
            self._lost = True
            raise StudyError(self._how_lost(reason)) from error

    def _how_lost(self, reason: str) -> str:
        return (
            f"{self._where}: the connection that shows other drivers of the study {self._name!r} that this one runs "
            f"was lost ({reason}), and without it they take its trials for abandoned: everything finished is kept; see "
            "that the server is there, reached directly or by a pooler in session mode, and run the same command again"
        )


@contextmanager
def claim(name: str, url: str, storage: RDBStorage) -> Iterator[Claim]:
    """Claim a study for this process, until the end of the block or of the process.

    Raises StudyError if another process drives it and it cannot be shared.
    """
    if storage.engine.dialect.name != "postgresql":
        with sole_driver(name, url):
            yield Claim()
        return
    shared = SharedClaim(name, storage)
    try:
        yield shared
    finally:
        shared.close()


def abandoned(held: Claim, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the running trials whose driver has ended; all running trials if there can be only one driver.

    Call it in a turn. Raises StudyError if the claim was lost.
    """
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    if not held.shared or not running:
        return running
    living = held.living()
    # trials are asked for and signed in one turn, so an unsigned trial belongs to a driver that died in between
    return [trial for trial in running if trial.system_attrs.get(DRIVER) not in living]


def is_mine(held: Claim, trial: FrozenTrial) -> bool:
    """Whether a running trial belongs to this driver."""
    return not held.shared or trial.system_attrs.get(DRIVER) == held.key


def pause() -> None:
    """Wait until it is worth checking again what other drivers do."""
    time.sleep(LOOK)


ABANDONED = "its driver ended before the trial did"


@dataclass
class Others:
    """What other drivers do, as of the last look. waiting: trials that wait for any driver. searching, fixed: search
    trials and fixed points that others run. points: operating points that others are measuring."""

    study: optuna.Study
    held: Claim
    space: SearchSpace
    waiting: int = 0
    searching: int = 0
    fixed: int = 0
    points: frozenset[OperatingPoint] = frozenset()

    def look(self) -> list[FrozenTrial]:
        """Mark abandoned trials as failed, and take in what other drivers do. Call it in a turn.

        Returns every trial of the study that has ended. Raises StudyError if the claim was lost, and
        optuna.exceptions.StorageInternalError if the database cannot be read or written.
        """
        trials = self.study.get_trials(deepcopy=False)
        dead = {trial.number: trial for trial in abandoned(self.held, trials)}
        trials = [fail(self.study, trial._trial_id, ABANDONED) if trial.number in dead else trial for trial in trials]
        theirs = [trial for trial in trials if trial.state is TrialState.RUNNING and not is_mine(self.held, trial)]
        self.waiting = sum(trial.state is TrialState.WAITING for trial in trials)
        self.searching = sum(record.is_searched(trial) for trial in theirs)
        self.fixed = len(theirs) - self.searching
        measured = (recall(trial, self.space) for trial in theirs if EVALUATING in trial.system_attrs)
        self.points = frozenset(point for point in measured if point is not None)
        return [trial for trial in trials if trial.state.is_finished()]


def fail_abandoned(study: optuna.Study, held: Claim) -> None:
    """Mark abandoned trials as failed. Call it in a turn. Raises StudyError if the claim was lost."""
    for trial in abandoned(held, study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))):
        fail(study, trial._trial_id, ABANDONED)


def fail(study: optuna.Study, trial_id: int, why: str, refused: bool = False) -> FrozenTrial:
    """Mark a trial as failed, unless it has ended already: an interrupt may come just after its values were written.

    why: stored without the folders that it names, since a database may be shared. refused: the trial was never tried.
    """
    attributes = {record.ERROR: without_paths(why)} | ({record.REFUSED: True} if refused else {})
    try:
        return bulk_sql.finish(study, trial_id, TrialState.FAIL, user=attributes)
    except UpdateFinishedTrialError:
        return study._storage.get_trial(trial_id)
