"""What the other drivers of a study do: looked at in turns, and only where a study can have several."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from explorer import database
from explorer import trial_record as record
from explorer.drivers import EVALUATING, Claim, abandoned, is_mine
from explorer.private import without_paths
from objectives.operating_point import OperatingPoint
from studies.search_space import SearchSpace, recall

ABANDONED = "its driver ended before the trial did"


@dataclass
class Others:
    """As of the last look. waiting: trials that wait for any driver. searching, fixed: search trials and fixed points
    that others run. points: those that others have measured right now."""

    study: optuna.Study
    held: Claim
    space: SearchSpace
    waiting: int = 0
    searching: int = 0
    fixed: int = 0
    points: frozenset[OperatingPoint] = frozenset()
    _known: Sequence[FrozenTrial] = field(default_factory=list)

    def look(self) -> list[FrozenTrial]:
        """Fail what the dead left running, and see what the living do: to be called in a turn. Returns every trial of
        the study that has ended.

        Raises StudyError where the claim was lost, optuna.exceptions.StorageInternalError where the database cannot be
        read or written.
        """
        trials = database.read_all(self.study, self._known)
        dead = {trial.number: trial for trial in abandoned(self.held, trials)}
        trials = [fail(self.study, trial._trial_id, ABANDONED) if trial.number in dead else trial for trial in trials]
        theirs = [trial for trial in trials if trial.state is TrialState.RUNNING and not is_mine(self.held, trial)]
        self._known = trials
        self.waiting = sum(trial.state is TrialState.WAITING for trial in trials)
        self.searching = sum(record.is_searched(trial) for trial in theirs)
        self.fixed = len(theirs) - self.searching
        measured = (recall(trial, self.space) for trial in theirs if EVALUATING in trial.system_attrs)
        self.points = frozenset(point for point in measured if point is not None)
        return [trial for trial in trials if trial.state.is_finished()]


def fail_abandoned(study: optuna.Study, held: Claim) -> None:
    """Fail what dead drivers left running: to be called in a turn. Raises StudyError where the claim was lost."""
    for trial in abandoned(held, study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))):
        fail(study, trial._trial_id, ABANDONED)


def fail(study: optuna.Study, trial_id: int, why: str, refused: bool = False) -> FrozenTrial:
    """Tell a trial failed, unless it was told already: an interrupt may come just after its values went in.

    why: kept without the folders that it names, since a database is handed on. refused: it was never tried.
    """
    told = {record.ERROR: without_paths(why)} | ({record.REFUSED: True} if refused else {})
    try:
        return database.finish(study, trial_id, TrialState.FAIL, user=told)
    except UpdateFinishedTrialError:
        return study._storage.get_trial(trial_id)
