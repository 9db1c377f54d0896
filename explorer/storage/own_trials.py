"""What a driver and its sampler see of a database: the study's own trials, those that wait, and those that run.

Optuna's samplers learn from every trial of a study, whoever added it. From a trial without our parameters they would
conclude that no parameter is shared by all trials; from one with other ranges, they would learn values that cannot be
drawn. And the first distribution of a parameter forbids every other one under its name. So samplers do not see trials
that are not the study's own.
"""

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo  # what Optuna puts before any database
from sqlalchemy import or_

from explorer.storage import bulk_sql
from explorer.storage.bulk_sql import TRIAL
from explorer.storage.foreign_trials import Standard


class OwnTrials(_CachedStorage):
    """A database as one study's driver sees it.

    standard: what the study's own trials must satisfy; set once there is a study. left_out: the trials that are not its
    own, by number, and the reasons; each read adds to it, and so may the driver.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self.standard = Standard()
        self.left_out: dict[int, str] = {}

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a parameter as Optuna does, but without comparing its distribution with the first trial's.

        That trial may be another program's, and a study's own ranges never change.
        """
        self._backend._set_trial_param(trial_id, param_name, param_value_internal, distribution, distribution)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        """Read the trials that are new and those that had not finished. Optuna reads all trials through this method."""
        with self._lock:
            known = self._studies.setdefault(study_id, _StudyInfo())
            news = or_(TRIAL.trial_id > known.last_finished_trial_id, TRIAL.trial_id.in_(known.unfinished_trial_ids))
            which = (TRIAL.study_id == study_id) & news
            checked = bulk_sql.read_checked(self._backend, self.standard, which)
            self.left_out |= {trial.number: why for trial, why in checked if why is not None}
            self._add_trials_to_cache(study_id, [trial for trial, _ in checked if trial.number not in self.left_out])
            for trial, _ in checked:
                if trial.number in self.left_out:  # it may be cached: it waited or ran when it was last seen
                    known.trials.pop(trial.number, None)
                    self._trial_id_to_study_id_and_number.pop(trial._trial_id, None)
                if trial.state.is_finished():
                    known.unfinished_trial_ids.discard(trial._trial_id)
                    known.last_finished_trial_id = max(known.last_finished_trial_id, trial._trial_id)
                else:
                    known.unfinished_trial_ids.add(trial._trial_id)
