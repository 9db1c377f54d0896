"""The trials of a study that track speakers in one way: the filter behind `--tracking`.

The names of an online point are final after the latency, those of a chunk-wise one when the recording ends. No
objective expresses this, and a user who needs the former cannot use the latter, however good its figures.
"""

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from objectives.errors import StudyError
from objectives.operating_point import Tracking
from studies.definition import StudyDefinition

PARAM = "tracking"  # see studies.search_space.suggest: absent if a study has only chunk-wise points
CHUNKWISE = "chunk-wise"


def check_tracking(study: optuna.Study, definition: StudyDefinition, tracking: Tracking | None) -> None:
    """Raise StudyError if a study has no point with this tracking. None always passes."""
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


def looked_at(tracking: Tracking | None) -> tuple[str, ...]:
    """Return the parameters of a trial that `tracked` looks at."""
    return () if tracking is None else (PARAM,)


def tracked(trials: Sequence[FrozenTrial], tracking: Tracking | None) -> list[FrozenTrial]:
    """Return the trials with this tracking; all of them if it is None."""
    return [trial for trial in trials if tracking in (None, trial.params.get(PARAM, CHUNKWISE))]
