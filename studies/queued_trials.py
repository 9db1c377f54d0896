"""Trials that another program queued, with `study.enqueue_trial` of stock Optuna: what of them cannot be measured.

A parameter that is missing is no mistake: the sampler draws it, as Optuna promises whoever queues a trial.
"""

from collections.abc import Mapping

from optuna.trial import FrozenTrial

from objectives.errors import quoted
from objectives.operating_point import STRUCTURES
from studies.search_space import FIXED_PARAMS, ONLINE_FIELDS, PAUSES, SearchSpace, dimensions, why_not

# parameter → (the one that says whether a trial has it at all, the values with which it has)
NEEDS = {
    "right_context": ("look_ahead", ("some",)),
    "pruning_ratio": ("pruning_structure", tuple(name for name in STRUCTURES if name != "none")),
    "thresholds": ("tracking", ("online",)),
    **{name: ("thresholds", ("searched",)) for name in ONLINE_FIELDS if name != PAUSES},
    PAUSES: ("tracking", ("online",)),
}


def wrong(trial: FrozenTrial, space: SearchSpace) -> str | None:
    """Why a trial that was queued has no operating point in `space`, in words; None if it has one."""
    told = trial.system_attrs.get(FIXED_PARAMS, {})
    if not isinstance(told, Mapping):
        return f"it was queued with {quoted(told)}: give parameters by name"
    for name, value in {**told, **trial.params}.items():
        if why := why_not(name, value, space):
            return why
    for name, distribution in trial.distributions.items():
        if distribution != dimensions(space)[name]:
            return f"{name} came with {distribution}, and this study has {dimensions(space)[name]}: leave that out"
    return _useless(told, {**told, **trial.params})


def unused(queued: FrozenTrial, drawn: Mapping[str, object]) -> str | None:
    """What a trial was queued with that its operating point does not use, in words; None if all of it is used.

    queued: as `wrong` found nothing in it. drawn: all parameters that the trial has by now.
    """
    return _useless(queued.system_attrs.get(FIXED_PARAMS, {}), drawn)


def _useless(told: Mapping[str, object], drawn: Mapping[str, object]) -> str | None:
    for name, value in told.items():
        condition, values = NEEDS.get(name, ("", ()))
        if condition in drawn and drawn[condition] not in values:
            return (
                f"{name} = {quoted(value)} means nothing where {condition} = {quoted(drawn[condition])}: leave it out"
            )
    return None
