"""Trials that another program queued, with `study.enqueue_trial` of stock Optuna: what of them cannot be measured.

A parameter that is missing is no mistake: the sampler draws it, as Optuna promises whoever queues a trial.
"""

from collections.abc import Mapping

from optuna.trial import FrozenTrial

from objectives.errors import quoted
from studies.search_space import FIXED_PARAMS, SearchSpace, dimensions, why_not

# parameter → the one that says whether a trial has it at all
CONDITIONS = {"right_context": "look_ahead", "pruning_ratio": "pruning_structure", "thresholds": "tracking"}


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
    return None


def unused(queued: FrozenTrial, drawn: Mapping[str, object], space: SearchSpace) -> str | None:
    """What a trial was queued with that its operating point does not use, in words; None if all of it is used.

    queued: as `wrong` found nothing in it. drawn: all parameters that the trial has by now.
    """
    for name, value in queued.system_attrs.get(FIXED_PARAMS, {}).items():
        if name not in drawn:
            condition = CONDITIONS.get(name, "thresholds" if "thresholds" in drawn else "tracking")
            why = quoted(drawn.get(condition, space.modes[0]))
            return f"{name} = {quoted(value)} means nothing where {condition} = {why}: leave it out"
    return None
