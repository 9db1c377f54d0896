"""What a run tells of itself while it lasts."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from explorer.search.fixed_trials import Choice
from explorer.storage.foreign_trials import LeftOut
from objectives.operating_point import OperatingPoint


class Observer:
    """What a driver tells while it runs; this one listens to nothing. `trials` are those of the study so far."""

    def begin(self, trials: Sequence[FrozenTrial], total: int) -> None:
        """The run starts; total: trials, fixed points included, that the study will have when it is done."""

    def versions_changed(self, changes: Sequence[str]) -> None:
        """Packages are others than those that the study's last trial was measured with: `numpy 2.4.5 → 2.4.6`."""

    def left_out(self, trials: LeftOut) -> None:
        """Trials of the study that another program added or changed, by number, and why they are left out."""

    def trial_started(self, number: int, origin: str, point: OperatingPoint) -> None:
        """A trial is about to be evaluated."""

    def choice_started(self, on: str) -> None:
        """Table 2's variant is about to be chosen by its DER `on` calib or eval."""

    def choice_finished(self, choice: Choice) -> None:
        """It was chosen, or could not be."""

    def trial_progress(self, number: int, stage: str, fraction: float) -> None:
        """A trial got this far."""

    def choice_progress(self, stage: str, fraction: float) -> None:
        """The choice got this far."""

    def trial_finished(self, trial: FrozenTrial) -> None:
        """A trial was told: complete, stopped or failed."""

    def trial_finished_elsewhere(self, trial: FrozenTrial) -> None:
        """Another driver of the study told a trial, or died over it."""
