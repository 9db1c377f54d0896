"""What racing saves and what it loses, on recorded measurements: `python -m tests.benchmarks.racing TABLE.csv`.

The table is a recorded one (tests/benchmarks/recorded.py). A study is played by drawing its points in random order, the
baseline first, and racing each as the driver would: size and RTF known first, errors one recording at a time, the front
kept by what was scored to its end. Nothing is computed again, so that hundreds of studies take minutes.

Methods: the certain bound in a shuffled order and with the recordings of most errors per second first, and betting with
several alphas; the one that the product takes for so many recordings is marked. Printed, over the seeds:
- stopped: share of the trials that were; certain: how many of those by the certain bound;
- false stops: trials stopped that their DER would have put on the front at that moment, of all that raced and belonged
  there: the share that alpha bounds;
- front kept: share of the studies whose final front is the one without racing;
- saved: share of the seconds of audio, and of the updates (duration / C), that were not scored.
"""

import argparse
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from optuna.study import StudyDirection
from optuna.study._multi_objective import _get_pareto_front_trials_by_trials
from optuna.trial import FrozenTrial, create_trial
from rich.console import Console
from rich.table import Table

from explorer.search import racing
from objectives.operating_point import BASELINE
from tests.benchmarks.recorded import RecordedTable, read

Entry = Callable[[racing.Rival, Mapping[str, float], int, int], racing.Race]  # durations, seed, number of the trial
KINDS = ("false_alarm", "missed_detection", "confusion")


def shuffled(rival: racing.Rival, durations: Mapping[str, float], seed: int, trial: int) -> racing.Race:
    """The certain bound in an order that knows nothing."""
    order = Random(f"{seed} {trial}").sample(sorted(durations), len(durations))
    return racing.Race(tuple(order), rival, alpha=0.0)


def densest_first(rival: racing.Rival, durations: Mapping[str, float], seed: int, trial: int) -> racing.Race:
    """The certain bound as soon as it can be."""
    return racing.Race(racing.densest_first(rival, durations), rival, alpha=0.0)


def betting(alpha: float) -> Entry:
    """Bets, whatever the number of recordings."""
    return lambda rival, _, seed, trial: racing.Race(racing.random_order(rival, seed, trial), rival, alpha)


CERTAIN = "certain, densest first"
BETTING = "betting, alpha {:g}"
METHODS: dict[str, Entry] = {
    "certain, shuffled": shuffled,
    CERTAIN: densest_first,
    **{BETTING.format(alpha): betting(alpha) for alpha in (0.001, racing.DEFAULT_ALPHA, 0.05, 0.1)},
}


@dataclass(frozen=True)
class Recorded:
    """One operating point of the table. trial: complete, its number the place in the table. errors: seconds."""

    trial: FrozenTrial
    errors: Mapping[str, float]
    chunk_length: float
    is_baseline: bool


@dataclass(frozen=True)
class Played:
    """One study. Counts of trials; seconds of audio and updates scored, and without racing."""

    trials: int
    raced: int
    stopped: int
    certain: int
    belonged: int
    false_stops: int
    lost: int
    audio: float
    audio_in_full: float
    updates: float
    updates_in_full: float


def entries(table: RecordedTable) -> list[Recorded]:
    """The points of a recorded table as trials."""
    told, objectives = [], table.objectives()
    for number, (point, known) in enumerate(table.points.items()):
        counts = {uri: {f"{kind}_seconds": getattr(one, kind) for kind in KINDS} for uri, one in known.counts.items()}
        trial = create_trial(values=list(objectives[point]), user_attrs={"recordings": counts})
        trial.number = number
        errors = {uri: one.seconds for uri, one in known.counts.items()}
        told.append(Recorded(trial, errors, point.chunk_length, point == BASELINE))
    return told


def front(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials that none dominates."""
    return {trial.number for trial in _get_pareto_front_trials_by_trials(trials, [StudyDirection.MINIMIZE] * 3, True)}


def first_verdict(race: racing.Race, errors: Mapping[str, float]) -> racing.Verdict | None:
    """The verdict that stops a trial which asks after each recording; once beaten it stays so, hence the bisection."""

    def verdict(recordings: int) -> racing.Verdict | None:
        return race.verdict({uri: errors[uri] for uri in race.order[:recordings]})

    looks = range(1, len(race.order))  # after the last recording there is nothing to stop
    place = bisect_left(looks, True, key=lambda recordings: verdict(recordings) is not None)
    return verdict(looks[place]) if place < len(looks) else None


def play(table: Sequence[Recorded], durations: Mapping[str, float], seed: int, enter: Entry) -> Played:
    """One study over all points of the table, in an order of the seed."""
    points = Random(seed).sample(table, len(table))
    points.sort(key=lambda point: not point.is_baseline)
    complete: list[FrozenTrial] = []
    members: list[racing.Rival] = []
    count = dict.fromkeys(("raced", "stopped", "certain", "belonged", "false_stops"), 0)
    seconds = sum(durations.values())
    audio = updates = 0.0
    for number, point in enumerate(points):
        _, size, rtf = point.trial.values
        rival = None if point.is_baseline else racing.strongest_rival(members, size, rtf)
        race = None if rival is None else enter(rival, durations, seed, number)
        verdict = None if race is None else first_verdict(race, point.errors)
        scored = seconds
        if race is not None:
            belongs = point.trial.number in front([*complete, point.trial])
            count["raced"] += 1
            count["belonged"] += belongs
            if verdict is not None:
                scored = sum(durations[uri] for uri in race.order[: verdict.recordings])
                count["stopped"] += 1
                count["certain"] += verdict.certain
                count["false_stops"] += belongs
        if verdict is None:
            complete.append(point.trial)
            members.append(racing.Rival.of(point.trial))
        audio += scored
        updates += scored / point.chunk_length
    return Played(
        trials=len(points),
        **count,
        lost=len(front([point.trial for point in points]) - front(complete)),
        audio=audio,
        audio_in_full=seconds * len(points),
        updates=updates,
        updates_in_full=sum(seconds / point.chunk_length for point in points),
    )


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
    return {"median": middle, "q1": low, "q3": high}


def summary(studies: Sequence[Played], method: str) -> dict[str, Any]:
    """What is printed of one method, in percent, with the counts that it comes from."""
    belonged = sum(study.belonged for study in studies)
    false_stops = sum(study.false_stops for study in studies)
    return {
        "method": method,
        "studies": len(studies),
        "trials": sum(study.trials for study in studies),
        "raced": sum(study.raced for study in studies),
        "stopped": sum(study.stopped for study in studies),
        "stopped_certain": sum(study.certain for study in studies),
        "belonged_on_front": belonged,
        "false_stops": false_stops,
        "front_points_lost": sum(study.lost for study in studies),
        "false_stops_percent": 100.0 * false_stops / belonged if belonged else 0.0,
        "studies_with_same_front_percent": 100.0 * sum(study.lost == 0 for study in studies) / len(studies),
        "stopped_percent": quartiles([100.0 * study.stopped / study.trials for study in studies]),
        "audio_saved_percent": quartiles([100.0 * (1 - study.audio / study.audio_in_full) for study in studies]),
        "updates_saved_percent": quartiles([100.0 * (1 - study.updates / study.updates_in_full) for study in studies]),
    }


def show(summaries: Sequence[Mapping[str, Any]], title: str, chosen: str) -> Table:
    """The table for people; chosen: the method to mark."""
    table = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left")
    table.add_column("method")
    for name in ("stopped %", "certain", "false stops", "front kept", "audio saved %", "updates saved %"):
        table.add_column(name, justify="right", no_wrap=True)

    def span(values: Mapping[str, float]) -> str:
        return f"{values['median']:.1f} [{values['q1']:.1f}–{values['q3']:.1f}]"

    for row in summaries:
        table.add_row(
            row["method"] + (" *" if row["method"] == chosen else ""),
            span(row["stopped_percent"]),
            f"{row['stopped_certain']} of {row['stopped']}",
            f"{row['false_stops']} of {row['belonged_on_front']}, {row['false_stops_percent']:.2f} %",
            f"{row['studies_with_same_front_percent']:.1f} %",
            span(row["audio_saved_percent"]),
            span(row["updates_saved_percent"]),
        )
    return table


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.racing", description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="CSV of recorded measurements")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--seeds", type=int, default=200, help="studies to play for each alpha")
    arguments = parser.parse_args()
    recorded = read(arguments.table)
    table, durations = entries(recorded), recorded.durations
    summaries = [
        summary([play(table, durations, seed, enter) for seed in range(arguments.seeds)], method)
        for method, enter in METHODS.items()
    ]
    chosen = BETTING.format(racing.DEFAULT_ALPHA) if len(durations) >= racing.BETTING_FROM else CERTAIN
    title = f"{len(table)} operating points, {len(durations)} recordings, {arguments.seeds} studies each; * by default"
    Console(width=150).print(show(summaries, title, chosen))
    if arguments.out:
        described = {"table": arguments.table.name, "points": len(table), "recordings": len(durations)}
        arguments.out.write_text(json.dumps({**described, "default": chosen, "methods": summaries}, indent=2) + "\n")


if __name__ == "__main__":
    main()
