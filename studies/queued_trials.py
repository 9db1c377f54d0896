"""Why a trial that another program queued, with `study.enqueue_trial` of stock Optuna, cannot be measured.

A missing parameter is not an error: the sampler draws it, as Optuna promises.
"""

from collections.abc import Mapping

from optuna.trial import FrozenTrial

from objectives.errors import quoted
from objectives.operating_point import STRUCTURES
from studies.search_space import FIXED_PARAMS, ONLINE_FIELDS, PAUSES, SearchSpace, dimensions, why_not

# parameter → (the parameter that decides whether a trial has it, the values with which it does)
NEEDS = {
    "right_context": ("look_ahead", ("some",)),
    "pruning_ratio": ("pruning_structure", tuple(name for name in STRUCTURES if name != "none")),
    "thresholds": ("tracking", ("online",)),
    **{name: ("thresholds", ("searched",)) for name in ONLINE_FIELDS if name != PAUSES},
    PAUSES: ("tracking", ("online",)),
}


def wrong(trial: FrozenTrial, space: SearchSpace) -> str | None:
    """Say why a queued trial has no operating point in `space`; None if it has one."""
    queued = trial.system_attrs.get(FIXED_PARAMS, {})
    if not isinstance(queued, Mapping):
        return f"it was queued with {quoted(queued)}: give parameters by name"
    for name, value in {**queued, **trial.params}.items():
        if why := why_not(name, value, space):
            return why
    for name, distribution in trial.distributions.items():
        if distribution != dimensions(space)[name]:
            return f"{name} came with {distribution}, and this study has {dimensions(space)[name]}: leave that out"
    return _useless(queued, {**queued, **trial.params})


def unused(queued: FrozenTrial, drawn: Mapping[str, object]) -> str | None:
    """Say which of a trial's queued parameters its operating point does not use; None if it uses all of them.

    queued: a trial in which `wrong` found nothing. drawn: all parameters that the trial has by now.
    """
    return _useless(queued.system_attrs.get(FIXED_PARAMS, {}), drawn)


def _useless(queued: Mapping[str, object], drawn: Mapping[str, object]) -> str | None:
    for name, value in queued.items():
        condition, values = NEEDS.get(name, ("", ()))
        if condition in drawn and drawn[condition] not in values:
            return (
                f"{name} = {quoted(value)} means nothing where {condition} = {quoted(drawn[condition])}: leave it out"
            )
    return None
