"""The Pareto front as data: the trials on it, with every fixed point. Tables and files are made from this."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import optuna
from optuna.study._multi_objective import (  # Optuna's own dominance; it has no public name
    _dominates,
    _get_pareto_front_trials_by_trials,
)
from optuna.trial import FrozenTrial, TrialState

from explorer.front import comparisons as comparison
from explorer.front import mode_filter
from explorer.front.rows import Comparison, Figures, FrontRow, Standing
from explorer.search import fixed_trials
from explorer.storage import bulk_sql, provenance
from explorer.storage import trial_record as record
from explorer.storage.foreign_trials import LeftOut
from explorer.storage.study_record import data_of, stored_definition
from objectives.operating_point import Tracking
from studies.definition import StudyDefinition
from studies.paper_results import TABLE1, TABLE2, PaperTable, place
from studies.search_space import recall

UNMEASURED: dict[TrialState, Standing] = {TrialState.WAITING: "waiting", TrialState.RUNNING: "running"}


@dataclass(frozen=True)
class Front:
    """rows: every trial on the front and every fixed point, best DER first, unmeasured last. comparisons: among the
    measured ones. left_out: trials that another program added or changed, by number, and why, as far as the data that
    the front is made from shows it."""

    rows: tuple[FrontRow, ...]
    comparisons: tuple[Comparison, ...]
    left_out: LeftOut = field(default_factory=dict)


def front(study: optuna.Study) -> tuple[FrontRow, ...]:
    """Return the rows of the whole front. Raises StudyError as `whole_front` does."""
    return whole_front(study).rows


def whole_front(study: optuna.Study, tracking: Tracking | None = None) -> Front:
    """Return the front, every fixed point, and which of them can be distinguished by DER.

    tracking: show only points of this mode, with the front among these; None for all of them. Raises StudyError if the
    study was not made by `explorer run`, or has no such points.
    """
    definition = stored_definition(study)
    mode_filter.check_tracking(study, definition, tracking)
    left_out: dict[int, str] = {}

    def best_of(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        # study.best_trials would copy every attribute of every trial first
        return feasible_front(study, mode_filter.tracked(trials, tracking))

    def to_show(trials: Sequence[FrozenTrial]) -> set[int]:
        return {trial.number for trial in (*best_of(trials), *_fixed_trials(trials))}

    params = mode_filter.looked_at(tracking)
    trials, shown = bulk_sql.read_chosen(study, to_show, (record.ORIGIN,), params, left_out)
    best = best_of(trials)
    known = [row_of(study, definition, trial, best) for trial in shown.values()]
    rows = [row for row in known if row is not None]
    rows += _not_queued(study, definition, {row.origin for row in rows})
    ordered = in_order(row for row in rows if tracking is None or row.point.mode == tracking)
    compared = comparison.compare(ordered, shown)
    return Front(comparison.beside(ordered, compared), compared, left_out)


def in_order(rows: Iterable[FrontRow]) -> tuple[FrontRow, ...]:
    """Sort rows: best DER first, unmeasured last."""

    def place(row: FrontRow) -> tuple[bool, float, float]:
        return row.measurement is None, row.measurement.der if row.measurement else 0.0, row.latency or 0.0

    return tuple(sorted(rows, key=place))


def feasible_front(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that are complete, keep the study's limits and are not dominated by another such trial."""
    return _get_pareto_front_trials_by_trials(trials, study.directions, consider_constraint=True)


def dominates(study: optuna.Study, one: FrozenTrial, other: FrozenTrial) -> bool:
    """Return whether a complete trial is at least as good as another in DER, size and RTF, and better in one."""
    return bool(_dominates(one, other, study.directions))


def every_row(study: optuna.Study, trials: Sequence[FrozenTrial]) -> tuple[FrontRow, ...]:
    """Return a row for each trial of a study that has an operating point. trials: all of them, read whole.

    Raises StudyError if the study was not made by `explorer run`.
    """
    definition = stored_definition(study)
    best = feasible_front(study, trials)
    rows = [row_of(study, definition, trial, best) for trial in trials]
    return tuple(row for row in rows if row is not None)


def table_rows(rows: Sequence[FrontRow], table: PaperTable) -> tuple[FrontRow, ...]:
    """Return the rows of one of the paper's tables, in its order; empty if the study does not have it."""
    order = list(TABLE1 if table == "table1" else TABLE2)
    found = {at[1]: row for row in rows if (at := place(row.origin)) is not None and at[0] == table}
    return tuple(found[name] for name in order if name in found)


def _fixed_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return one trial per fixed point: the complete one (the first, if another program has added one), else the one
    that waits or runs, else the last that failed."""
    rank = {TrialState.COMPLETE: 3, TrialState.RUNNING: 2, TrialState.WAITING: 1}
    chosen: dict[str, FrozenTrial] = {}
    for trial in trials:
        origin = record.origin_of(trial)
        known = chosen.get(origin)
        if origin == record.SEARCH or (known is not None and known.state is TrialState.COMPLETE):
            continue
        if known is None or rank.get(trial.state, 0) >= rank.get(known.state, 0):
            chosen[origin] = trial
    return list(chosen.values())


def _not_queued(study: optuna.Study, definition: StudyDefinition, present: set[str]) -> list[FrontRow]:
    """Return fixed points that are not queued yet: the driver died before, or Table 2's variant is not chosen."""
    known = fixed_trials.fixed_points(study, definition)
    rows = [FrontRow(None, fixed.origin, fixed.point, "waiting") for fixed in known]
    if fixed_trials.is_pending(study, definition):
        # any candidate will do: nothing that depends on it is shown
        unknown = [fixed for fixed in definition.fixed_points_for(definition.candidates[0]) if fixed not in known]
        rows += [FrontRow(None, u.origin, u.point, "waiting", variant_chosen=False) for u in unknown]
    return [row for row in rows if row.origin not in present]


def row_of(
    study: optuna.Study, definition: StudyDefinition, trial: FrozenTrial, best: Sequence[FrozenTrial]
) -> FrontRow | None:
    """Return the row of a trial with all of its attributes; None if its point was never drawn. best: the front."""
    point = recall(trial, definition.space)
    if point is None:
        return None
    standing, dominated_by, exceeded = _stand(study, trial, best)
    row = FrontRow(trial.number, record.origin_of(trial), point, standing, dominated_by, exceeded)
    if trial.state is TrialState.COMPLETE:
        return replace(row, measurement=_figures(study, trial))
    return replace(row, error=trial.user_attrs.get(record.ERROR) if standing == "failed" else None)


def _figures(study: optuna.Study, trial: FrozenTrial) -> Figures:
    attributes = trial.user_attrs
    der, size, rtf = trial.values
    low, high = attributes[record.RTF_SPREAD]
    errors = attributes[record.POOLED]
    return Figures(
        der=der,
        false_alarm=errors["false_alarm"],
        missed_detection=errors["missed_detection"],
        confusion=errors["confusion"],
        size=size,
        rtf=rtf,
        rtf_low=low,
        rtf_high=high,
        rtf_ratio=attributes[record.RTF_RATIO],
        params=attributes[record.PARAMS],
        kept=attributes[record.KEPT_UNITS],
        execution=attributes[record.EXECUTION],
        # trials of an earlier version may lack these
        update_latency=attributes.get(record.UPDATE_LATENCY),
        stage_shares=attributes.get(record.STAGE_SHARES),
        peak_memory_mib=attributes.get(record.PEAK_MEMORY),
        kernel=attributes.get(record.KERNEL),
        reused_from=attributes.get(record.REUSED_FROM),
        model_key=attributes.get(record.MODEL_KEY),
        model_sha256=attributes.get(record.MODEL_SHA256) or None,
        data=attributes.get(record.DATA) or data_of(study),
        versions=provenance.versions_of(trial),
    )


def _stand(
    study: optuna.Study, trial: FrozenTrial, best: Sequence[FrozenTrial]
) -> tuple[Standing, tuple[int, ...], tuple[str, ...]]:
    if trial.state is not TrialState.COMPLETE:
        return UNMEASURED.get(trial.state, "failed"), (), ()
    if exceeded := record.exceeded(trial):
        return "infeasible", (), exceeded
    if any(trial.number == other.number for other in best):
        return "front", (), ()
    return "dominated", tuple(t.number for t in best if dominates(study, t, trial)), ()
