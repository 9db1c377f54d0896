"""Which trials of a study are its own: what another program added, or somebody changed by hand, is left out.

A study lies in a database that any program may write to. Stock Optuna adds trials with values and without the
attributes that `explorer run` keeps, with other parameters, or of other data. Such a trial belongs on no front, and no
sampler may learn from it; but it is no reason to stop either. So each trial is held against its study where it is read
(explorer/storage/bulk_sql.py), and those that do not fit are left out of everything, with a remark that names them.
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
    """What each of a study's own trials must be like. space: where their points lie, None if nobody knows. points:
    those of each origin of a fixed point."""

    space: SearchSpace | None = None
    points: Mapping[str, frozenset[OperatingPoint]] = field(default_factory=dict)

    def fault(self, trial: FrozenTrial, whole: bool) -> str | None:
        """Why a trial is none of the study's own, in words; None if it is. whole: with all that it carries.

        One that waits is everybody's: the next run measures it, or fails it and says why.
        """
        if trial.state is TrialState.WAITING:
            return None
        return fault(trial, whole) or (self._fault_of_measurement(trial) if whole and self.space else None)

    def _fault_of_measurement(self, trial: FrozenTrial) -> str | None:
        assert self.space is not None, "asked only then"
        known = dimensions(self.space)
        if trial.state is TrialState.FAIL:  # nobody learns from it, whatever it was queued with
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
    """What the trials of a study must be like; nothing but whole where it does not say. Raises StudyError if its
    attributes are no JSON."""
    if DEFINITION not in user_attributes(study):
        return Standard()
    try:
        definition = stored_definition(study)
    except StudyError:  # whoever shows the study says so
        return Standard()
    return Standard(definition.space, _points_of(user_attributes(study)[DEFINITION]))


@lru_cache(maxsize=16)
def _points_of(definition: str) -> Mapping[str, frozenset[OperatingPoint]]:
    """Points of each origin that a study's fixed points may have, whichever variant Table 2 turns out to be about."""
    told = StudyDefinition.model_validate_json(definition)
    found: dict[str, set[OperatingPoint]] = {}
    for fixed in chain.from_iterable(told.fixed_points_for(variant) for variant in told.candidates or (None,)):
        found.setdefault(fixed.origin, set()).add(fixed.point)
    return {origin: frozenset(points) for origin, points in found.items()}


def in_words(left_out: LeftOut) -> str:
    """The remark of a study's trials that were left out; empty if there are none."""
    if not left_out:
        return ""
    shown = sorted(left_out)[:MOST_NAMED]
    told = "; ".join(f"trial {number}: {left_out[number]}" for number in shown)
    more = len(left_out) - len(shown)
    rest = f"; and {more} more: {', '.join(map(str, sorted(left_out)[MOST_NAMED:]))}" if more else ""
    return (
        f"Left out, since another program added {'it' if len(left_out) == 1 else 'them'} or changed "
        f"{'it' if len(left_out) == 1 else 'them'}: {told}{rest}"
    )


def refusal(study: optuna.Study, number: int, why: str) -> StudyError:
    """The error for whoever asks for a trial that is left out."""
    return StudyError(
        f"trial {number} of the study {study.study_name!r} is left out: {why}. Another program added it, or it was "
        "changed: choose another one, or restore the storage from a copy"
    )
