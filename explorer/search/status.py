"""The progress of a study, as data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.search import fixed_trials
from explorer.storage import bulk_sql, provenance
from explorer.storage import trial_record as record
from explorer.storage.foreign_trials import LeftOut
from explorer.storage.study_record import data_of, stored_definition
from studies.definition import StudyDefinition
from studies.queued_trials import wrong

# the user attributes of trials that a status is computed from
ATTRIBUTES = (
    record.ORIGIN,
    record.REFUSED,
    record.SECONDS,
    record.REUSED_FROM,
    record.ERROR,
    record.STOP,
    record.VERSIONS,
    record.EXECUTION,
)


@dataclass(frozen=True)
class Best:
    """The smallest value of one objective among feasible trials, and the trial that has it."""

    metric: str
    value: float
    trial: int


@dataclass(frozen=True)
class Failure:
    """A failed trial and why."""

    trial: int
    origin: str
    error: str


@dataclass(frozen=True)
class StudyStatus:
    """The progress of a study.

    states, origins: number of trials by state (`complete`) and by kind of origin (`baseline`, `paper`, `fixed`,
    `search`). remaining: trials still to run under the stored budget. seconds: median duration of the measured trials,
    None before the first. reused: trials that repeated a measured operating point. stopped: trials that were not
    measured to the end, by reason: `limit`, `raced`. machine: description of the machine that measured, by key.
    versions: of packages, when the last trial was measured. mixed: packages that trials were measured with several
    versions of, in words. data: what trials are measured on and with, by content.
    table2_variant: the pruned model of Table 2, with the DERs it was chosen by; None if there is none to choose.
    left_out: for each trial that another program added or changed, by number, the reason why it counts in none of the
    other fields.
    """

    name: str
    states: Mapping[str, int]
    origins: Mapping[str, int]
    remaining: int
    reused: int
    stopped: Mapping[str, int]
    seconds: float | None
    best: tuple[Best, ...]
    failures: tuple[Failure, ...]
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    mixed: tuple[str, ...]
    data: Mapping[str, str]
    table2_variant: fixed_trials.Choice | None
    definition: Mapping[str, Any]
    left_out: LeftOut


def status(study: optuna.Study) -> StudyStatus:
    """Return the progress of a study. Raises StudyError if it was not made by `explorer run`."""
    definition = stored_definition(study)
    left_out: dict[int, str] = {}
    trials, whole = bulk_sql.read_chosen(study, _that_matter, ATTRIBUTES, left_out=left_out)
    measured = [trial for trial in trials if record.is_measured(trial)]
    seconds = [trial.user_attrs[record.SECONDS] for trial in measured if record.SECONDS in trial.user_attrs]
    known = [whole.get(trial.number, trial) for trial in trials]
    # fixed points that were never queued, or failed and were not queued again: the next run queues them
    alive = [trial for trial in known if trial.state is not TrialState.FAIL]
    unqueued = fixed_trials.not_queued(study, definition, alive)
    return StudyStatus(
        name=study.study_name,
        states=dict(Counter(trial.state.name.lower() for trial in trials)),
        origins=dict(Counter(record.origin_of(trial).partition(":")[0] for trial in trials)),
        remaining=remaining(study, definition, known) + len(unqueued),
        reused=sum(record.REUSED_FROM in trial.user_attrs for trial in trials),
        stopped=dict(Counter(record.stop_kind(trial) for trial in trials if trial.state is TrialState.PRUNED)),
        seconds=median(seconds) if seconds else None,
        best=best_values(trials),
        failures=tuple(
            Failure(trial.number, record.origin_of(trial), str(trial.user_attrs.get(record.ERROR, "unknown")))
            for trial in trials
            if trial.state is TrialState.FAIL
        ),
        machine=whole[measured[-1].number].user_attrs[record.MACHINE] if measured else {},
        versions=(provenance.versions_of(measured[-1]) if measured else None) or {},
        mixed=provenance.mixed_versions({trial.number: provenance.versions_of(trial) for trial in measured}),
        data=data_of(study),
        table2_variant=fixed_trials.choice_of(study, definition),
        definition=definition.model_dump(mode="json"),
        left_out=dict(sorted(left_out.items())),
    )


def _that_matter(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that are more than counted: the best, the last measured, and those that wait."""
    waiting = {trial.number for trial in trials if trial.state is TrialState.WAITING}
    last = [trial.number for trial in trials if record.is_measured(trial)][-1:]
    return {best.trial for best in best_values(trials)} | waiting | set(last)


def best_values(trials: Sequence[FrozenTrial]) -> tuple[Best, ...]:
    """Return the best of each objective among complete, feasible trials. An objective without a candidate is left out.

    A trial with an emulated precision is not a candidate for the best RTF, which is not the deployed model's.
    """
    feasible = [trial for trial in trials if trial.state is TrialState.COMPLETE and not record.exceeded(trial)]
    native = [trial for trial in feasible if not record.is_emulated(trial)]
    bests = []
    for axis, (metric, candidates) in enumerate(zip(record.METRIC_NAMES, (feasible, feasible, native), strict=True)):
        if candidates:
            value, number = min((trial.values[axis], trial.number) for trial in candidates)
            bests.append(Best(metric, value, number))
    return tuple(bests)


OVER = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


def remaining(study: optuna.Study, definition: StudyDefinition, trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials are still to run, beyond the study's finished and running `trials`.

    These are the waiting trials, Table 2's points if its variant is still to be chosen, and the rest of the budget of
    search trials. A trial that another program queued counts as a search trial, unless it cannot be measured.
    trials: waiting ones must be complete with parameters and attributes.
    """
    waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
    queued = [trial for trial in waiting if record.origin_of(trial) == record.SEARCH]
    measurable = sum(wrong(trial, definition.space) is None for trial in queued)
    unknown = len(definition.precisions) if fixed_trials.is_pending(study, definition) else 0
    left = definition.trials - sum(trial.state in OVER and record.is_searched(trial) for trial in trials)
    return len(waiting) - measurable + unknown + max(0, measurable, left)
