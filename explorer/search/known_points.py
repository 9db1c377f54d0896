"""What a study has measured so far, in memory, so that looking up an operating point stays fast as trials add up."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from optuna.study import StudyDirection
from optuna.study._multi_objective import _dominates  # Optuna's own dominance; it has no public name
from optuna.trial import FrozenTrial, TrialState

from explorer.search.racing import Rival
from explorer.storage import trial_record as record
from objectives.operating_point import Mode, OperatingPoint
from studies.search_space import SearchSpace, recall

DIRECTIONS = [StudyDirection.MINIMIZE] * len(record.METRIC_NAMES)
KNOWN = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass
class KnownPoints:
    """Trials by operating point, and how many of them count towards the budget of search trials.

    Every trial that ends must be added.
    """

    space: SearchSpace
    searched: int = 0
    _complete: dict[OperatingPoint, FrozenTrial] = field(default_factory=dict)
    _stopped: dict[OperatingPoint, FrozenTrial] = field(default_factory=dict)
    _fronts: dict[Mode, list[FrozenTrial]] = field(default_factory=dict)
    _numbers: set[int] = field(default_factory=set)
    _members: dict[Mode, dict[int, Rival]] = field(default_factory=dict)  # a cache for `members`

    @classmethod
    def of(cls, space: SearchSpace, trials: Sequence[FrozenTrial]) -> "KnownPoints":
        """Return the known points of a study that is resumed."""
        known = cls(space)
        for trial in trials:
            if trial.state.is_finished():
                known.add(trial)
        return known

    def add(self, trial: FrozenTrial) -> bool:
        """Add a trial that has ended. Returns False if it was added before."""
        if trial.number in self._numbers:
            return False
        self._numbers.add(trial.number)
        self._count(trial)
        return True

    def _count(self, trial: FrozenTrial) -> None:
        self.searched += record.is_searched(trial)
        if trial.state not in KNOWN or record.REUSED_FROM in trial.user_attrs:
            return
        point = recall(trial, self.space)
        if point is None:
            return
        (self._complete if trial.state is TrialState.COMPLETE else self._stopped).setdefault(point, trial)
        if trial.state is TrialState.COMPLETE and not record.exceeded(trial):
            self._join_front(point.mode, trial)

    def find(self, point: OperatingPoint, stopped_too: bool) -> FrozenTrial | None:
        """Return the complete trial at a point; with `stopped_too`, a stopped one if there is no complete one."""
        return self._complete.get(point) or (self._stopped.get(point) if stopped_too else None)

    def members(self, mode: Mode) -> tuple[Rival, ...]:
        """Return the front of a mode: its feasible complete trials that no other trial of the mode dominates.

        Modes have separate fronts, since the objectives do not capture an advantage of an online point: its names are
        final after the latency, those of a chunk-wise point when the recording ends.
        """
        known = self._members.get(mode, {})
        front = self._fronts.get(mode, ())
        self._members[mode] = {trial.number: known.get(trial.number) or Rival.of(trial) for trial in front}
        return tuple(self._members[mode].values())

    @property
    def reference(self) -> float | None:
        """Seconds of scored speech in all recordings, the same for every trial; None before a trial is complete."""
        return record.reference_seconds(next(iter(self._complete.values()))) if self._complete else None

    @property
    def recordings(self) -> tuple[str, ...]:
        """URIs of the study's recordings; empty before a trial is complete."""
        return tuple(next(iter(self._complete.values())).user_attrs[record.RECORDINGS]) if self._complete else ()

    def _join_front(self, mode: Mode, trial: FrozenTrial) -> None:
        front = self._fronts.get(mode, [])
        if any(_dominates(member, trial, DIRECTIONS) for member in front):
            return
        self._fronts[mode] = [member for member in front if not _dominates(trial, member, DIRECTIONS)] + [trial]
