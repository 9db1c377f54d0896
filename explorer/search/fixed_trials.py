"""The fixed points of a study, and the pruned model chosen for Table 2 (the paper's Sec. 4.4): once, by DER."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from explorer.statistics.bootstrap import Scored
from explorer.statistics.differences import points, points_in_words, scored_of
from explorer.storage import trial_record as record
from explorer.storage.study_record import damaged, kept_json
from explorer.workers.protocol import OnStage, prefixed
from objectives.errors import EvaluationError
from objectives.measurement import ErrorCounts
from objectives.operating_point import OperatingPoint
from studies.definition import StudyDefinition
from studies.fixed_points import FixedPoint, pruning_of, variant_point
from studies.paper_results import TABLE1
from studies.search_space import params_of, recall

CHOICE = "table2_variant"  # study attribute: the state of the choice

CalibrationErrors = Callable[[OperatingPoint, OnStage], Mapping[str, ErrorCounts]]


@dataclass(frozen=True)
class Choice:
    """The state of the choice. on: `calib`, or `eval` for the study's own split. der: percent by variant, where known.

    variant: the chosen variant, None until one is chosen. error: why none has been chosen. scored: for each variant,
    seconds of error and of reference speech by recording; empty in a choice stored by an earlier version.
    """

    on: str
    der: Mapping[str, float] = field(default_factory=dict)
    variant: str | None = None
    error: str | None = None
    scored: Mapping[str, Scored] = field(default_factory=dict)

    def __str__(self) -> str:
        """`Linear-40: DER on calib 12.66 % (Linear-20 14.94, +2.28 [−0.40, +4.81] tied; …)`."""
        others = "; ".join(self._beside(name) for name in self.der if name != self.variant)
        if self.variant is None:
            return f"not chosen yet ({self.error or 'its turn comes after the other fixed points'})"
        return f"{self.variant}: DER on {self.on} {self.der[self.variant]:.2f} %" + (f" ({others})" if others else "")

    def _beside(self, name: str) -> str:
        der = f"{name} {self.der[name]:.2f}"
        if self.variant is None or not {name, self.variant} <= self.scored.keys():
            return der
        return f"{der}, {points_in_words(points(self.scored[name], self.scored[self.variant]))}"


def choice_of(study: optuna.Study, definition: StudyDefinition) -> Choice | None:
    """Return the choice stored in the study; None if it has nothing to choose. Raises StudyError if it is damaged."""
    if not definition.chooses:
        return None
    stored = kept_json(study, CHOICE)
    if stored is None:
        return Choice(definition.fixed.table2_variant)
    try:
        choice = TypeAdapter(Choice).validate_json(json.dumps(stored), strict=True)
        if choice.variant is not None and choice.variant not in choice.der:
            raise ValueError(f"{choice.variant!r} was chosen, and has no DER")
        if not all(map(math.isfinite, choice.der.values())):
            raise ValueError("a DER is not a finite number")
        for name in (*choice.der, *filter(None, (choice.variant,))):
            pruning_of(name)
        if any(scored.keys() != next(iter(choice.scored.values())).keys() for scored in choice.scored.values()):
            raise ValueError("candidates were scored on different recordings")
    except ValueError as error:  # pydantic's ValidationError is one
        raise damaged(study, CHOICE, error) from error
    return choice


def is_pending(study: optuna.Study, definition: StudyDefinition) -> bool:
    """Whether the points of Table 2 are still unknown, because no variant has been chosen."""
    choice = choice_of(study, definition)
    return choice is not None and choice.variant is None


def fixed_points(study: optuna.Study, definition: StudyDefinition) -> tuple[FixedPoint, ...]:
    """Return the fixed points that are known so far."""
    choice = choice_of(study, definition)
    return definition.fixed_points_for(None if choice is None else choice.variant)


def choose(
    study: optuna.Study, definition: StudyDefinition, calibration_errors: CalibrationErrors, on_progress: OnStage
) -> Choice:
    """Choose the candidate with the lowest DER and store it in the study. Each DER is stored as soon as it is known.

    On `calib`, every candidate is measured there by `calibration_errors`. On `eval`, its own trial must be complete.
    If a candidate has no DER, nothing is chosen and `error` says why; the next run tries again.
    """
    choice = choice_of(study, definition)
    assert choice is not None, "there is nothing to choose"
    der, scored = dict(choice.der), dict(choice.scored)
    for number, variant in enumerate(definition.candidates, start=1):
        if variant in der:
            continue
        step = f"{variant}, {number} of {len(definition.candidates)}"
        fixed = variant_point(variant, definition.space.modes[0], definition.space.online)
        try:
            if choice.on == "eval":
                der[variant], scored[variant] = _of_trial(study, fixed.origin)
            else:
                der[variant], scored[variant] = _on_calib(fixed.point, calibration_errors, prefixed(on_progress, step))
        except EvaluationError as error:
            return _keep(study, Choice(choice.on, der, error=f"{variant}: {error}", scored=scored))
        _keep(study, Choice(choice.on, der, scored=scored))
    # a tie is broken by the size in Table 1, since the models may not be built yet
    size = {name: TABLE1[name].size if name in TABLE1 else math.inf for name in der}
    best = min(der, key=lambda name: (der[name], size[name], name))
    return _keep(study, Choice(choice.on, der, variant=best, scored=scored))


def enqueue_missing(study: optuna.Study, definition: StudyDefinition, failed_too: bool = True) -> int:
    """Queue every known fixed point that is neither waiting, running nor complete. Returns how many were queued.

    Points are queued in order, so the baseline is trial 0. Each takes one transaction, so a driver that is killed
    between two neither loses nor repeats one.
    failed_too: also queue points whose trials failed, as each run does once, when it starts.
    """
    alive = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE) if failed_too else None
    missing = not_queued(study, definition, study.get_trials(deepcopy=False, states=alive))
    for fixed in missing:
        study.enqueue_trial(params_of(fixed.point, definition.space), user_attrs={record.ORIGIN: fixed.origin})
    return len(missing)


def not_queued(study: optuna.Study, definition: StudyDefinition, trials: Iterable[FrozenTrial]) -> list[FixedPoint]:
    """Return the known fixed points that have no trial among these.

    trials: waiting ones must be complete with parameters and attributes, since another program may have queued a trial
    with the name of a fixed point but at another operating point.
    """
    known = fixed_points(study, definition)
    points = {fixed.origin: fixed.point for fixed in known}
    present = {
        origin
        for trial in trials
        if (origin := record.origin_of(trial)) in points
        and (trial.state is not TrialState.WAITING or recall(trial, definition.space) == points[origin])
    }
    return [fixed for fixed in known if fixed.origin not in present]


def _keep(study: optuna.Study, choice: Choice) -> Choice:
    study.set_user_attr(CHOICE, json.dumps(asdict(choice)))
    return choice


def _of_trial(study: optuna.Study, origin: str) -> tuple[float, Scored]:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if record.origin_of(trial) == origin:
            return float(trial.values[0]), record.scored_seconds(trial.user_attrs[record.RECORDINGS])
    raise EvaluationError("its trial failed; the next run repeats it")


def _on_calib(
    point: OperatingPoint, calibration_errors: CalibrationErrors, on_progress: OnStage
) -> tuple[float, Scored]:
    counts = calibration_errors(point, on_progress)
    pooled = reduce(add, counts.values())
    if not (pooled.total > 0 and math.isfinite(pooled.der)):
        raise EvaluationError("calib has no reference speech to score: check its RTTM and UEM, or choose on eval")
    return pooled.der, scored_of(counts)
