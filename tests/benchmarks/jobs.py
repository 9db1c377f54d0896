"""Trials an hour with 1, 2, … jobs. Run it on a machine that does nothing else.

    python -m tests.benchmarks.jobs --jobs 1 2 --trials 24 --out jobs.json

Each number of jobs runs the same random operating points of the unpruned model in FP32, FP16 and INT8 on the AMI
excerpts, in a database of its own that is thrown away. Counted is from the first trial's start to the last one's end:
no process start, no imports, no reading of the corpus. Racing is off, so that all do the same work. Windows lie off the
grid that is kept, so that every trial runs its own.
"""

import argparse
import functools
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from explorer.search.driver import run_study
from explorer.workers.dask_cluster import local_workers
from explorer.workers.in_process import InProcess
from explorer.workers.protocol import Workers
from explorer.workers.worker_process import build_on
from objectives import machine
from objectives.evaluation.evaluator import build_evaluator
from studies.definition import StudyDefinition, parse

SPACE = {"chunk_length": [0.5, 5.0], "pruning_structure": ["none"], "precision": ["fp32", "fp16", "int8_ptq"]}


@dataclass(frozen=True)
class Run:
    """A study on so many jobs. seconds: from the first trial's start to the last one's end. busy: median of a trial."""

    jobs: int
    trials: int
    failed: int
    seconds: float
    busy: float
    der: tuple[float, ...]

    @property
    def an_hour(self) -> float:
        """Trials an hour."""
        return 3600.0 * self.trials / self.seconds


def study(trials: int) -> StudyDefinition:
    """Random points, the same for every number of jobs."""
    told = {"sampler": "random", "seed": 7, "trials": trials, "space": SPACE, "racing": {"enabled": False}}
    return parse(told, "the benchmark")


def run(jobs: int, trials: int, folder: Path) -> Run:
    """One study."""
    definition = study(trials)
    settings = definition.evaluator_settings()

    def unheard(number: int, stage: str, fraction: float) -> None:
        return

    if jobs == 1:
        workers: Workers = InProcess(build_evaluator(settings), unheard)
    else:
        workers = local_workers(jobs, functools.partial(build_on, settings), unheard)
    with workers:
        workers.prepare(lambda fraction: None)
        outcome = run_study("study", definition, workers, f"sqlite:///{folder}/{jobs}.db")
    told = outcome.study.get_trials(states=(TrialState.COMPLETE,))
    times = [(trial.datetime_start, trial.datetime_complete) for trial in told]
    seconds = max(end for _, end in times) - min(start for start, _ in times)
    busy = median((end - start).total_seconds() for start, end in times)
    der = tuple(trial.values[0] for trial in sorted(told, key=lambda trial: trial.number))
    return Run(jobs, len(told), outcome.failed, seconds.total_seconds(), busy, der)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        runs = [run(jobs, given.trials, Path(folder)) for jobs in given.jobs]
    table = Table("jobs", "trials", "failed", "seconds", "seconds a trial", "trials an hour", "x the first", box=None)
    for told in runs:
        table.add_row(
            str(told.jobs), str(told.trials), str(told.failed), f"{told.seconds:.0f}", f"{told.busy:.1f}",
            f"{told.an_hour:.0f}", f"{told.an_hour / runs[0].an_hour:.2f}",
        )  # fmt: skip
    console = Console(width=120, highlight=False)
    console.print(table)
    same = all(told.der == runs[0].der for told in runs)
    console.print(f"the same DER of every trial, whatever the jobs: {'yes' if same else 'NO'}")
    console.print(", ".join(f"{name} {value}" for name, value in machine.describe().items()))
    if given.out is not None:
        given.out.write_text(json.dumps([asdict(told) for told in runs], indent=2))


if __name__ == "__main__":
    main()
