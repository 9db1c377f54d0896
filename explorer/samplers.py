"""Optuna's samplers, set up for several objectives and constraints."""

from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from studies.definition import Sampler


def build_sampler(name: Sampler, seed: int) -> BaseSampler:
    """The sampler of that name; random search has no use for constraints."""
    match name:
        case "tpe":
            return TPESampler(seed=seed)
        case "random":
            return RandomSampler(seed=seed)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=16)  # the default of 50 outgrows a study of 60 trials
        case "gp":
            return GPSampler(seed=seed)
