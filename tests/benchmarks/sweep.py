"""The whole paper sweep: minutes for Figures 1 and 2 and Tables 1 and 2. Run it on a machine that does nothing else.

    python -m tests.benchmarks.sweep --out sweep.json
    python -m tests.benchmarks.sweep --studies right_context chunk_length

Runs the packaged studies in a database of its own that is thrown away. Models are made first and timed apart; those
that the cache holds already take no time, and the table says how many were made. Windows and features that the cache
holds are used as any study would use them: give an empty EXPLORER_CACHE to pay for everything.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from explorer.search.driver import run_study
from explorer.search.observer import Observer
from explorer.storage import trial_record as record
from explorer.workers.in_process import InProcess
from objectives.cache.model_cleaning import stored_models
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from studies.definition import StudyDefinition, packaged, read

STUDIES = ("right_context", "chunk_length", "pruning", "quantization")


@dataclass(frozen=True)
class Swept:
    """One study. Seconds of wall time; made: models that were not in the cache."""

    study: str
    trials: int
    measured: int
    failed: int
    made: int
    model_seconds: float
    trial_seconds: float


class Said(Observer):
    """A line a trial."""

    def __init__(self, console: Console):
        self._console = console

    def trial_finished(self, trial: FrozenTrial) -> None:
        told = trial.values if trial.state is TrialState.COMPLETE else trial.user_attrs.get(record.ERROR)
        self._console.print(f"  {record.origin_of(trial)} {told}", highlight=False)


def make_models(evaluator: Evaluator, definition: StudyDefinition) -> int:
    """Make what the fixed points and the choice of Table 2 need; how many were not there."""
    before = {entry.key for entry in stored_models()}
    for variant in definition.candidates or (None,):
        for fixed in definition.fixed_points_for(variant):
            if variant is None or fixed.point.precision == "fp32":
                evaluator.model(fixed.point)
    return len({entry.key for entry in stored_models()} - before)


def sweep(name: str, folder: Path, console: Console) -> Swept:
    """One study from its first trial to its last."""
    definition = read(packaged()[name]).vary("the benchmark", trials=0)
    console.print(name)
    with InProcess(evaluator := build_evaluator(definition.evaluator_settings()), lambda *word: None) as workers:
        started = time.perf_counter()
        made = make_models(evaluator, definition)
        between = time.perf_counter()
        workers.prepare(lambda fraction: None)
        outcome = run_study(name, definition, workers, f"sqlite:///{folder}/sweep.db", Said(console))
        ended = time.perf_counter()
    measured = sum(record.is_measured(trial) for trial in outcome.study.trials)
    return Swept(name, outcome.trials, measured, outcome.failed, made, between - started, ended - between)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    console = Console(width=120, highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        swept = [sweep(name, Path(folder), console) for name in given.studies]
    table = Table("study", "trials", "measured", "failed", "models made", "min for models", "min for trials", box=None)
    for told in swept:
        minutes = (f"{told.model_seconds / 60:.1f}", f"{told.trial_seconds / 60:.1f}")
        table.add_row(told.study, *map(str, (told.trials, told.measured, told.failed, told.made)), *minutes)
    console.print(table)
    console.print(f"{sum(told.trial_seconds for told in swept) / 60:.1f} minutes in all with models built")
    if given.out is not None:
        given.out.write_text(json.dumps([asdict(told) for told in swept], indent=2))


if __name__ == "__main__":
    main()
