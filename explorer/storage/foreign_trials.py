"""Find out which trials of a study are its own. Trials that another program added, or that were changed by hand, are
left out.

Any program may write to the database of a study. Stock Optuna may add trials that have values but not the attributes
that `explorer run` writes, that have other parameters, or that were measured on other data. Such a trial belongs on no
front, and no sampler may learn from it, but it is not a reason to stop either. So each trial is checked against its
study when it is read (explorer/storage/bulk_sql.py). Those that do not fit are left out of everything, with a remark
that names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.storage import trial_record as record
from explorer.storage.study_record import DEFINITION, stored_definition, user_attributes
from explorer.storage.trial_schema import fault
from objectives.errors import StudyError, quoted
from objectives.operating_point import OperatingPoint
from studies.definition import StudyDefinition
from studies.search_space import SearchSpace, dimensions, recall, why_not

MOST_NAMED = 5  # trials in one remark
LeftOut = Mapping[int, str]  # number of a trial → why it is left out


@dataclass(frozen=True)
class Standard:
    """What each of a study's own trials must satisfy. space: the search space of their points, None if unknown. points:
    the possible points of each fixed point, by origin."""

    space: SearchSpace | None = None
    points: Mapping[str, frozenset[OperatingPoint]] = field(default_factory=dict)

    def fault(self, trial: FrozenTrial, whole: bool) -> str | None:
        """Return why a trial is not the study's own, in words; None if it is.

        whole: whether the trial was read with everything that it carries. A waiting trial is never left out: the next
        run measures it, or marks it failed with the reason.
        """
        if trial.state is TrialState.WAITING:
            return None
        return fault(trial, whole) or (self._fault_of_measurement(trial) if whole and self.space else None)

    def _fault_of_measurement(self, trial: FrozenTrial) -> str | None:
        assert self.space is not None, "only called if the space is known"
        known = dimensions(self.space)
        if trial.state is TrialState.FAIL:  # samplers do not learn from it, whatever it was queued with
            return None
        for name, value in trial.params.items():
            if why := why_not(name, value, self.space):
                return f"its {why}"
            if trial.distributions[name] != known[name]:
                return f"its {name} comes from {trial.distributions[name]}, and the study's from {known[name]}"
        if trial.state is not TrialState.COMPLETE:
            return None
        point, origin = recall(trial, self.space), record.origin_of(trial)
        if point is None:
            return "it has not all parameters of an operating point"
        if point not in self.points.get(origin, (point,)):
            return f"its attribute 'origin' says {quoted(origin)}, which is another operating point"
        return None


def standard_of(study: optuna.Study) -> Standard:
    """Return what the trials of a study must satisfy. If the study has no definition, they only need to be complete.

    Raises StudyError if its attributes are not JSON.
    """
    if DEFINITION not in user_attributes(study):
        return Standard()
    try:
        definition = stored_definition(study)
    except StudyError:  # reported by the command that reads the definition
        return Standard()
    return Standard(definition.space, _points_of(user_attributes(study)[DEFINITION]))


@lru_cache(maxsize=16)
def _points_of(definition: str) -> Mapping[str, frozenset[OperatingPoint]]:
    """Return the points that each fixed point of a study may have, by origin, for any choice of Table 2's variant."""
    study = StudyDefinition.model_validate_json(definition)
    by_origin: dict[str, set[OperatingPoint]] = {}
    for fixed in chain.from_iterable(study.fixed_points_for(variant) for variant in study.candidates or (None,)):
        by_origin.setdefault(fixed.origin, set()).add(fixed.point)
    return {origin: frozenset(points) for origin, points in by_origin.items()}


def in_words(left_out: LeftOut) -> str:
    """Return the remark about trials that were left out; empty if there are none."""
    if not left_out:
        return ""
    shown = sorted(left_out)[:MOST_NAMED]
    reasons = "; ".join(f"trial {number}: {left_out[number]}" for number in shown)
    more = len(left_out) - len(shown)
    rest = f"; and {more} more: {', '.join(map(str, sorted(left_out)[MOST_NAMED:]))}" if more else ""
    return (
        f"Left out, since another program added {'it' if len(left_out) == 1 else 'them'} or changed "
        f"{'it' if len(left_out) == 1 else 'them'}: {reasons}{rest}"
    )


def refusal(study: optuna.Study, number: int, why: str) -> StudyError:
    """Return the error to raise if a trial is asked for that is left out."""
    return StudyError(
        f"trial {number} of the study {study.study_name!r} is left out: {why}. Another program added it, or it was "
        "changed: choose another one, or restore the storage from a copy"
    )
