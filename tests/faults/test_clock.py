"""A clock that is set back while a study runs: nothing that is decided or shown may depend on the time of day."""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial
from rich.console import Console

from explorer.atomic_files import appearing
from explorer.front.pareto import front
from explorer.report.report import compose
from explorer.search.display import Display
from explorer.search.status import status
from explorer.storage.connection import load_study
from explorer.storage.snapshot import SnapshotStorage, Source
from objectives.operating_point import OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study

DEFINITION = {"trials": 8, "sampler": "tpe", "fixed": {"right_context": [0.5, 1.0], "chunk_length": [0.5]}}


class Clock:
    """The time of day, until it is set back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.back = timedelta()
        clock, seconds = self, time.time

        class SetBack(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) - clock.back

        monkeypatch.setattr("optuna.storages._rdb.storage.datetime", SetBack)
        monkeypatch.setattr("explorer.storage.bulk_sql.datetime", SetBack)
        monkeypatch.setattr(time, "time", lambda: seconds() - clock.back.total_seconds())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def told(trial: FrozenTrial) -> tuple[object, ...]:
    """All of a trial but when it was."""
    attributes = {key: value for key, value in trial.user_attrs.items() if key != "seconds"}
    return trial.number, trial.state, trial.values, trial.params, attributes, trial.system_attrs


def run(url: str, clock: Clock, back: timedelta, console: Console | None = None) -> optuna.Study:
    """Run the study; the clock is set back while its third point is measured."""
    evaluator = AnalyticEvaluator()

    def before(point: OperatingPoint) -> None:
        clock.back = back if len(evaluator.calls) >= 2 else timedelta()

    evaluator.before = before
    with Display(console or Console(quiet=True)) as display:
        return run_study("study", small_study(**DEFINITION), evaluator, url, display).study


def test_a_study_comes_to_the_same_end(url: str, tmp_path: Path, clock: Clock) -> None:
    console = Console(record=True, width=200, file=(tmp_path / "said").open("w"))
    trials = run(url, clock, timedelta(days=1), console).trials
    assert any(trial.duration < timedelta() for trial in trials), "the clock was not set back"
    other = run(url.replace("studies", "others"), clock, timedelta()).trials
    assert [told(trial) for trial in trials] == [told(trial) for trial in other]
    said = console.export_text()
    assert "(0.0 s)" in said
    assert "-" not in "".join(line.rpartition("(")[2] for line in said.splitlines() if line.endswith(" s)"))
    assert status(load_study("study", url)).seconds >= 0
    evaluator = AnalyticEvaluator()
    assert run_study("study", small_study(**DEFINITION), evaluator, url).trials == 0  # by a clock that is still back
    assert evaluator.calls == []


def test_what_is_shown_of_it_is_the_same(url: str, tmp_path: Path, clock: Clock) -> None:
    study = run(url, clock, timedelta(days=366))
    straight = run(url.replace("studies", "others"), clock, timedelta())
    assert front(study) == front(straight)
    ours, theirs = status(study), status(straight)
    assert (ours.states, ours.best, ours.remaining) == (theirs.states, theirs.best, theirs.remaining)
    source = Source(url)
    source.copy_to(tmp_path / "first.db")
    clock.back = timedelta(days=800)
    assert not source.has_changed()
    study.ask()
    assert source.has_changed()
    source.copy_to(tmp_path / "second.db")
    second = SnapshotStorage(tmp_path / "second.db", url)
    assert optuna.load_study(study_name="study", storage=second).trials == load_study("study", url).trials
    assert len(compose(study).exhibits) > 2


def test_a_failed_trial_takes_no_negative_time(url: str, clock: Clock, tmp_path: Path) -> None:
    def fail(point: OperatingPoint) -> None:
        clock.back = timedelta(days=1)

    evaluator = AnalyticEvaluator(before=fail, fails=frozenset({OperatingPoint()}))
    console = Console(record=True, width=200, file=(tmp_path / "said").open("w"))
    with Display(console) as display:
        run_study("study", small_study(trials=0, fixed={}), evaluator, url, display)
    assert "failed after 0.0 s" in console.export_text()


def test_what_a_dead_export_left_in_the_future_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".bundle.deaddead.part"
    left.mkdir()
    os.utime(left, (time.time() + 86_400.0,) * 2)
    with appearing(tmp_path / "bundle", replace=True) as staged:
        (staged / "file").touch()
    assert not left.exists()
