"""A study with a trial of each kind that a dashboard has to tell apart, and a browser that is a function."""

import io
from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults

import optuna
from optuna.trial import TrialState

from explorer.search.driver import Outcome
from explorer.storage import trial_record as record
from objectives.operating_point import OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study

NAME = "looked-at"
RTF_BUDGET = 0.06  # RTF is 0.01 + 0.02 / C, so that C below 0.4 s is over it
FAILS = OperatingPoint(2.0, 0.0)
PORT = 8080


def run(url: str, trials: int = 12) -> Outcome:
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


def kinds(trials: Iterable[optuna.trial.FrozenTrial]) -> dict[str, int]:
    """The first trial number of each kind that is there."""
    found: dict[str, int] = {}
    for trial in trials:
        over = bool(record.exceeded(trial))
        kind = {
            TrialState.COMPLETE: "infeasible" if over else "feasible",
            TrialState.PRUNED: "over budget" if over else "raced",
        }.get(trial.state, trial.state.name.lower())
        found.setdefault(kind, trial.number)
        if trial.user_attrs.get("execution") == "emulated" and kind == "feasible":
            found.setdefault("emulated", trial.number)
    return found


def ask(
    app: WSGIApplication,
    path: str,
    query: str = "",
    method: str = "GET",
    host: str = f"127.0.0.1:{PORT}",
    body: str = "",
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of one request."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_HOST": host,
        "HTTP_ACCEPT_ENCODING": "identity",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body.encode()),
    }
    setup_testing_defaults(environ)
    told: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        told.append((status, headers))

    answer = b"".join(app(environ, start_response))
    status, headers = told[-1]
    return int(status.split()[0]), dict(headers), answer
