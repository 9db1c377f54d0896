"""What a run reports while it lasts."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from explorer.search.fixed_trials import Choice
from explorer.storage.foreign_trials import LeftOut
from objectives.operating_point import OperatingPoint


class Observer:
    """Receives what a driver reports while it runs. This base class ignores everything."""

    def begin(self, trials: Sequence[FrozenTrial], total: int) -> None:
        """The run starts. trials: those of the study so far. total: how many trials, fixed points included, the study
        will have when it is done."""

    def versions_changed(self, changes: Sequence[str]) -> None:
        """Packages have changed since the study's last trial was measured: `numpy 2.4.5 → 2.4.6`."""

    def left_out(self, trials: LeftOut) -> None:
        """Trials were left out because another program added or changed them: the reason for each number."""

    def trial_started(self, number: int, origin: str, point: OperatingPoint) -> None:
        """A trial is about to be evaluated."""

    def choice_started(self, on: str) -> None:
        """Table 2's variant is about to be chosen by its DER. on: `calib` or `eval`."""

    def choice_finished(self, choice: Choice) -> None:
        """The variant was chosen, or could not be."""

    def trial_progress(self, number: int, stage: str, fraction: float) -> None:
        """A trial has reached this fraction of a stage."""

    def choice_progress(self, stage: str, fraction: float) -> None:
        """The choice has reached this fraction of a stage."""

    def trial_finished(self, trial: FrozenTrial) -> None:
        """A trial has ended: complete, stopped or failed."""

    def trial_finished_elsewhere(self, trial: FrozenTrial) -> None:
        """A trial of another driver has ended, or that driver died while it ran."""
