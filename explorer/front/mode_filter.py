"""Those trials of a study whose speakers are tracked in one way: what `--tracking` leaves of it.

An online point has its names final at the latency, a chunk-wise one when the recording ends. No objective says so, and
who needs the former has no use for what the latter are better in.
"""

from collections.abc import Collection, Sequence

import optuna
from optuna.trial import FrozenTrial

from explorer.storage import bulk_sql
from objectives.errors import StudyError
from objectives.operating_point import Tracking
from studies.definition import StudyDefinition

PARAM = "tracking"  # see studies.search_space.suggest: absent where a study has nothing but chunk-wise points
CHUNKWISE = "chunk-wise"


def check_tracking(study: optuna.Study, definition: StudyDefinition, tracking: Tracking | None) -> None:
    """Raises StudyError where a study has no point that is tracked so. None asks for nothing."""
    modes = definition.space.modes
    if tracking is None or tracking in modes:
        return
    asked = f"--tracking {tracking}: the study {study.study_name!r}"
    if modes == ("offline",):
        raise StudyError(
            f"{asked} is of the offline mode, which hears the whole recording first and tracks nobody on the way: "
            "leave it out"
        )
    raise StudyError(
        f"{asked} has no point of that mode, all of them are {modes[0]}: leave it out, or run a study with "
        "`explorer run STUDY --tracking both`"
    )


def skim(
    study: optuna.Study, keys: Collection[str], tracking: Tracking | None, left_out: dict[int, str] | None = None
) -> list[FrozenTrial]:
    """As database.skim, with what `tracked` needs."""
    return bulk_sql.skim(study, keys, () if tracking is None else (PARAM,), left_out)


def tracked(trials: Sequence[FrozenTrial], tracking: Tracking | None) -> list[FrozenTrial]:
    """Those of the complete trials, as `skim` reads them, that are tracked so; all of them where that is None."""
    return [trial for trial in trials if tracking in (None, trial.params.get(PARAM, CHUNKWISE))]
