"""What a driver and its sampler see of a database: the study's own trials, those that wait, and those that run.

Optuna's samplers learn from every trial of a study, whoever added it: from one without our parameters they would take
that nothing is shared by all trials, from one with other ranges values that cannot be drawn, and a distribution that
came first forbids every other one under its name. So they do not see what is none of the study's own.
"""

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo  # what Optuna puts before any database
from sqlalchemy import ColumnElement, or_

from explorer.storage import bulk_sql
from explorer.storage.bulk_sql import TRIAL
from explorer.storage.foreign_trials import Standard


class OwnTrials(_CachedStorage):
    """A database as one study's driver sees it. standard: what its own trials are like, known once there is a study.
    left_out: trials that are none of its own, by number, and why: as of the last look, and what else is put there."""

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self.standard = Standard()
        self.left_out: dict[int, str] = {}

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """As Optuna's, without asking whether the distribution goes with that of whatever trial had the name first: a
        study's own ranges never change."""
        self._backend._set_trial_param(trial_id, param_name, param_value_internal, distribution, distribution)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        """What Optuna reads all trials through: those that are new, and those that had not finished."""
        with self._lock:
            known = self._studies.setdefault(study_id, _StudyInfo())
            news = or_(TRIAL.trial_id > known.last_finished_trial_id, TRIAL.trial_id.in_(known.unfinished_trial_ids))
            which: ColumnElement[bool] = (TRIAL.study_id == study_id) & news
            present = bulk_sql.present_in(self._backend, which)
            if not present:
                return
            few = len(present) < bulk_sql.MANY
            which = TRIAL.trial_id.in_([row.trial_id for row in present]) if few else TRIAL.study_id == study_id
            found = bulk_sql.read_where(self._backend, self.standard, which, self.left_out)
            own = [trial for trial in found if trial.number not in self.left_out]
            self._add_trials_to_cache(study_id, own)
            ours = {trial.number for trial in own}
            for row in present:
                if row.number not in ours:  # it waited or ran when it was seen last
                    known.trials.pop(row.number, None)
                    self._trial_id_to_study_id_and_number.pop(row.trial_id, None)
            for trial_id, _, state, _ in present:
                if state.is_finished():
                    known.unfinished_trial_ids.discard(trial_id)
                    known.last_finished_trial_id = max(known.last_finished_trial_id, trial_id)
                else:
                    known.unfinished_trial_ids.add(trial_id)
