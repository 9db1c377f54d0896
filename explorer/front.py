"""The Pareto front as data: what is on it, and every fixed point beside it. Tables and files are made from this."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import optuna
from optuna.study._multi_objective import _dominates  # Optuna's own dominance; it has no public name
from optuna.trial import FrozenTrial, TrialState

from explorer import trial_record as record
from explorer.driver import stored_definition
from objectives.operating_point import OperatingPoint
from studies.definition import StudyDefinition
from studies.search_space import recall

Standing = Literal["front", "dominated", "infeasible", "waiting", "running", "failed"]
UNMEASURED: dict[TrialState, Standing] = {TrialState.WAITING: "waiting", TrialState.RUNNING: "running"}


@dataclass(frozen=True)
class FrontRow:
    """One operating point and how it stands. What was not measured is None.

    trial: number in the study; None where a fixed point is not queued yet. standing: `front` is feasible and not
    dominated; `dominated` is feasible, and `dominated_by` are the trials of the front that dominate it; `infeasible`
    passes the limits named in `exceeded`. chunk_length, right_context, latency: seconds. der, false_alarm,
    missed_detection, confusion: percent of scored speech. size: MiB. rtf: median, rtf_low and rtf_high its spread,
    rtf_ratio over the FP32 baseline of the same breath. execution: with `emulated`, the RTF says nothing of a gain.
    """

    trial: int | None
    origin: str
    standing: Standing
    dominated_by: tuple[int, ...]
    exceeded: tuple[str, ...]
    chunk_length: float
    right_context: float
    latency: float
    precision: str
    der: float | None = None
    false_alarm: float | None = None
    missed_detection: float | None = None
    confusion: float | None = None
    size: float | None = None
    rtf: float | None = None
    rtf_low: float | None = None
    rtf_high: float | None = None
    rtf_ratio: float | None = None
    execution: str | None = None
    reused_from: int | None = None
    error: str | None = None


def front(study: optuna.Study) -> tuple[FrontRow, ...]:
    """Every trial on the front and every fixed point, best DER first, unmeasured last.

    Raises StudyError where the study was not made by `explorer run`.
    """
    definition = stored_definition(study)
    trials = study.get_trials(deepcopy=False)
    best = study.best_trials
    shown = {trial.number: trial for trial in [*best, *_fixed_trials(trials)]}
    known = [_row(study, definition, trial, best) for trial in shown.values()]
    rows = [row for row in known if row is not None]
    rows += _not_queued(definition, {row.origin for row in rows})
    return tuple(sorted(rows, key=_order))


def _order(row: FrontRow) -> tuple[bool, float, float]:
    return row.der is None, row.der or 0.0, row.latency


def _fixed_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """One trial for each fixed point: the complete one, else the one that waits or runs, else the last that failed."""
    rank = {TrialState.COMPLETE: 3, TrialState.RUNNING: 2, TrialState.WAITING: 1}
    chosen: dict[str, FrozenTrial] = {}
    for trial in trials:
        origin = record.origin_of(trial)
        known = chosen.get(origin)
        if origin != record.SEARCH and (known is None or rank.get(trial.state, 0) >= rank.get(known.state, 0)):
            chosen[origin] = trial
    return list(chosen.values())


def _not_queued(definition: StudyDefinition, present: set[str]) -> list[FrontRow]:
    """Fixed points that the study has not heard of yet: its driver died before it queued them."""
    return [
        _bare(None, fixed.origin, "waiting", fixed.point)
        for fixed in definition.fixed_points
        if fixed.origin not in present
    ]


def _bare(trial: int | None, origin: str, standing: Standing, point: OperatingPoint) -> FrontRow:
    """A row without a measurement."""
    return FrontRow(
        trial=trial,
        origin=origin,
        standing=standing,
        dominated_by=(),
        exceeded=(),
        chunk_length=point.chunk_length,
        right_context=point.right_context,
        latency=point.latency,
        precision=point.precision,
    )


def _row(
    study: optuna.Study, definition: StudyDefinition, trial: FrozenTrial, best: Sequence[FrozenTrial]
) -> FrontRow | None:
    point = recall(trial, definition.space)
    if point is None:
        return None
    attributes = trial.user_attrs
    standing, dominated_by, exceeded = _stand(study, trial, best)
    row = _bare(trial.number, record.origin_of(trial), standing, point)
    if trial.state is not TrialState.COMPLETE:
        return replace(row, error=attributes.get(record.ERROR))
    der, size, rtf = trial.values
    low, high = attributes["rtf_spread"]
    errors = attributes["der"]
    return replace(
        row,
        dominated_by=dominated_by,
        exceeded=exceeded,
        der=der,
        false_alarm=errors["false_alarm"],
        missed_detection=errors["missed_detection"],
        confusion=errors["confusion"],
        size=size,
        rtf=rtf,
        rtf_low=low,
        rtf_high=high,
        rtf_ratio=attributes["rtf_ratio"],
        execution=attributes["execution"],
        reused_from=attributes.get(record.REUSED_FROM),
    )


def _stand(
    study: optuna.Study, trial: FrozenTrial, best: Sequence[FrozenTrial]
) -> tuple[Standing, tuple[int, ...], tuple[str, ...]]:
    if trial.state is not TrialState.COMPLETE:
        return UNMEASURED.get(trial.state, "failed"), (), ()
    if exceeded := record.exceeded(trial):
        return "infeasible", (), exceeded
    if trial.number in {other.number for other in best}:
        return "front", (), ()
    return "dominated", tuple(t.number for t in best if _dominates(t, trial, study.directions)), ()
