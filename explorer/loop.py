"""The loop of a run: ask, have it evaluated, tell. One process asks, tells and writes; workers evaluate."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from explorer import database, selection
from explorer import trial_record as record
from explorer.judge import FrontJudge
from explorer.ledger import Ledger
from explorer.observer import Observer
from explorer.private import without_paths
from explorer.stored import remaining
from explorer.workers import Answer, Task, Workers
from objectives.errors import EvaluationError
from objectives.operating_point import OperatingPoint
from studies.definition import StudyDefinition
from studies.search_space import FIXED_PARAMS, suggest

if TYPE_CHECKING:  # they bring torch, which neither the front nor the status of a study should wait for
    from objectives.measurement import Measurement, Stopped

Ending = Literal["done", "timeout"]


@dataclass(frozen=True)
class _Asked:
    """A trial that was asked and not told yet."""

    trial: Trial
    origin: str
    point: OperatingPoint
    since: float

    @property
    def searched(self) -> bool:
        return self.origin == record.SEARCH


@dataclass
class Loop:
    """One run of a study, until nothing is left to do or its time is over. trials, failed: told in this run."""

    study: optuna.Study
    definition: StudyDefinition
    workers: Workers
    observer: Observer
    ledger: Ledger
    trials: int = 0
    failed: int = 0
    _running: dict[int, _Asked] = field(default_factory=dict)
    _twins: list[_Asked] = field(default_factory=list)  # each waits for one that is running at the same point

    def run(self) -> Ending:
        """Run to the end. Any error of an evaluation but EvaluationError is a bug: its trial is failed and the error
        goes on, as an interrupt does; what was running is failed then."""
        deadline = None if self.definition.timeout is None else time.monotonic() + self.definition.timeout
        trials = self.study.get_trials(deepcopy=False)
        done = sum(trial.state.is_finished() for trial in trials)
        self._waiting = sum(trial.state is TrialState.WAITING for trial in trials)
        to_choose = selection.is_pending(self.study, self.definition)
        self.observer.begin(trials, total=done + remaining(self.study, self.definition, trials))
        try:
            while True:
                late = deadline is not None and time.monotonic() >= deadline
                if not late and self._has_room() and (self._waiting or (not to_choose and self._unsearched())):
                    self._begin()
                elif self._running:
                    self._settle(self.workers.wait())
                elif late:
                    return "timeout"
                elif to_choose:
                    to_choose = False
                    self._choose()
                else:
                    return "done"
        except BaseException as error:  # Ctrl-C too: nothing may be left running; goes on below
            self._abandon("interrupted" if isinstance(error, KeyboardInterrupt) else f"the run ended: {error!r}")
            raise

    def _has_room(self) -> bool:
        return max(len(self._running), len(self._twins)) < self.workers.slots

    def _unsearched(self) -> bool:
        asked = sum(asked.searched for asked in (*self._running.values(), *self._twins))
        return self.ledger.searched + asked < self.definition.trials

    def _choose(self) -> None:
        """Choose Table 2's variant and queue its points; they stay out of this run where none can be chosen."""
        self.observer.choice_started(self.definition.fixed.table2_variant)
        choice = selection.choose(
            self.study, self.definition, self.workers.calibration_errors, self.observer.choice_progress
        )
        self._waiting += selection.enqueue_missing(self.study, self.definition, failed_too=False)
        self.observer.choice_finished(choice)

    def _begin(self) -> None:
        """Ask a trial, and have it evaluated unless it is known or hopeless already."""
        trial = self.study.ask()
        if self._waiting:
            # Optuna hands out those that wait first: one that did not wait says that none is left
            waited = FIXED_PARAMS in self.study._storage.get_trial(trial._trial_id).system_attrs
            self._waiting = self._waiting - 1 if waited else 0
        asked: _Asked | None = None
        try:
            origin = trial.user_attrs.get(record.ORIGIN, record.SEARCH)
            asked = _Asked(trial, origin, suggest(trial, self.definition.space), time.monotonic())
            self._place(asked)
        except BaseException as error:  # Ctrl-C too: what was asked is told failed, and it goes on
            if asked is None or trial.number not in self._running:
                self._told(fail(self.study, trial._trial_id, trial.number, f"{type(error).__name__}: {error}"))
            raise

    def _place(self, asked: _Asked) -> None:
        """Answer a trial from what is known, have it wait for its twin, or have it evaluated."""
        self.observer.trial_started(asked.trial.number, asked.origin, asked.point)
        limits = self.definition.limits.given()
        twin = self.ledger.known(asked.point, stopped_too=asked.searched)
        if twin is not None:
            self._reuse(asked, twin)
        elif any(other.point == asked.point for other in self._running.values()):
            self._twins.append(asked)
        elif asked.searched and asked.point.latency > limits.get("latency", asked.point.latency):
            # known before anything is made or measured
            self._keep(asked, {record.STOP: record.over_latency(asked.point.latency, limits["latency"])})
            self._tell(asked, None, {"latency": asked.point.latency})
        else:
            self._running[asked.trial.number] = asked
            self.workers.submit(Task(asked.trial.number, asked.point, self._judge(asked)))

    def _judge(self, asked: _Asked) -> FrontJudge | None:
        """Who may stop a trial; nobody where it is a fixed point."""
        if not asked.searched:
            return None
        return FrontJudge.of(asked.trial.number, self.definition, self.ledger)

    def _settle(self, answer: Answer | None) -> None:
        """Tell what a worker answered, and go on with those that waited for it."""
        if answer is None:
            return
        asked = self._running.pop(answer.number)
        try:
            self._tell_answer(asked, answer)
        except BaseException as error:  # Ctrl-C too: told failed, and it goes on
            self._told(self._fail(asked, f"{type(error).__name__}: {error}"))
            raise
        waiting, self._twins = self._twins, []
        for twin in waiting:
            self._place(twin)

    def _tell_answer(self, asked: _Asked, answer: Answer) -> None:
        if isinstance(answer.error, EvaluationError):
            self._told(self._fail(asked, str(answer.error)))
            return
        if answer.error is not None:
            raise answer.error
        assert answer.measurement is not None, "an answer without an error has a measurement"
        try:
            values, reached = self._write(asked, answer.measurement)
        except EvaluationError as error:
            self._told(self._fail(asked, str(error)))
            return
        self._tell(asked, values, reached)

    def _write(
        self, asked: _Asked, measurement: "Measurement | Stopped"
    ) -> tuple[tuple[float, float, float] | None, dict[str, float]]:
        """Keep what was measured with the trial. Returns its values, None where it was stopped, and what is known of
        the quantities that have budgets."""
        from objectives.measurement import Stopped

        reached = {"latency": asked.point.latency}
        if isinstance(measurement, Stopped):
            values = None
            attributes = record.attributes_of_stopped(measurement)
            reached |= record.reached_by_stopped(measurement)
        else:
            values = record.values_of(measurement)
            attributes = record.attributes_of(measurement)
            reached |= dict(zip(("der", "size", "rtf"), values, strict=True))
        self._keep(asked, attributes)
        return values, reached

    def _reuse(self, asked: _Asked, twin: FrozenTrial) -> None:
        self._keep(asked, {**record.measured_attributes(twin), record.REUSED_FROM: twin.number})
        self._constrain(asked.trial, record.excesses_of(twin))
        self._finish(asked, twin.values)

    def _tell(self, asked: _Asked, values: tuple[float, float, float] | None, reached: Mapping[str, float]) -> None:
        self._constrain(asked.trial, record.excesses(self.definition.limits.given(), reached))
        self._finish(asked, values)

    def _keep(self, asked: _Asked, attributes: Mapping[str, Any]) -> None:
        """Write what a trial carries, all at once: each write is a transaction."""
        told = {record.ORIGIN: asked.origin, **attributes, record.SECONDS: time.monotonic() - asked.since}
        database.write_attributes(self.study, asked.trial._trial_id, told)

    def _finish(self, asked: _Asked, values: "list[float] | tuple[float, ...] | None") -> None:
        state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        self._told(self.study.tell(asked.trial, values, state))

    def _constrain(self, trial: Trial, excesses: Mapping[str, float]) -> None:
        """Write the budgets twice: Optuna reads one attribute a constraint, optuna-dashboard only the list of all."""
        if not excesses:
            return
        for name, excess in excesses.items():
            trial.set_constraint(name, excess)
        self.study._storage.set_trial_system_attr(trial._trial_id, record.CONSTRAINTS, list(excesses.values()))

    def _fail(self, asked: _Asked, why: str) -> FrozenTrial:
        return fail(self.study, asked.trial._trial_id, asked.trial.number, why)

    def _told(self, trial: FrozenTrial) -> None:
        self.ledger.add(trial)
        self.trials += 1
        self.failed += trial.state is TrialState.FAIL
        self.observer.trial_finished(trial)

    def _abandon(self, why: str) -> None:
        self.workers.cancel()
        # with the one, if any, that an interrupt found half asked: nobody else runs trials of this study
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            fail(self.study, trial._trial_id, trial.number, why)


def fail(study: optuna.Study, trial_id: int, number: int, why: str) -> FrozenTrial:
    """Tell a trial failed, unless it was told already: an interrupt may come just after its values went in.

    why: kept without the folders that it names, since a database is handed on.
    """
    if not study._storage.get_trial(trial_id).state.is_finished():
        study._storage.set_trial_user_attr(trial_id, record.ERROR, without_paths(why))
    return study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
