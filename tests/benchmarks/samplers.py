"""Samplers compared on recorded measurements: `python -m tests.benchmarks.samplers TABLE.csv`.

A study is played in memory: the baseline first, then what the sampler proposes in the product's own search space, with
ranges and choices cut to those of the table. C and R are drawn from their continuous log ranges; what is told is the
recorded point nearest in log C and log R, of the recorded pruning of that structure nearest in ratio. A proposal whose
point was told before counts as a trial.

Printed, over the seeds: the hypervolume of DER, size and RTF, as they are told, after so many trials, as a share of
that of the whole table; the reference point is 1.1 times the worst of the table in each. Median and quartiles.
"""

import argparse
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna._hypervolume import compute_hypervolume
from optuna.samplers import BaseSampler, QMCSampler, TPESampler
from rich.console import Console
from rich.progress import track
from rich.table import Table

from explorer.search.driver import build_sampler
from objectives.operating_point import BASELINE, STRUCTURES, OperatingPoint, Precision, Pruning
from studies.definition import SAMPLERS, Sampler
from studies.search_space import LOOK_AHEADS, SearchSpace, params_of, suggest
from tests.benchmarks import recorded
from tests.benchmarks.racing import quartiles
from tests.benchmarks.recorded import RecordedTable

CHECKPOINTS = (10, 20, 40, 80, 160)  # trials, the baseline among them
REFERENCE = 1.1  # times the worst of the table
DEFAULT: Sampler = "tpe"

Objectives = tuple[float, float, float]
Builder = Callable[[int], BaseSampler]  # seed


def of_the_product(name: Sampler) -> Builder:
    """As `explorer run` sets it up."""
    return lambda seed: build_sampler(name, seed)


COMPARED: dict[str, Builder] = {
    **{name: of_the_product(name) for name in SAMPLERS},
    "tpe, multivariate, group": lambda seed: TPESampler(seed=seed, multivariate=True, group=True),
    "qmc": lambda seed: QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
}


@dataclass(frozen=True)
class Grid:
    """The recorded points that a sampler may be told. measured: DER in percent, size in MiB and RTF, of
    models whose C and R are all there, and of no others."""

    measured: Mapping[OperatingPoint, Objectives]
    chunk_lengths: tuple[float, ...]
    right_contexts: tuple[float, ...]
    models: frozenset[tuple[Pruning, Precision]]

    @classmethod
    def of(cls, table: RecordedTable) -> "Grid":
        """Prunings that lack one of the precisions of the unpruned model are left out.

        Raises ValueError where the baseline's model is not complete.
        """
        told = table.objectives()
        lengths = tuple(sorted({point.chunk_length for point in told}))
        contexts = tuple(sorted({point.right_context for point in told}))
        whole = {
            (point.pruning, point.precision)
            for point in told
            if all(replace(point, chunk_length=c, right_context=r) in told for c, r in product(lengths, contexts))
        }
        # a precision that only some prunings have would leave proposals without an answer
        precisions = {precision for pruning, precision in whole if pruning == BASELINE.pruning}
        prunings = {pruning for pruning, _ in whole if all((pruning, precision) in whole for precision in precisions)}
        models = frozenset(product(prunings, precisions))
        measured = {point: values for point, values in told.items() if (point.pruning, point.precision) in models}
        if BASELINE not in measured:
            raise ValueError("the table has not every C and R of the baseline's model: record the rest of it")
        return cls(measured, lengths, contexts, models)

    @property
    def space(self) -> SearchSpace:
        """The product's search space, cut to the table."""
        structures = {pruning.structure for pruning, _ in self.models}
        ratios = [pruning.ratio for pruning, _ in self.models if pruning.ratio]
        ahead = {"some" if context else "none" for context in self.right_contexts}
        positive = [context for context in self.right_contexts if context]
        ranges: dict[str, Any] = {"chunk_length": (self.chunk_lengths[0], self.chunk_lengths[-1])}
        if positive:
            ranges["right_context"] = (positive[0], positive[-1])
        if ratios:
            ranges["pruning_ratio"] = (min(ratios), max(ratios))
        return SearchSpace(
            **ranges,
            look_ahead=tuple(choice for choice in LOOK_AHEADS if choice in ahead),
            pruning_structure=tuple(structure for structure in STRUCTURES if structure in structures),
            precision=tuple(sorted({precision for _, precision in self.models})),
        )

    def nearest(self, point: OperatingPoint) -> OperatingPoint:
        """The recorded point that stands for a proposal."""
        context = point.right_context and _nearest_log(point.right_context, filter(None, self.right_contexts))
        same = {pruning for pruning, _ in self.models if pruning.structure == point.pruning.structure}
        pruning = min(same, key=lambda known: (abs(known.ratio - point.pruning.ratio), known.ratio))
        return OperatingPoint(_nearest_log(point.chunk_length, self.chunk_lengths), context, pruning, point.precision)

    @property
    def reference(self) -> np.ndarray:
        """(3,): what hypervolume is measured from."""
        return REFERENCE * np.max(list(self.measured.values()), axis=0)

    def hypervolume(self, points: Iterable[OperatingPoint]) -> float:
        """Of these points."""
        return float(compute_hypervolume(np.array([self.measured[point] for point in points]), self.reference))


def _nearest_log(value: float, known: Iterable[float]) -> float:
    return min(known, key=lambda other: abs(math.log(other / value)))


def play(grid: Grid, name: str, seed: int, trials: int) -> list[OperatingPoint]:
    """The recorded points that a sampler was told, in order, the baseline first."""
    # not even warnings: the GP gives one for each conditional parameter, which it leaves to random sampling
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(directions=["minimize"] * 3, sampler=COMPARED[name](seed))
        study.enqueue_trial(params_of(BASELINE))
        told = []
        space = grid.space
        for _ in range(trials):
            trial = study.ask()
            point = grid.nearest(suggest(trial, space))
            study.tell(trial, grid.measured[point])
            told.append(point)
    return told


def shares(grid: Grid, told: Sequence[OperatingPoint], checkpoints: Sequence[int]) -> list[float]:
    """Hypervolume after so many trials, in percent of the table's."""
    best = grid.hypervolume(grid.measured)
    return [100.0 * grid.hypervolume(set(told[:trials])) / best for trials in checkpoints]


@dataclass(frozen=True)
class Task:
    """One study to play, in any process."""

    grid: Grid
    sampler: str
    seed: int
    checkpoints: tuple[int, ...]

    def __call__(self) -> tuple[list[float], int, float]:
        """Shares of hypervolume, number of different points told, CPU seconds."""
        started = time.process_time()
        told = play(self.grid, self.sampler, self.seed, max(self.checkpoints))
        seconds = time.process_time() - started
        return shares(self.grid, told, self.checkpoints), len(set(told)), seconds


def compare(grid: Grid, names: Sequence[str], seeds: int, checkpoints: tuple[int, ...], jobs: int) -> dict[str, Any]:
    """What is printed and written of each sampler."""
    told = {}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for name in names:
            tasks = [pool.submit(Task(grid, name, seed, checkpoints)) for seed in range(seeds)]
            played = [task.result() for task in track(tasks, name, transient=True)]
            by_checkpoint = zip(*(one for one, _, _ in played), strict=True)
            told[name] = {
                "seeds": seeds,
                "hypervolume_percent": {
                    str(trials): quartiles(values) for trials, values in zip(checkpoints, by_checkpoint, strict=True)
                },
                "different_points": quartiles([points for _, points, _ in played]),
                "cpu_seconds_a_study": quartiles([seconds for _, _, seconds in played]),
            }
    return told


def verdicts(told: Mapping[str, Any], checkpoints: Sequence[int], default: str = DEFAULT) -> list[str]:
    """At each number of trials: who leads by the median, and whether its quartiles lie apart from the default's."""
    lines = []
    for trials in map(str, checkpoints):
        at = {name: one["hypervolume_percent"][trials] for name, one in told.items()}
        first = max(at, key=lambda name: at[name]["median"])
        line = f"{trials} trials: {first} leads with {_span(at[first])} %"
        if default in at and first != default:
            apart = at[first]["q1"] > at[default]["q3"]
            line += f"; {default} has {_span(at[default])} %, " + ("quartiles apart" if apart else "quartiles overlap")
        lines.append(line)
    return lines


def _span(values: Mapping[str, float]) -> str:
    return f"{values['median']:.1f} [{values['q1']:.1f}–{values['q3']:.1f}]"


def show(told: Mapping[str, Any], checkpoints: Sequence[int], title: str) -> Table:
    """The table for people."""
    table = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    table.add_column("sampler")
    for name in (*(f"{trials} trials" for trials in checkpoints), "different points", "CPU s a study"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in told.items():
        volumes = (_span(one["hypervolume_percent"][str(trials)]) for trials in checkpoints)
        seconds = f"{one['cpu_seconds_a_study']['median']:.1f}"
        table.add_row(name, *volumes, f"{one['different_points']['median']:g}", seconds)
    return table


def kept(path: Path | None, about: Mapping[str, Any]) -> dict[str, Any]:
    """What a JSON file says of samplers already, for the same points and numbers of trials."""
    if path is None or not path.exists():
        return {}
    before = json.loads(path.read_text())
    return before["samplers"] if all(before.get(name) == value for name, value in about.items()) else {}


def main(arguments: Sequence[str] | None = None) -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.samplers", description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="CSV of recorded measurements")
    parser.add_argument("--out", type=Path, help="JSON to write; what it says of other samplers stays, and is printed")
    parser.add_argument("--seeds", type=int, default=20, help="studies of each sampler")
    parser.add_argument("--samplers", nargs="+", default=list(COMPARED), choices=COMPARED)
    parser.add_argument("--trials", nargs="+", type=int, default=list(CHECKPOINTS), help="after which to look")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes to come: the GP's torch would take all cores
    grid = Grid.of(recorded.read(given.table))
    checkpoints = tuple(sorted(given.trials))
    about: dict[str, Any] = {
        "table": given.table.name,
        "points": len(grid.measured),
        "models": len(grid.models),
        "reference_point": [round(float(value), 6) for value in grid.reference],
        "best_hypervolume": round(grid.hypervolume(grid.measured), 6),
        "trials": list(checkpoints),
    }
    told = kept(given.out, about) | compare(grid, given.samplers, given.seeds, checkpoints, given.jobs)
    title = (
        f"hypervolume, % of the table's; {len(grid.measured)} points of {len(grid.models)} models; median [quartiles]"
    )
    console = Console(width=150)
    console.print(show(told, checkpoints, title))
    lines = verdicts(told, checkpoints)
    console.print("\n".join(lines), soft_wrap=True, highlight=False)
    if given.out is not None:
        given.out.write_text(json.dumps({**about, "samplers": told, "verdicts": lines}, indent=2) + "\n")


if __name__ == "__main__":
    main()
