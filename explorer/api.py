"""The Python API: the results of a study as pandas data frames, for a notebook or a script. `explorer.load` is the way
in."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna

from explorer.commands.options import trusted_files
from explorer.front import frames
from explorer.front.pareto import Front, whole_front
from explorer.recommend.budgets import Budgets, der_increase
from explorer.recommend.recommendation import Advice
from explorer.recommend.recommendation import recommend as advise
from explorer.storage import bulk_sql, connection, foreign_trials, urls
from objectives.operating_point import Tracking
from studies.definition import name_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StudyResults:
    """The results of a study, read from its storage at each call, so that a study may be looked at while it runs.

    A trial that another program added or changed is left out, with a UserWarning that names it. Each method raises
    StudyError if `explorer run` did not make the study.

    Args:
        study: the study, as Optuna loads it.
    """

    study: optuna.Study

    def front(self, tracking: Tracking | None = None) -> "pd.DataFrame":
        """Return the Pareto front with every fixed point beside it; explorer.front.frames.front documents the columns.

        Args:
            tracking: the points to show, with the front as it is among these; None for all of them.
        """
        return frames.front(self._front(tracking).rows)

    def pairs(self, tracking: Tracking | None = None) -> "pd.DataFrame":
        """Return every comparison of DER; explorer.front.frames.pairs documents the columns.

        Args:
            tracking: as in `front`.
        """
        return frames.pairs(self._front(tracking).comparisons)

    def recordings(self) -> "pd.DataFrame":
        """Return the errors of each trial by recording; explorer.front.frames.recordings documents the columns."""
        left_out: dict[int, str] = {}
        trials = bulk_sql.read(self.study, left_out=left_out)
        _warn(left_out)
        return frames.recordings(list(trials.values()))

    def recommend(
        self,
        *,
        max_latency: float | None = None,
        max_size: float | None = None,
        max_rtf: float | None = None,
        max_der_increase: str | float | None = None,
        tracking: Tracking | None = None,
        top: int = 3,
        test: bool = True,
        trust: Iterable[str] = (),
    ) -> Advice:
        """Return the operating points to choose within budgets, as `explorer recommend` does.

        Args:
            max_latency: largest latency, in seconds.
            max_size: largest segmentation model, in MiB.
            max_rtf: largest median RTF.
            max_der_increase: how many more errors than the baseline, as on the command line: `"5%"`, 5 and 0.05 are
                the same.
            tracking: the points that take part; None for all of them.
            top: how many points of lowest DER.
            test: score the points on the split `test` of the study's corpus, each once, and keep these scores in the
                study. This measures models, and may take minutes.
            trust: paths or SHA-256 of checkpoints that may run code as they are loaded.

        Returns:
            The recommendations. If no point is within the budgets there are none, and `shortfall` says why.

        Raises:
            StudyError: if a budget is not a valid number, or the study has no use for it.
            ModelError: if a file to trust cannot be read.
        """
        if top < 1:
            raise ValueError(f"top is {top}, and there is nothing to recommend: use 1 or more")
        increase = None if max_der_increase is None else der_increase(str(max_der_increase))
        budgets = Budgets(max_latency, max_size, max_rtf, increase)
        advice = advise(self.study, budgets, top, test, trusted=trusted_files(trust), tracking=tracking)
        _warn(advice.left_out)
        return advice

    def _front(self, tracking: Tracking | None) -> Front:
        found = whole_front(self.study, tracking)
        _warn(found.left_out, stacklevel=4)
        return found


def load(study: str, storage: str | None = None) -> StudyResults:
    """Load a study; see explorer.load."""
    return StudyResults(connection.load_study(name_of(study), urls.given(storage)))


def _warn(left_out: foreign_trials.LeftOut, stacklevel: int = 3) -> None:
    """Warn about trials that are left out. stacklevel: how far up the notebook's own line is."""
    if remark := foreign_trials.in_words(left_out):
        warnings.warn(remark, stacklevel=stacklevel)
