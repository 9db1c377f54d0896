"""The loop of a run: ask, have it evaluated, tell. One process asks, tells and writes; workers evaluate."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from explorer.search import fixed_trials
from explorer.search.failure_report import Failure, diagnosis
from explorer.search.judge import FrontJudge
from explorer.search.known_points import Ledger
from explorer.search.observer import Observer
from explorer.search.shared_study import Claim, Others, SoleClaim, fail, fail_abandoned, is_mine, pause
from explorer.search.status import remaining
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.workers.protocol import Answer, Task, Workers
from objectives.errors import EvaluationError, StudyError, quoted
from objectives.measurement import Measurement, Stopped
from objectives.operating_point import OperatingPoint
from studies.definition import StudyDefinition
from studies.queued_trials import unused, wrong
from studies.search_space import FIXED_PARAMS, suggest

Ending = Literal["done", "timeout"]
Values = tuple[float, float, float]

TWINS_OF_OTHERS = 4  # trials that may wait for other drivers to measure their points, while ours are free


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
    held: Claim = field(default_factory=SoleClaim)
    trials: int = 0
    failed: int = 0
    _running: dict[int, _Asked] = field(default_factory=dict)
    _twins: list[_Asked] = field(default_factory=list)  # each waits for one that is running at the same point
    _waiting: int = 0
    _to_choose: bool = False
    _chosen_elsewhere: bool = False
    _failures: list[Failure] = field(default_factory=list)  # in a row, the last of them the last trial told
    _giving_up: bool = False

    def run(self) -> Ending:
        """Run to the end. Any error of an evaluation but EvaluationError is a bug: its trial is failed and the error
        goes on, as an interrupt does; what was running is failed then.

        Raises StudyError where too many trials failed in a row, or the claim on the study was lost.
        """
        deadline = None if self.definition.timeout is None else time.monotonic() + self.definition.timeout
        trials = self.study.get_trials(deepcopy=False)
        # finished, or another driver's
        done = sum(trial.state.is_finished() or self._is_their_fixed_point(trial) for trial in trials)
        self._others = Others(self.study, self.held, self.definition.space)
        self._waiting = self._count_waiting()
        self._to_choose = fixed_trials.is_pending(self.study, self.definition)
        self.observer.begin(trials, total=done + remaining(self.study, self.definition, trials))
        try:
            while True:
                late = deadline is not None and time.monotonic() >= deadline
                if not late and not self._giving_up and self._has_room() and self._begin():
                    continue
                if self._running or (not late and self.workers.slots == 0 and self._is_left()):
                    self._settle(self.workers.wait())
                elif self._giving_up:
                    raise StudyError(diagnosis(self._failures, self.ledger.recordings))
                elif self._twins:
                    pause()  # for what they wait for another driver runs
                    self._place_twins()
                elif late:
                    return "timeout"
                elif self._to_choose:
                    self._choose()
                else:
                    return "done"
        except BaseException as error:  # Ctrl-C too: nothing may be left running; goes on below
            self._abandon(_why_ended(error, self._giving_up))
            raise

    def _is_their_fixed_point(self, trial: FrozenTrial) -> bool:
        return trial.state is TrialState.RUNNING and record.origin_of(trial) != record.SEARCH

    def _has_room(self) -> bool:
        # while others measure what our twins wait for, our own workers need not idle
        most_twins = self.workers.slots + (TWINS_OF_OTHERS if self.held.shared else 0)
        return len(self._running) < self.workers.slots and len(self._twins) < most_twins

    def _is_left(self) -> bool:
        return self._waiting > 0 or (not self._to_choose and self._unsearched())

    def _unsearched(self) -> bool:
        asked = sum(asked.searched for asked in (*self._running.values(), *self._twins))
        return self.ledger.searched + asked + self._others.searching < self.definition.trials

    def _look_around(self) -> None:
        """See what other drivers did; to be called in a turn. Raises StudyError where the claim was lost."""
        if not self.held.shared:
            return
        self.held.living()
        for trial in self._others.look():
            if self.ledger.add(trial):
                self.observer.trial_finished_elsewhere(trial)
        self._waiting = self._others.waiting
        if self._to_choose and not fixed_trials.is_pending(self.study, self.definition):
            self._to_choose = False
            # whoever chose may have died before it queued them
            self._waiting += fixed_trials.enqueue_missing(self.study, self.definition, failed_too=False)

    def _choose(self) -> None:
        """Choose Table 2's variant and queue its points; they stay out of this run where none can be chosen."""
        with self.held.choice() as ours:
            if not ours:
                self._chosen_elsewhere = True
                pause()
                return
            with self.held.turn():
                self._look_around()
            if self._chosen_elsewhere and self._to_choose:  # another driver tried while this one waited
                self._to_choose = not _error_of_choice(self.study, self.definition)
            if not self._to_choose:
                return
            if self.definition.fixed.table2_variant == "eval" and self._others.fixed:
                pause()
                return
            self.observer.choice_started(self.definition.fixed.table2_variant)
            choice = fixed_trials.choose(
                self.study, self.definition, self.workers.calibration_errors, self.observer.choice_progress
            )
            self._to_choose = False
            with self.held.turn():
                self._waiting += fixed_trials.enqueue_missing(self.study, self.definition, failed_too=False)
            self.observer.choice_finished(choice)

    def _begin(self) -> bool:
        """Ask a trial, and have it evaluated unless it is known or hopeless already. Returns False where none is left
        to ask."""
        with self.held.turn():
            self._look_around()
            if not self._is_left():
                return False
            self._ask()
            return True

    def _ask(self) -> None:
        trial = self.study.ask()
        asked: _Asked | None = None
        try:
            self.held.sign(self.study, trial._trial_id)
            queued = self.study._storage.get_trial(trial._trial_id)
            if self._waiting:
                # Optuna hands out those that wait first: one that did not wait says that none is left
                waited = FIXED_PARAMS in queued.system_attrs
                self._waiting = self._waiting - 1 if waited else self._count_waiting()
            found = self._point_of(trial, queued)
            if isinstance(found, str):
                self._told(self._refuse(trial, found))
                return
            asked = _Asked(trial, trial.user_attrs.get(record.ORIGIN, record.SEARCH), found, time.monotonic())
            self.observer.trial_started(trial.number, asked.origin, asked.point)
            self._place(asked)
        except BaseException as error:  # Ctrl-C too: what was asked is told failed, and it goes on
            if asked is None or trial.number not in self._running:
                self._told(self._fail(trial, f"{type(error).__name__}: {error}"))
            raise

    def _point_of(self, trial: Trial, queued: FrozenTrial) -> OperatingPoint | str:
        """The operating point of a trial that was just asked; or why it has none, if another program queued it.

        queued: the trial before anything was drawn.
        """
        space = self.definition.space
        if why := wrong(queued, space):
            return why
        point = suggest(trial, space)
        if why := unused(queued, trial.params):
            return why
        origin, named = queued.user_attrs.get(record.ORIGIN, record.SEARCH), record.origin_of(queued)
        if origin != named or self._is_elsewhere(named, point):
            return f"its attribute {record.ORIGIN!r} = {quoted(origin)} is not that of a fixed point here: leave it out"
        return point

    def _is_elsewhere(self, origin: str, point: OperatingPoint) -> bool:
        """Whether an origin is that of a fixed point of the study, and that is another point."""
        if origin == record.SEARCH:
            return False
        known = fixed_trials.fixed_points(self.study, self.definition)
        return any(fixed.origin == origin and fixed.point != point for fixed in known)

    def _place(self, asked: _Asked) -> None:
        """Answer a trial from what is known, have it wait for its twin, or have it evaluated."""
        limits = self.definition.limits.given()
        twin = self.ledger.known(asked.point, stopped_too=asked.searched)
        if twin is not None:
            self._reuse(asked, twin)
        elif asked.point in self._others.points or any(o.point == asked.point for o in self._running.values()):
            self._twins.append(asked)
        elif asked.searched and asked.point.latency > limits.get("latency", asked.point.latency):
            # known before anything is made or measured
            stop = {record.STOP: record.over_latency(asked.point.latency, limits["latency"])}
            self._tell(asked, None, stop, {"latency": asked.point.latency})
        else:
            self.held.evaluates(self.study, asked.trial._trial_id)
            self._running[asked.trial.number] = asked
            self.workers.submit(Task(asked.trial.number, asked.point, self._judge(asked)))

    def _place_twins(self) -> None:
        if not self._twins:
            return
        with self.held.turn():
            self._look_around()
            waiting, self._twins = self._twins, []
            for twin in waiting:
                self._place(twin)

    def _judge(self, asked: _Asked) -> FrontJudge | None:
        """Who may stop a trial; nobody where it is a fixed point."""
        if not asked.searched:
            return None
        return FrontJudge.of(asked.trial.number, asked.point.mode, self.definition, self.ledger)

    def _settle(self, answer: Answer | None) -> None:
        """Tell what a worker answered, and go on with those that waited for it."""
        if answer is None:
            return
        asked = self._running.pop(answer.number)
        try:
            self._tell_answer(asked, answer)
        except BaseException as error:  # Ctrl-C too: told failed, and it goes on
            self._told(self._fail(asked.trial, f"{type(error).__name__}: {error}"))
            raise
        if not self._giving_up:
            self._place_twins()

    def _tell_answer(self, asked: _Asked, answer: Answer) -> None:
        if isinstance(answer.error, EvaluationError):
            self._tell_failure(asked, answer, str(answer.error))
            return
        if answer.error is not None:
            raise answer.error
        assert answer.measurement is not None, "an answer without an error has a measurement"
        try:
            told = _told_by(asked, answer.measurement)
        except EvaluationError as error:
            self._tell_failure(asked, answer, str(error))
            return
        self._tell(asked, *told)

    def _tell_failure(self, asked: _Asked, answer: Answer, why: str) -> None:
        """Tell a trial failed; after too many in a row none is asked any more."""
        self._told(self._fail(asked.trial, why))
        worker = answer.worker if self.workers.slots > 1 else None
        self._failures.append(Failure(asked.trial.number, asked.origin, asked.point, why, worker))
        if len(self._failures) == self.definition.stop_after_failures:
            self._giving_up = True

    def _reuse(self, asked: _Asked, twin: FrozenTrial) -> None:
        attributes = {**record.measured_attributes(twin), record.REUSED_FROM: twin.number}
        self._end(asked, twin.values, attributes, record.excesses_of(twin))

    def _tell(
        self, asked: _Asked, values: Values | None, attributes: Mapping[str, Any], reached: Mapping[str, float]
    ) -> None:
        self._end(asked, values, attributes, record.excesses(self.definition.limits.given(), reached))

    def _end(
        self,
        asked: _Asked,
        values: Sequence[float] | None,
        attributes: Mapping[str, Any],
        excesses: Mapping[str, float],
    ) -> None:
        """End a trial with all that it carries at once, so that no death leaves it half told."""
        state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        seconds = time.monotonic() - asked.since
        user = {record.ORIGIN: asked.origin, **attributes, record.SECONDS: seconds}
        trial_id = asked.trial._trial_id
        running = self.study._storage.get_trial(trial_id)
        self.study.sampler.after_trial(self.study, running, state, None if values is None else list(values))
        try:
            ended = bulk_sql.finish(self.study, trial_id, state, values, user, record.constraints(excesses))
        except UpdateFinishedTrialError as error:
            raise StudyError(
                f"trial {asked.trial.number} was ended by another program while this one measured it: everything "
                "finished is kept; see what else writes to the study, and run the same command again"
            ) from error
        self._told(ended)

    def _refuse(self, trial: Trial, why: str) -> FrozenTrial:
        """Fail what another program queued and nobody can measure: it says nothing of those that can be measured, so it
        neither counts among failures in a row nor ends these, and takes nothing of the budget of search trials."""
        return fail(self.study, trial._trial_id, f"it was queued by another program: {why}", refused=True)

    def _count_waiting(self) -> int:
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _fail(self, trial: Trial, why: str) -> FrozenTrial:
        return fail(self.study, trial._trial_id, why)

    def _told(self, trial: FrozenTrial) -> None:
        self.ledger.add(trial)
        self.trials += 1
        self.failed += trial.state is TrialState.FAIL
        if trial.state is not TrialState.FAIL and not self._giving_up:  # what ends after that changes no diagnosis
            self._failures.clear()
        self.observer.trial_finished(trial)

    def _abandon(self, why: str) -> None:
        self.workers.cancel()
        # an error of the storage is often what ended the run, and that one says more; the next run mends
        with suppress(StorageInternalError):
            # where nobody else runs trials of this study, also the one, if any, that an interrupt found half asked
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if is_mine(self.held, trial):
                    fail(self.study, trial._trial_id, why)
            if self.held.shared:
                with suppress(StudyError), self.held.turn():  # a claim that was lost: the next run mends this too
                    fail_abandoned(self.study, self.held)


def _told_by(
    asked: _Asked, measurement: "Measurement | Stopped"
) -> tuple[Values | None, dict[str, Any], dict[str, float]]:
    """Values of a trial, None where it was stopped; its attributes; what is known of the quantities that have budgets.

    Raises EvaluationError where a value is no finite number.
    """
    from objectives.measurement import Stopped

    reached = {"latency": asked.point.latency}
    if isinstance(measurement, Stopped):
        return None, record.attributes_of_stopped(measurement), reached | record.reached_by_stopped(measurement)
    values = record.values_of(measurement)
    return (
        values,
        record.attributes_of(measurement),
        reached | dict(zip(("der", "size", "rtf"), values, strict=True)),
    )


def _error_of_choice(study: optuna.Study, definition: StudyDefinition) -> str | None:
    choice = fixed_trials.choice_of(study, definition)
    return None if choice is None else choice.error


def _why_ended(error: BaseException, giving_up: bool) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "the run stopped: too many trials failed in a row" if giving_up else f"the run ended: {error!r}"
