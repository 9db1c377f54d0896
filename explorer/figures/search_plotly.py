"""How a search went, as plotly figures: Optuna's own, given only what may be compared."""

import warnings
from collections.abc import Sequence
from functools import partial

import optuna
import plotly.graph_objects as go
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import plot_hypervolume_history, plot_param_importances

from explorer.figures.front_plotly import titled
from explorer.figures.style import BLUE, ORANGE, PURPLE
from explorer.storage import trial_record as record
from objectives.errors import StudyError

MARGIN = 1.1  # the reference point is this factor beyond the worst value that counts
WORST_DER = 100.0  # percent: beyond it, an empty output would be better
TOP_TRIALS = 5  # Optuna recommends comparing at least so many of the best with the others in PED-ANOVA
TOP_SHARE = 0.1  # of the trials, if there are many
ENOUGH = 4 * TOP_TRIALS
COLOURS = (BLUE, ORANGE, PURPLE)
LAYOUT = {"height": 450, "margin": {"l": 70, "r": 20, "t": 80, "b": 60}}


def reference_point(trials: Sequence[FrozenTrial]) -> tuple[float, float, float] | None:
    """Return (DER %, MiB, RTF) beyond all feasible native trials, DER at most 100 %; None if there is no such trial."""
    counted = [trial for trial in _complete(trials) if not record.exceeded(trial) and not _is_emulated(trial)]
    if not counted:
        return None
    der, size, rtf = (MARGIN * max(trial.values[axis] for trial in counted) for axis in range(3))
    return min(der, WORST_DER), size, rtf


def hypervolume_history(trials: Sequence[FrozenTrial]) -> go.Figure:
    """Draw the volume between the front so far and the reference point, by trial. trials: all of a study.

    Infeasible and emulated trials add nothing, nor does a point beyond the reference point.
    Raises StudyError if no feasible trial with a native kernel is complete.
    """
    reference = reference_point(trials)
    if reference is None:
        raise StudyError("no feasible trial with a native kernel is complete yet, so there is no volume to draw")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        figure = plot_hypervolume_history(_copy(trials), reference)
    der, size, rtf = reference
    figure.update_traces(line={"color": BLUE, "shape": "hv"}, marker={"size": 5})
    figure.update_layout(yaxis={"title": "hypervolume (% × MiB × RTF)"}, xaxis={"title": "trial"})
    return titled(
        figure,
        "Hypervolume: what the front has gained, trial by trial",
        f"Reference point: DER {der:.4g} %, {size:.3g} MiB, RTF {rtf:.3g}. "
        "Infeasible trials and emulated precisions add nothing.",
        **LAYOUT,
    )


def importance(trials: Sequence[FrozenTrial]) -> go.Figure:
    """Draw which parameters decide whether a trial is among the best, by objective (PED-ANOVA, arXiv 2304.10255).

    trials: all of a study, with their parameters. Fixed points and infeasible trials count, since they were measured;
    for RTF, only those with a native kernel. Raises StudyError if there are too few.
    """
    measured = _complete(trials)
    native = [trial for trial in measured if not _is_emulated(trial)]
    if len(native) < ENOUGH:
        raise StudyError(
            f"{len(native)} trials with a native kernel are complete, and what decides the best of them "
            f"cannot be determined from fewer than {ENOUGH}"
        )
    figure = go.Figure()
    for axis, name in enumerate(record.METRIC_NAMES):
        counted = native if name == "RTF" else measured
        share = max(TOP_SHARE, TOP_TRIALS / len(counted))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that low values count as good: they are good here
            evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
            target = partial(_value, axis)
            drawn = plot_param_importances(_copy(counted), evaluator, target=target, target_name=name)
        figure.add_traces(drawn.update_traces(marker={"color": COLOURS[axis]}).data)
    figure.update_layout(xaxis={"title": "share of the importance"}, barmode="group")
    return titled(
        figure,
        "Importance: what decides whether a trial is among the best",
        f"PED-ANOVA on {len(measured)} complete trials ({len(native)} of them for RTF: no emulated precision):<br>"
        f"the best {TOP_SHARE:.0%} of them, at least {TOP_TRIALS}, against all.",
        **LAYOUT,
    )


def _value(axis: int, trial: FrozenTrial) -> float:
    return float(trial.values[axis])


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state is TrialState.COMPLETE]


def _is_emulated(trial: FrozenTrial) -> bool:
    return record.is_emulated(trial)


def _copy(trials: Sequence[FrozenTrial]) -> optuna.Study:
    """Copy the trials in order into memory; emulated ones are marked infeasible, so that they add nothing."""
    study = optuna.create_study(directions=["minimize"] * len(record.METRIC_NAMES))
    for trial in trials:
        constraints = record.excesses_of(trial) | ({"emulated": 1.0} if _is_emulated(trial) else {})
        known = ("state", "values", "params", "distributions") if trial.state is TrialState.COMPLETE else ()
        given = {"state": TrialState.FAIL} | {name: getattr(trial, name) for name in known}
        study.add_trial(optuna.create_trial(constraints=constraints, **given))
    return study
