"""A study with a trial of each kind that a dashboard has to tell apart, made by the driver on the analytic evaluator."""

import optuna
from optuna.trial import TrialState

from explorer import trial_record as record
from explorer.driver import Outcome
from objectives.operating_point import OperatingPoint
from tests.explorer.analytic import AnalyticEvaluator, run_study, small_study

NAME = "looked-at"
RTF_BUDGET = 0.06  # RTF is 0.01 + 0.02 / C, so that C below 0.4 s is over it
FAILS = OperatingPoint(2.0, 0.0)


def run(url: str, trials: int = 60) -> Outcome:
    """Fixed points of which one is infeasible and one fails, then random search: some trials are stopped by the budget,
    half of the others are emulated."""
    definition = small_study(
        description="A study to look at: figures by formula",
        trials=trials,
        space={"precision": ["fp32", "fp16"]},
        fixed={"right_context": [0.5], "chunk_length": [0.1, 0.5, 2.0]},
        limits={"rtf": RTF_BUDGET},
    )
    return run_study(NAME, definition, AnalyticEvaluator(fails=frozenset({FAILS})), url)


def kinds(study: optuna.Study) -> dict[str, int]:
    """A trial number for each kind of trial that is there."""
    found: dict[str, int] = {}
    for trial in study.get_trials(deepcopy=False):
        over = bool(record.exceeded(trial))
        kind = {
            TrialState.COMPLETE: "infeasible" if over else "feasible",
            TrialState.PRUNED: "over budget" if over else "raced",
            TrialState.FAIL: "failed",
        }[trial.state]
        found.setdefault(kind, trial.number)
        if trial.user_attrs.get("execution") == "emulated" and kind == "feasible":
            found.setdefault("emulated", trial.number)
    return found
