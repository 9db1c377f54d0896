"""The search loop: ask Optuna for a trial, have it evaluated, tell Optuna the result.

One process, the driver, asks, tells and writes to the storage. Workers only evaluate.
"""

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
from explorer.search.known_points import KnownPoints
from explorer.search.observer import Observer
from explorer.search.shared_study import Claim, Others, fail, fail_abandoned, is_mine, pause
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

TWINS_OF_OTHERS = 4  # trials that may wait for other drivers to measure their points, while our own workers are free


@dataclass(frozen=True)
class _Asked:
    """A trial that was asked and has not ended yet."""

    trial: Trial
    origin: str
    point: OperatingPoint
    since: float

    @property
    def searched(self) -> bool:
        return self.origin == record.SEARCH


@dataclass
class Loop:
    """One run of a study, until nothing is left to do or its time is over.

    trials, failed: how many trials ended in this run, and how many of them failed.
    """

    study: optuna.Study
    definition: StudyDefinition
    workers: Workers
    observer: Observer
    known: KnownPoints
    held: Claim = field(default_factory=Claim)
    trials: int = 0
    failed: int = 0
    _running: dict[int, _Asked] = field(default_factory=dict)
    _twins: list[_Asked] = field(default_factory=list)  # each waits for a running trial of the same point
    _waiting: int = 0
    _to_choose: bool = False
    _chosen_elsewhere: bool = False
    _failures: list[Failure] = field(default_factory=list)  # failures in a row, up to the last trial that ended
    _giving_up: bool = False

    def run(self) -> Ending:
        """Run to the end.

        Any error of an evaluation other than EvaluationError is a bug. It is re-raised, as is an interrupt, after all
        running trials have been marked failed.
        Raises StudyError if too many trials failed in a row, or the claim on the study was lost.
        """
        deadline = None if self.definition.timeout is None else time.monotonic() + self.definition.timeout
        trials = self.study.get_trials(deepcopy=False)
        # finished, or being run by another driver
        done = sum(trial.state.is_finished() or _is_running_fixed_point(trial) for trial in trials)
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
                    raise StudyError(diagnosis(self._failures, self.known.recordings))
                elif self._twins:
                    pause()  # another driver is measuring the points that they wait for
                    self._place_twins()
                elif late:
                    return "timeout"
                elif self._to_choose:
                    self._choose()
                else:
                    return "done"
        except BaseException as error:  # Ctrl-C too: nothing may be left running; re-raised below
            self._abandon(_why_ended(error, self._giving_up))
            raise

    def _has_room(self) -> bool:
        # our own workers need not idle while other drivers measure the points that our twins wait for
        most_twins = self.workers.slots + (TWINS_OF_OTHERS if self.held.shared else 0)
        return len(self._running) < self.workers.slots and len(self._twins) < most_twins

    def _is_left(self) -> bool:
        return self._waiting > 0 or (not self._to_choose and self._unsearched())

    def _unsearched(self) -> bool:
        asked = sum(asked.searched for asked in (*self._running.values(), *self._twins))
        return self.known.searched + asked + self._others.searching < self.definition.trials

    def _look_around(self) -> None:
        """Take in what other drivers did. Call it in a turn. Raises StudyError if the claim was lost."""
        if not self.held.shared:
            return
        self.held.living()
        for trial in self._others.look():
            if self.known.add(trial):
                self.observer.trial_finished_elsewhere(trial)
        self._waiting = self._others.waiting
        if self._to_choose and not fixed_trials.is_pending(self.study, self.definition):
            self._to_choose = False
            # the driver that chose may have died before it queued the points
            self._waiting += fixed_trials.enqueue_missing(self.study, self.definition, failed_too=False)

    def _choose(self) -> None:
        """Choose Table 2's variant and queue its points. They stay out of this run if none can be chosen."""
        with self.held.choice() as ours:
            if not ours:
                self._chosen_elsewhere = True
                pause()
                return
            with self.held.turn():
                self._look_around()
            if self._chosen_elsewhere and self._to_choose:  # another driver tried to choose while this one waited
                choice = fixed_trials.choice_of(self.study, self.definition)
                self._to_choose = choice is None or not choice.error
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
        """Ask for a trial, and have it evaluated unless its result is known or it is hopeless.

        Returns False if there is none left to ask for.
        """
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
                # Optuna hands out waiting trials first, so a trial that was not waiting means that none is left
                waited = FIXED_PARAMS in queued.system_attrs
                self._waiting = self._waiting - 1 if waited else self._count_waiting()
            point = self._point_of(trial, queued)
            if isinstance(point, str):
                # It says nothing about trials that can be measured. So it neither counts as one of the failures in a
                # row nor ends them, and it does not count towards the budget of search trials.
                self._fail(trial, f"it was queued by another program: {point}", refused=True)
                return
            asked = _Asked(trial, trial.user_attrs.get(record.ORIGIN, record.SEARCH), point, time.monotonic())
            self.observer.trial_started(trial.number, asked.origin, asked.point)
            self._place(asked)
        except BaseException as error:  # Ctrl-C too: the trial is marked failed and the error re-raised
            if asked is None or trial.number not in self._running:
                self._fail(trial, f"{type(error).__name__}: {error}")
            raise

    def _point_of(self, trial: Trial, queued: FrozenTrial) -> OperatingPoint | str:
        """Return the operating point of a trial that was just asked. If another program queued it and it has no valid
        point, return the reason instead.

        queued: the trial before any parameter was drawn.
        """
        space = self.definition.space
        if why := wrong(queued, space):
            return why
        point = suggest(trial, space)
        if why := unused(queued, trial.params):
            return why
        origin, named = queued.user_attrs.get(record.ORIGIN, record.SEARCH), record.origin_of(queued)
        known = () if named == record.SEARCH else fixed_trials.fixed_points(self.study, self.definition)
        if origin != named or any(fixed.origin == named and fixed.point != point for fixed in known):
            return f"its attribute {record.ORIGIN!r} = {quoted(origin)} is not that of a fixed point here: leave it out"
        return point

    def _place(self, asked: _Asked) -> None:
        """Reuse a known result, wait for a running trial of the same point, or have the trial evaluated."""
        limits = self.definition.limits.given()
        twin = self.known.find(asked.point, stopped_too=asked.searched)
        if twin is not None:
            attributes = {**record.measured_attributes(twin), record.REUSED_FROM: twin.number}
            self._end(asked, twin.values, attributes, record.excesses_of(twin))
        elif asked.point in self._others.points or any(o.point == asked.point for o in self._running.values()):
            self._twins.append(asked)
        elif asked.searched and asked.point.latency > limits.get("latency", asked.point.latency):
            # the latency is known before anything is made or measured
            stop = {record.STOP: record.over_latency(asked.point.latency, limits["latency"])}
            self._end(asked, None, stop, record.excesses(limits, {"latency": asked.point.latency}))
        else:
            self.held.evaluates(self.study, asked.trial._trial_id)
            self._running[asked.trial.number] = asked
            number, mode = asked.trial.number, asked.point.mode
            judge = FrontJudge.of(number, mode, self.definition, self.known) if asked.searched else None
            self.workers.submit(Task(number, asked.point, judge))

    def _place_twins(self) -> None:
        if not self._twins:
            return
        with self.held.turn():
            self._look_around()
            waiting, self._twins = self._twins, []
            for twin in waiting:
                self._place(twin)

    def _settle(self, answer: Answer | None) -> None:
        """Record a worker's answer, then place the trials that waited for it."""
        if answer is None:
            return
        asked = self._running.pop(answer.number)
        try:
            self._record(asked, answer)
        except BaseException as error:  # Ctrl-C too: the trial is marked failed and the error re-raised
            self._fail(asked.trial, f"{type(error).__name__}: {error}")
            raise
        if not self._giving_up:
            self._place_twins()

    def _record(self, asked: _Asked, answer: Answer) -> None:
        """End a trial as its worker answered. After too many failures in a row, no more trials are asked for."""
        try:
            if answer.error is not None:
                raise answer.error
            assert answer.measurement is not None, "an answer without an error has a measurement"
            result = _result_of(asked.point, answer.measurement, self.definition.limits.given())
        except EvaluationError as error:
            self._fail(asked.trial, str(error))
            worker = answer.worker if self.workers.slots > 1 else None
            self._failures.append(Failure(asked.trial.number, asked.origin, asked.point, str(error), worker))
            self._giving_up |= len(self._failures) == self.definition.stop_after_failures
        else:
            self._end(asked, *result)

    def _end(
        self,
        asked: _Asked,
        values: Sequence[float] | None,
        attributes: Mapping[str, Any],
        excesses: Mapping[str, float],
    ) -> None:
        """End a trial and write its values and attributes at once, so that a killed driver leaves none half written."""
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
        self._take_in(ended)

    def _count_waiting(self) -> int:
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _fail(self, trial: Trial, why: str, refused: bool = False) -> None:
        self._take_in(fail(self.study, trial._trial_id, why, refused))

    def _take_in(self, trial: FrozenTrial) -> None:
        """Count a trial that has ended, and report it to the observer."""
        self.known.add(trial)
        self.trials += 1
        self.failed += trial.state is TrialState.FAIL
        # once the run gives up, trials that still end do not change the diagnosis
        if trial.state is not TrialState.FAIL and not self._giving_up:
            self._failures.clear()
        self.observer.trial_finished(trial)

    def _abandon(self, why: str) -> None:
        self.workers.cancel()
        # suppressed: the run often ended because of the storage, and its first error says more; the next run repairs
        with suppress(StorageInternalError):
            # if there is no other driver, this includes a trial that an interrupt left half asked
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if is_mine(self.held, trial):
                    fail(self.study, trial._trial_id, why)
            if self.held.shared:
                with suppress(StudyError), self.held.turn():  # the claim was lost: the next run repairs this too
                    fail_abandoned(self.study, self.held)


def _is_running_fixed_point(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.RUNNING and record.origin_of(trial) != record.SEARCH


def _result_of(
    point: OperatingPoint, measurement: Measurement | Stopped, limits: Mapping[str, float]
) -> tuple[Values | None, dict[str, Any], dict[str, float]]:
    """Return a trial's values (None if it was stopped), its attributes, and by how much it exceeds each limit.

    Raises EvaluationError if a value is not a finite number.
    """
    reached = {"latency": point.latency}
    if isinstance(measurement, Stopped):
        reached |= record.reached_by_stopped(measurement)
        return None, record.attributes_of_stopped(measurement), record.excesses(limits, reached)
    values = record.values_of(measurement)
    reached |= dict(zip(("der", "size", "rtf"), values, strict=True))
    return values, record.attributes_of(measurement), record.excesses(limits, reached)


def _why_ended(error: BaseException, giving_up: bool) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "the run stopped: too many trials failed in a row" if giving_up else f"the run ended: {error!r}"
