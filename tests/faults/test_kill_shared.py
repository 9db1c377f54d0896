"""Two drivers on one study in PostgreSQL: kills at random moments, and a host that vanishes and comes back."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from explorer.search import shared_study
from explorer.storage.connection import load_study
from objectives.errors import StudyError
from tests.explorer.search.test_two_drivers import check_ended, terminate_drivers
from tests.faults.kill_shared import campaign
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study
from tests.support.forked_processes import PATIENCE, start


def test_killed_drivers_lose_nothing_and_pay_nothing_twice(postgres_url: str, tmp_path: Path) -> None:
    tally = campaign(postgres_url, tmp_path, 3, random.Random(1), seconds=0.05)
    assert tally.clean, tally
    assert tally.kills == 3


def _drive(url: str, gate: Path, said: Path) -> None:
    def wait(point: object) -> None:
        gate.with_name("measuring").touch()
        while not gate.exists():
            time.sleep(0.01)

    try:
        run_study("study", small_study(), AnalyticEvaluator(before=wait), url)
    except StudyError as error:
        said.write_text(str(error))
        sys.exit(1)


def test_a_host_that_vanished_and_comes_back_writes_nothing(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still in the middle of a measurement, and the server gives its connection up."""
    monkeypatch.setattr(shared_study, "LOOK", 0.05)
    gate, said = tmp_path / "gate", tmp_path / "said"
    lost = start(_drive, postgres_url, gate, said)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "measuring").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert lost.pid is not None
    os.kill(lost.pid, signal.SIGSTOP)
    try:
        terminate_drivers(postgres_url)
        run_study("study", small_study(), AnalyticEvaluator(), postgres_url)
        ended = check_ended(postgres_url, small_study(), 3)
        gate.touch()
    finally:
        os.kill(lost.pid, signal.SIGCONT)
    lost.join(PATIENCE)
    assert lost.exitcode == 1
    assert "trial 0 was ended by another program while this one measured it" in said.read_text()
    assert ended[0].state is TrialState.FAIL
    assert load_study("study", postgres_url).trials == ended
