"""`kill -9` of the driver of a running study, again and again: `python -m tests.faults.kill_driver --kills 50`.

Each round starts or resumes the study in a session of its own, and kills it at a random moment: every process of the
session, or the driver alone, by turns. Before the next round the database is read from a copy. At the end the study
runs to its end undisturbed. Counted are

- lost: finished trials that are not there any more, row by row, as they were read before;
- paid twice: points that are complete twice without one being reused from the other, or whose measurement was begun
  when they were complete already;
- untold: points measured to their end and not complete after the kill: what a kill may cost, one a job at most;
- left running: trials of a dead driver that run on when the next one has begun others, or when all has ended;
- orphans: processes of the session that outlive a killed driver;
- missing: fixed points that are not complete at the end;
- errors: runs that ended by themselves, and badly.

The fast form evaluates by a formula, in little time. `--real` kills `explorer run` on 12 s of audio, with a cache of
its own, so that it is killed while it starts, reads recordings, makes models and measures.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import psutil
from optuna.trial import TrialState

from explorer.search import fixed_trials
from explorer.search.driver import run_study
from explorer.search.observer import Observer
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from explorer.workers.dask_cluster import local_workers
from explorer.workers.in_process import InProcess
from studies import definition as definitions
from studies.definition import StudyDefinition
from studies.search_space import recall
from tests.faults.paying import Paying
from tests.faults.readings import Reading, copied, read

ROOT = Path(__file__).resolve().parents[2]
NAME = "study"
DATABASE = "studies.db"
GRACE = 30.0  # seconds for the processes of a dead driver to end
PATIENCE = 3600.0  # seconds for the last run to come to its end
REAL = """\
sampler = "random"
trials = 3
[space]
chunk_length = [0.5, 5.0]
[recovery]
steps = 4
qat_steps = 2
windows = 16
batch = 4
[cost]
repeats = 3
[fixed]
right_context = [0.5]
variants = ["Hidden-40"]
precisions = ["int8_ptq"]
table2_variant = "calib"
"""
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Hit:
    """One kill. whole: of the driver's whole session, or of the driver alone. seconds: after its start. where: what it
    was at. finished: trials by then."""

    number: int
    whole: bool
    seconds: float
    where: str
    finished: int


@dataclass
class Tally:
    """What came of it all; the module says what each count is. resumes: runs that found a study."""

    hits: list[Hit] = field(default_factory=list)
    resumes: int = 0
    trials: int = 0
    lost: int = 0
    paid_twice: int = 0
    untold: int = 0
    left_running: int = 0
    orphans: int = 0
    missing: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def clean(self, jobs: int = 1) -> bool:
        """Whether every promise was kept."""
        broken = self.lost, self.paid_twice, self.left_running, self.orphans, self.missing, self.errors
        return not any(broken) and self.untold <= jobs * len(self.hits)


@dataclass(frozen=True)
class Fast:
    """Runs by a formula, forked from this process."""

    definition: StudyDefinition
    folder: Path
    seconds: float
    jobs: int = 1

    def paying(self, number: int) -> Paying:
        """What run `number` pays with."""
        return Paying(self.folder / f"ledger-{number}", self.seconds)

    def moment(self, number: int, process: psutil.Process, longest: float, dice: random.Random) -> float:
        """Seconds until the kill: from now in every third run, else from the time when so many lines are paid for."""
        lines = dice.randrange(1, 9)
        if number % 3 == 0:
            return dice.uniform(0.0, longest)
        paying = self.paying(number)
        while sum((paying.begun() + paying.made()).values()) < lines and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.001)
        return dice.uniform(0.0, 2 * self.seconds)

    def start(self, number: int, trials: int) -> psutil.Process:
        ready = self.folder / f"ready-{number}"
        process = FORK.Process(target=self._run, args=(number, trials, ready))
        process.start()
        assert process.pid is not None
        while not ready.exists():  # only then may a kill of its session not be one of ours
            time.sleep(0.001)
        return psutil.Process(process.pid)

    def _run(self, number: int, trials: int, ready: Path) -> None:
        os.setsid()
        ready.touch()
        self.run(number, trials)

    def run(self, number: int, trials: int) -> None:
        """Run the study to its end, in this process."""
        build = self.paying(number)
        if self.jobs == 1:
            workers = InProcess(build(), Observer().trial_progress)
        else:
            workers = local_workers(self.jobs, build, Observer().trial_progress)
        with workers:
            run_study(NAME, self.definition.vary("a campaign", trials=trials), workers, _url(self.folder))


@dataclass(frozen=True)
class Real:
    """Runs of `explorer run` on a small corpus, with a cache of their own that holds nothing but assets."""

    definition: StudyDefinition
    folder: Path
    file: Path
    jobs: int = 1

    def paying(self, number: int) -> None:
        """Nobody keeps count of what is measured for real."""

    def moment(self, number: int, process: psutil.Process, longest: float, dice: random.Random) -> float:
        """Seconds until the kill."""
        return dice.uniform(0.0, longest)

    def start(self, number: int, trials: int) -> psutil.Process:
        command = [sys.executable, "-m", "explorer", "run", str(self.file), "--name", NAME, "--trials", str(trials)]
        command += ["--storage", _url(self.folder), "--corpus", str(self.folder / "corpus"), "--jobs", str(self.jobs)]
        environment = os.environ | {"EXPLORER_CACHE": str(self.folder / "cache")}
        with (self.folder / "log").open("ab") as log:
            return psutil.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)


@dataclass(frozen=True)
class Seen:
    """What lay in the database after a run. complete: the points that are, as the ledger writes them."""

    rows: Reading = field(default_factory=Reading)
    complete: frozenset[str] = frozenset()


def campaign(
    runs: Fast | Real, kills: int, longest: float, dice: random.Random, say: Callable[[str], None] = lambda line: None
) -> Tally:
    """Kill the study so often, then let it end. One that comes to its end before its kill gets a larger budget.

    longest: seconds from a start to its kill, of the kills that do not wait for a measurement.
    """
    tally, before, number = Tally(), Seen(), 0
    trials = runs.definition.trials
    while len(tally.hits) < kills and not tally.errors:
        number += 1
        whole = len(tally.hits) % 2 == 0
        process = runs.start(number, trials)
        began = time.monotonic()
        status = _kill(process, runs.moment(number, process, longest, dice), whole)
        seconds = time.monotonic() - began
        now = _look(runs, number, process.pid, status, before, tally)
        if status is None:
            hit = Hit(len(tally.hits) + 1, whole, seconds, _where(runs, number, now), len(now.rows.finished))
            tally.hits.append(hit)
            say(told(hit))
        else:
            trials += max(1, runs.definition.trials // 2)
        before = now
    if not tally.errors:
        process = runs.start(number + 1, trials)
        now = _look(runs, number + 1, process.pid, process.wait(timeout=PATIENCE), before, tally)
        _finish(runs, now, tally)
    return tally


def _kill(process: psutil.Process, wait: float, whole: bool) -> int | None:
    """Kill a driver, with its session or alone, so many seconds from now. Returns its exit status where it was
    quicker."""
    try:
        return int(process.wait(timeout=wait))
    except psutil.TimeoutExpired:
        if whole:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        return None


def _look(runs: Fast | Real, number: int, session: int, status: int | None, before: Seen, tally: Tally) -> Seen:
    """Read what a run left, and count what it broke. status: of its end, None where it was killed."""
    tally.orphans += _orphans(session)
    if status:
        tally.errors.append(f"run {number} ended by itself, with status {status}")
    rows = read(runs.folder / DATABASE, NAME)
    tally.resumes += before.rows.exists
    tally.lost += len(rows.lost_since(before.rows))
    of_the_dead = before.rows.running & rows.running
    if status == 0 or rows.running > of_the_dead:  # whoever begins trials has mended first
        tally.left_running += len(of_the_dead)
    complete = _complete(runs) if rows.exists else frozenset()
    if (paying := runs.paying(number)) is not None:
        begun, made = paying.begun(), paying.made()
        tally.paid_twice += sum(begun[point] for point in before.complete)
        tally.paid_twice += sum(count - 1 for count in made.values())
        tally.untold += len(made.keys() - complete)
    return Seen(rows, complete)


def _complete(runs: Fast | Real) -> frozenset[str]:
    with copied(runs.folder / DATABASE) as copy:
        study = load_study(NAME, f"sqlite:///{copy}")
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return frozenset(repr(recall(trial, runs.definition.space)) for trial in trials)


def _finish(runs: Fast | Real, last: Seen, tally: Tally) -> None:
    """Count what only the end can tell."""
    tally.trials = len(last.rows.states)
    tally.left_running += len(last.rows.states.keys() - last.rows.finished)
    study = load_study(NAME, _url(runs.folder))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    measured = Counter(recall(trial, runs.definition.space) for trial in complete if record.is_measured(trial))
    tally.paid_twice += sum(count - 1 for count in measured.values())
    origins = {record.origin_of(trial) for trial in complete}
    fixed = fixed_trials.fixed_points(study, runs.definition)
    tally.missing += [point.origin for point in fixed if point.origin not in origins]


def _orphans(session: int) -> int:
    """Processes of a session that are still there after GRACE; they are ended then."""
    deadline = time.monotonic() + GRACE
    while left := [process for process in psutil.process_iter() if _lives_in(process, session)]:
        if time.monotonic() > deadline:
            for process in left:
                process.kill()
            break
        time.sleep(0.01)
    return len(left)


def _lives_in(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def _where(runs: Fast | Real, number: int, now: Seen) -> str:
    """What a killed run was at, by what it left."""
    rows = now.rows
    if not rows.exists:
        return "before there was a study"
    if not rows.running:
        return "before its first trial" if not rows.finished else "between trials, or starting"
    names = ", ".join(str(trial) for trial in sorted(rows.running))
    paying = runs.paying(number)
    if paying is None:
        return f"trial {names} running"
    if paying.made().keys() - now.complete:
        return f"trial {names} measured, not told"
    begun = paying.begun()
    return f"trial {names} measuring" if begun else f"trial {names} asked, or of the one before"


def told(hit: Hit) -> str:
    """A line of the table."""
    what = "session" if hit.whole else "driver"
    return f"{hit.number:>5}  {what:<8} {hit.seconds:>8.3f} s  {hit.finished:>8}  {hit.where}"


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / DATABASE}"


def _real(folder: Path, trials: int | None, jobs: int) -> Real:
    """A study of 12 s excerpts whose models are made within seconds. Wants the assets to be there."""
    from objectives.cache.files import cache_dir
    from tests.support.real_excerpts import write_excerpts

    (folder / "corpus").mkdir()
    write_excerpts(folder / "corpus", train=("trn00", "trn01"))
    (folder / "cache").mkdir()
    (folder / "cache" / "assets").symlink_to(cache_dir() / "assets")
    file = folder / f"{NAME}.toml"
    file.write_text(REAL)
    return Real(definitions.read(file).vary("--trials", trials=trials), folder, file, jobs)


def warm_up() -> None:
    """Have what a run imports late imported before the first fork: a run would be killed while it imports."""
    with tempfile.TemporaryDirectory() as name:
        runs = Fast(definitions.parse({"trials": 12}, "a campaign"), Path(name), 0.0)
        runs.run(0, 12)


def main(words: Sequence[str] | None = None) -> int:
    """Run the campaign; returns 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--study", default="quickstart", help="of the fast form: a packaged study or a .toml file")
    parser.add_argument("--trials", type=int, help="search trials to begin with")
    parser.add_argument("--real", action="store_true", help="kill `explorer run`")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--seconds", type=float, default=0.02, help="of a measurement in the fast form")
    parser.add_argument("--longest", type=float, help="seconds from a start to its kill, at most")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    given = parser.parse_args(words)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="kill-driver-") as name:
        folder = Path(name)
        runs: Fast | Real
        if given.real:
            runs = _real(folder, given.trials, given.jobs)
        else:
            warm_up()
            _, definition = definitions.find(given.study)
            runs = Fast(definition.vary("--trials", trials=given.trials), folder, given.seconds, given.jobs)
        longest = given.longest or (60.0 if given.real else 1.0 if given.jobs == 1 else 8.0)
        say = print if given.format == "table" else lambda line: None
        say(" kill  of             after  finished  at")
        tally = campaign(runs, given.kills, longest, random.Random(given.seed), say)
        if given.real and tally.errors:
            tally.errors += (folder / "log").read_text().splitlines()[-5:]
    clean = tally.clean(given.jobs)
    if given.format == "json":
        print(json.dumps(dataclasses.asdict(tally) | {"clean": clean}, indent=2))
    else:
        counts = {key: value for key, value in dataclasses.asdict(tally).items() if key != "hits"}
        print("\n".join([f"kills: {len(tally.hits)}", *(f"{key}: {value}" for key, value in counts.items())]))
        print("every promise kept" if clean else "BROKEN")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
