"""`kill -9` of one of two drivers that share a study in PostgreSQL: `python -m tests.faults.kill_shared --kills 20`.

Two drivers run; at random moments one of them, by chance, is killed and started again. At the end both are killed, and
one runs the study to its end undisturbed. Counted are

- lost: finished trials that are not there any more, row by row, as they were read before;
- paid twice: points that are measured in two trials; that were begun when they were complete; or that were measured to
  their end again although no kill had kept the first one from being told;
- untold: points measured to their end and not complete after the kill: what a kill may cost, one each;
- left running: trials that run when all has ended;
- missing: fixed points that are not complete at the end;
- errors: drivers that ended by themselves, and badly.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path

import optuna
from optuna.trial import TrialState
from sqlalchemy import create_engine, text

from explorer.search import shared_study
from explorer.search.driver import run_study
from explorer.search.observer import Observer
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from explorer.workers.in_process import InProcess
from studies.definition import StudyDefinition
from studies.search_space import recall
from tests.faults.paying import Paying
from tests.support.analytic_evaluator import small_study
from tests.support.forked_processes import start
from tests.support.postgres_server import binaries, new_database, server

NAME = "study"
ENOUGH = 100_000  # search trials: no driver comes to the end of the study before it is killed
PATIENCE = 120.0
FIXED = {"right_context": [0.5, 2.0], "chunk_length": [0.5], "variants": ["Hidden-40", "Linear-40"]}
TABLES = ("trial_values", "trial_params", "trial_user_attributes", "trial_system_attributes")


@dataclass
class Tally:
    """What came of it all; the module says what each count is."""

    kills: int = 0
    trials: int = 0
    lost: int = 0
    paid_twice: int = 0
    untold: int = 0
    left_running: int = 0
    missing: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        broken = self.lost, self.paid_twice, self.left_running, self.missing, self.errors
        return not any(broken) and self.untold <= self.kills


@dataclass
class Campaign:
    """Runs of a study at `url`. folder: of ledgers, one a run. seconds: of a measurement, twice that at most."""

    url: str
    folder: Path
    seconds: float
    tally: Tally = field(default_factory=Tally)
    _ledgers: list[Paying] = field(default_factory=list)
    _finished: dict[int, tuple[object, ...]] = field(default_factory=dict)
    _complete: frozenset[str] = frozenset()
    _begun_before: Counter[str] = field(default_factory=Counter)
    _untold: Counter[str] = field(default_factory=Counter)

    def start(self, trials: int = ENOUGH) -> tuple[ForkProcess, Paying]:
        """Another driver, and what it pays with."""
        paying = Paying(self.folder / f"ledger-{len(self._ledgers)}", self.seconds)
        self._ledgers.append(paying)
        definition = small_study(trials=trials, fixed=FIXED, seed=1)
        return start(_drive, self.url, definition, paying), paying

    def kill(self, process: ForkProcess, paying: Paying) -> None:
        """Kill a driver, and count what it left."""
        process.kill()
        process.join()
        if process.exitcode != -9:
            self.tally.errors.append(f"a driver ended by itself, with {process.exitcode}")
        self.tally.kills += 1
        time.sleep(0.2)  # what it had sent may land after its death
        self.look()
        if lost := paying.made().keys() - self._complete:
            self.tally.untold += len(lost)
            self._untold.update(lost)

    def begun(self) -> bool:
        """Whether anything was ever measured."""
        return bool(self._all("begun"))

    def wait(self, dice: random.Random) -> None:
        """Until a kill: every third comes at any moment, the others after some measurements."""
        if dice.randrange(3):
            wanted = self._all("begun").total() + dice.randrange(1, 9)
            deadline = time.monotonic() + PATIENCE
            while self._all("begun").total() < wanted and time.monotonic() < deadline:
                time.sleep(0.005)
        time.sleep(dice.uniform(0.0, 4 * self.seconds))

    def look(self) -> None:
        """Count what was broken since the last look."""
        begun = self._all("begun")
        again = begun - self._begun_before
        self.tally.paid_twice += sum(again[point] for point in self._complete)
        finished, complete = _read(self.url)
        self.tally.lost += sum(finished.get(number) != row for number, row in self._finished.items())
        self._finished, self._complete = finished, complete
        self._begun_before = self._all("begun")

    def end(self) -> None:
        """Run the study to its end undisturbed, and count what only the end can tell."""
        known = load_study(NAME, self.url).get_trials(deepcopy=False) if self._finished else []
        searched = sum(record.origin_of(trial) == record.SEARCH for trial in known)
        process, _ = self.start(searched + 3)
        process.join(PATIENCE)
        if process.exitcode != 0:
            self.tally.errors.append(f"the last run ended with {process.exitcode}")
            process.kill()
            return
        self.look()
        trials = load_study(NAME, self.url).trials
        self.tally.trials = len(trials)
        self.tally.left_running += sum(not trial.state.is_finished() for trial in trials)
        space = small_study(fixed=FIXED).space
        measured = Counter(repr(recall(trial, space)) for trial in trials if record.is_measured(trial))
        self.tally.paid_twice += sum(count - 1 for count in measured.values())
        made = self._all("made")
        self.tally.paid_twice += sum(max(0, count - 1 - self._untold[point]) for point, count in made.items())
        complete = {record.origin_of(trial) for trial in trials if trial.state is TrialState.COMPLETE}
        fixed = {record.origin_of(trial) for trial in trials} - {record.SEARCH}
        assert len(fixed) == 6, f"the baseline, three of figures and two of Table 1: {sorted(fixed)}"
        self.tally.missing += sorted(fixed - complete)

    def _all(self, what: str) -> Counter[str]:
        return sum((paying.begun() if what == "begun" else paying.made() for paying in self._ledgers), Counter())


def campaign(url: str, folder: Path, kills: int, dice: random.Random, seconds: float = 0.1) -> Tally:
    """Kill one of two drivers so often, both at last, then let the study end."""
    runs = Campaign(url, folder, seconds)
    driving = [runs.start(), runs.start()]
    for _ in range(kills - 2):
        runs.wait(dice)
        victim = dice.randrange(2)
        runs.kill(*driving[victim])
        driving[victim] = runs.start()
    while not runs.begun():  # at least one is killed at work
        time.sleep(0.01)
    runs.wait(dice)
    runs.kill(*driving[0])
    runs.kill(*driving[1])
    runs.end()
    return runs.tally


def _drive(url: str, definition: StudyDefinition, paying: Paying) -> None:
    shared_study.LOOK = 0.05
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with InProcess(paying(), Observer().trial_progress) as workers:
        run_study(NAME, definition, workers, url)


def _read(url: str) -> tuple[dict[int, tuple[object, ...]], frozenset[str]]:
    """Every row of each finished trial, by number, and the points that are complete."""
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        if not connection.scalar(text("SELECT to_regclass('trials') IS NOT NULL")):
            return {}, frozenset()
        trials = connection.execute(text("SELECT * FROM trials")).mappings().all()
        parts = {
            table: [tuple(row) for row in connection.execute(text(f"SELECT trial_id, t.* FROM {table} t ORDER BY 2"))]
            for table in TABLES
        }
    engine.dispose()
    by_trial: dict[int, list[object]] = {}
    for table in TABLES:
        for row in parts[table]:
            by_trial.setdefault(row[0], []).append((table, row))
    over = {str(state) for state in ("COMPLETE", "PRUNED", "FAIL")}
    finished = {
        int(row["number"]): (tuple(row.values()), *by_trial.get(row["trial_id"], ()))
        for row in trials
        if str(row["state"]) in over
    }
    if not trials:
        return finished, frozenset()
    space = small_study(fixed=FIXED).space
    complete = load_study(NAME, url).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return finished, frozenset(repr(recall(trial, space)) for trial in complete if trial.number in finished)


def main() -> int:
    """Run the campaign; returns 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    programs = binaries()
    assert programs is not None, "no PostgreSQL server is installed: apt-get install postgresql"
    with server(programs) as socket, tempfile.TemporaryDirectory() as folder:
        tally = campaign(new_database(socket), Path(folder), given.kills, random.Random(given.seed))
    print("\n".join(f"{key}: {value}" for key, value in vars(tally).items()))
    print("every promise kept" if tally.clean else "BROKEN")
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
