"""What keeping ten thousand trials costs: `python -m tests.benchmarks.storage --out storage.json`.

The first so many trials of a study are made in memory by the loop of a real run, random search with racing, and copied
into SQLite. Then `explorer run`'s driver does 50 search trials on top, evaluated by a formula in no time
(tests/benchmarks/stand_in.py), for each sampler. Printed, in milliseconds a trial, median and 95th percentile of them:
- ask: study.ask and the suggestions, the sampler's own time among them;
- bookkeeping: all that is neither asking, telling nor evaluating: attributes, limits, known points, judge, display;
- tell: study.tell;
- whole: their sum, from the end of one trial to the end of the next but for the evaluation;
and in seconds:
- resume: from the call of the driver to the first trial;
- front, status: the command, process start included, and [its function alone]: the fastest of three;
- Optuna alone: a process that does nothing but `optuna.load_study(…).best_trials`, which is the least that anything
  built on Optuna pays for a front. At 100 trials it is the time to start Python, SQLAlchemy and Optuna with alembic.
"""

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert

from explorer.front.pareto import front
from explorer.search import driver, fixed_trials, loop
from explorer.search.display import Display
from explorer.search.known_points import KnownPoints
from explorer.search.loop import Loop
from explorer.search.observer import Observer
from explorer.search.status import status
from explorer.storage.connection import load_study, open_storage
from explorer.storage.study_record import DEFINITION, IDENTITY
from explorer.workers.in_process import InProcess
from objectives.operating_point import OperatingPoint
from studies.definition import StudyDefinition, parse
from tests.benchmarks.stand_in import StandIn

NAME = "ten-thousand"
ON_TOP = 50  # real trials, of which the figures come
SAMPLERS = {100: ("random", "tpe"), 1_000: ("random", "tpe", "gp", "nsga2"), 10_000: ("random", "tpe")}
FIXED = {"sweeps": ["figure1", "figure2"], "tables": ["table1", "table2"], "table2_variant": "Linear-40"}
SPACE = {"chunk_length": [0.02, 5.0], "right_context": [0.01, 5.0]}


def definition_of(sampler: str, trials: int, limits: dict[str, float]) -> StudyDefinition:
    """The joint study, but for its corpus."""
    told = {"sampler": sampler, "trials": trials, "space": SPACE, "fixed": FIXED, "limits": limits}
    return parse(told, "the benchmark")


def in_memory(trials: int, limits: dict[str, float]) -> optuna.Study:
    """A study of so many trials, fixed points included, made by the loop of a run."""
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.RandomSampler(seed=0))
    definition = definition_of("random", trials, limits)
    definition = definition_of("random", trials - len(fixed_trials.fixed_points(study, definition)), limits)
    fixed_trials.enqueue_missing(study, definition)
    workers = InProcess(StandIn(), lambda number, stage, fraction: None)
    Loop(study, definition, workers, Observer(), KnownPoints.of(definition.space, ())).run()
    return study


def write(source: optuna.Study, count: int, file: Path) -> None:
    """The first so many trials of a study as an SQLite database, as Optuna would write them but all at once: its own
    `add_trials` takes a quarter of an hour for ten thousand."""
    storage = open_storage(f"sqlite:///{file}")
    study = optuna.create_study(study_name=NAME, storage=storage, directions=source.directions)
    trials = [trial for trial in source.get_trials(deepcopy=False)[:count] if trial.state.is_finished()]
    rows: dict[type, list[dict[str, Any]]] = {
        models.TrialModel: [
            {
                "trial_id": trial.number + 1, "study_id": study._study_id, "number": trial.number, "state": trial.state,
                "_datetime_start_utc": trial.datetime_start, "_datetime_complete_utc": trial.datetime_complete,
            }
            for trial in trials
        ],
        models.TrialValueModel: [
            {"trial_id": trial.number + 1, "objective": axis, "value": value, "value_type": "FINITE"}
            for trial in trials
            for axis, value in enumerate(trial.values or ())
        ],
        models.TrialParamModel: [
            {
                "trial_id": trial.number + 1, "param_name": name,
                "param_value": trial.distributions[name].to_internal_repr(value),
                "distribution_json": distribution_to_json(trial.distributions[name]),
            }
            for trial in trials
            for name, value in trial.params.items()
        ],
        models.TrialUserAttributeModel: [
            {"trial_id": trial.number + 1, "key": key, "value_json": json.dumps(value)}
            for trial in trials
            for key, value in trial.user_attrs.items()
        ],
        models.TrialSystemAttributeModel: [
            {"trial_id": trial.number + 1, "key": key, "value_json": json.dumps(value)}
            for trial in trials
            for key, value in trial.system_attrs.items()
        ],
    }  # fmt: skip
    with storage.engine.begin() as connection:
        for model, of_model in rows.items():
            if of_model:
                connection.execute(insert(model), of_model)
    storage.engine.dispose()
    assert load_study(NAME, f"sqlite:///{file}").trials[-1].user_attrs == trials[-1].user_attrs


def give_to(file: Path, definition: StudyDefinition) -> str:
    """Let a study be the one of this definition. Returns its URL."""
    url = f"sqlite:///{file}"
    study = load_study(NAME, url)
    identity = definition.identity() | {f"evaluator.{key}": value for key, value in StandIn.identity.items()}
    study.set_user_attr(DEFINITION, definition.model_dump_json())
    study.set_user_attr(IDENTITY, json.dumps(identity))
    _engine(study).dispose()
    return url


def _engine(study: optuna.Study) -> Any:
    storage = study._storage
    backend = getattr(storage, "_backend", storage)
    assert isinstance(backend, RDBStorage)
    return backend.engine


@dataclass
class Clock(Display):
    """Seconds of each trial by part."""

    parts: dict[str, list[float]] = field(default_factory=lambda: {"ask": [], "tell": [], "evaluate": [], "whole": []})
    first: float | None = None
    _now: dict[str, float] = field(default_factory=dict)
    _end: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(Console(file=io.StringIO(), width=120))

    def begin(self, trials: Sequence[optuna.trial.FrozenTrial], total: int) -> None:
        """See Observer."""
        super().begin(trials, total)
        self._now, self._end = dict.fromkeys(self.parts, 0.0), time.perf_counter()

    def trial_started(self, number: int, origin: str, point: OperatingPoint) -> None:
        """See Observer."""
        if self.first is None:
            self.first = time.perf_counter()
        super().trial_started(number, origin, point)

    def trial_finished(self, trial: optuna.trial.FrozenTrial) -> None:
        """See Observer."""
        super().trial_finished(trial)
        end = time.perf_counter()
        self._now["whole"] = end - self._end - self._now["evaluate"]
        for part, seconds in self._now.items():
            self.parts[part].append(seconds)
        self._now, self._end = dict.fromkeys(self.parts, 0.0), end

    def timing(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose seconds count as those of a part."""

        def timed(*args: Any, **given: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **given)
            finally:
                self._now[part] = self._now.get(part, 0.0) + time.perf_counter() - began

        return timed


@contextlib.contextmanager
def listening(clock: Clock) -> Iterator[None]:
    """Have the parts of a trial timed."""
    with (
        patch.object(optuna.Study, "ask", clock.timing("ask", optuna.Study.ask)),
        patch.object(optuna.Study, "tell", clock.timing("tell", optuna.Study.tell)),
        patch.object(loop, "suggest", clock.timing("ask", loop.suggest)),
        patch.object(InProcess, "wait", clock.timing("evaluate", InProcess.wait)),
    ):
        yield


def trials_on_top(url: str, definition: StudyDefinition) -> dict[str, Any]:
    """Milliseconds a trial by part, and seconds to resume."""
    clock = Clock()
    began = time.perf_counter()
    with listening(clock):
        outcome = driver.run_study(NAME, definition, InProcess(StandIn(), clock.trial_progress), url, clock)
    assert (outcome.trials, outcome.failed, outcome.stopped) == (ON_TOP, 0, "done")
    assert clock.first is not None
    _engine(outcome.study).dispose()
    parts = {name: np.asarray(values) for name, values in clock.parts.items()}
    parts["bookkeeping"] = parts["whole"] - parts["ask"] - parts["tell"]
    told: dict[str, Any] = {name: spread(parts[name]) for name in ("ask", "bookkeeping", "tell", "whole")}
    return {**told, "resume_seconds": clock.first - began}


def spread(seconds: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds."""
    middle, high = np.percentile(seconds, (50, 95))
    return {"median_ms": 1000.0 * float(middle), "p95_ms": 1000.0 * float(high)}


def reading(url: str) -> dict[str, float]:
    """Seconds of the commands that read a study, of their functions, and of Optuna without us."""
    bare = f"import optuna; optuna.load_study(study_name={NAME!r}, storage={url!r}).best_trials"
    told = {
        "optuna_seconds": fastest(
            lambda: subprocess.run([sys.executable, "-c", bare], check=True, stderr=subprocess.DEVNULL)
        )
    }
    for name, function in (("front", front), ("status", status)):
        command = [
            sys.executable,
            "-c",
            "from explorer.cli import main; main()",
            name,
            NAME,
            "--storage",
            url,
            "--format",
            "json",
        ]
        told[f"{name}_command_seconds"] = fastest(lambda c=command: subprocess.run(c, check=True, capture_output=True))
        told[f"{name}_seconds"] = fastest(lambda f=function: f(load_study(NAME, url)))
    return told


def fastest(what: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of so many."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        what()
        taken.append(time.perf_counter() - began)
    return min(taken)


def measure(sizes: Sequence[int], samplers: Sequence[str], limits: dict[str, float]) -> Iterator[dict[str, Any]]:
    """One result for each size and sampler."""
    source = in_memory(max(sizes), limits)
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            file = Path(folder) / f"{size}.db"
            write(source, size, file)
            given = give_to(file, definition_of("random", 0, limits))
            read = {"database_mib": file.stat().st_size / 2**20, **reading(given)}
            searched = KnownPoints.of(definition_of("random", 0, limits).space, load_study(NAME, given).trials).searched
            for sampler in SAMPLERS.get(size, ("random", "tpe")):
                if sampler in samplers:
                    own = Path(shutil.copy(file, Path(folder) / f"{size}-{sampler}.db"))
                    definition = definition_of(sampler, searched + ON_TOP, limits)
                    told = trials_on_top(give_to(own, definition), definition)
                    yield {"trials": size, "sampler": sampler, **told, **read}
                    own.unlink()


def show(results: Sequence[dict[str, Any]]) -> Table:
    """The table for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("trials", "sampler", "ask ms", "bookkeeping ms", "tell ms", "whole ms", "resume s", "front s",
                 "status s", "Optuna alone s", "MiB"):  # fmt: skip
        table.add_column(name, justify="left" if name == "sampler" else "right", no_wrap=True)
    for told in results:
        parts = [
            f"{told[p]['median_ms']:.1f} [{told[p]['p95_ms']:.1f}]" for p in ("ask", "bookkeeping", "tell", "whole")
        ]
        read = [f"{told[f'{c}_command_seconds']:.2f} [{told[f'{c}_seconds']:.2f}]" for c in ("front", "status")]
        table.add_row(
            str(told["trials"]), told["sampler"], *parts, f"{told['resume_seconds']:.1f}", *read,
            f"{told['optuna_seconds']:.2f}", f"{told['database_mib']:.0f}",
        )  # fmt: skip
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.storage", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SAMPLERS), help="trials before those measured")
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe", "gp", "nsga2"])
    parser.add_argument("--limit-latency", type=float, help="a budget on C + R in seconds, for constraints")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    limits = {} if arguments.limit_latency is None else {"latency": arguments.limit_latency}
    results = list(measure(arguments.sizes, arguments.samplers, limits))
    Console(width=150).print(show(results))
    if arguments.out:
        arguments.out.write_text(json.dumps({"optuna": optuna.__version__, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
