"""The campaign against the driver, in short; and that it would see what it looks for."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from explorer.search import driver
from tests.faults.kill_driver import NAME, Fast, Tally, campaign, warm_up
from tests.faults.readings import read
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study

# the last one is the baseline's twin: what the baseline cost must not be paid again after the kills between them
FIXED = {"right_context": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0], "chunk_length": [0.5, 1.0]}


@pytest.fixture(scope="module", autouse=True)
def warm(migrations_read_once: None) -> None:
    """Runs are forked from a process that has imported and read what a run needs."""
    warm_up()


def killed(folder: Path, kills: int) -> Tally:
    definition = small_study(trials=12, fixed=FIXED, limits={"latency": 4.0})
    return campaign(Fast(definition, folder, seconds=0.003), kills, longest=0.3, dice=random.Random(0))


def test_a_driver_killed_at_random_loses_nothing_and_pays_nothing_twice(tmp_path: Path) -> None:
    tally = killed(tmp_path, 8)
    assert tally.clean(), tally
    assert len(tally.hits) == 8
    assert tally.trials > 12


def test_the_campaign_sees_a_driver_that_does_not_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "fail_abandoned", lambda study, held: None)
    assert killed(tmp_path, 3).left_running


def test_the_campaign_sees_a_driver_that_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.KnownPoints, "of", classmethod(lambda ledger, space, trials: ledger(space)))
    assert killed(tmp_path, 1).paid_twice


def test_a_reading_sees_every_change_of_a_finished_trial(url: str, tmp_path: Path) -> None:
    run_study(NAME, small_study(), AnalyticEvaluator(), url)
    file = Path(url.removeprefix("sqlite:///"))
    before = read(file, NAME)
    assert before.finished == {0, 1, 2, 3}
    assert read(file, NAME).lost_since(before) == []
    for number, table in enumerate(("trial_values", "trial_params", "trial_user_attributes")):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(f"DELETE FROM {table} WHERE trial_id = ?", (number + 1,))
    assert read(file, NAME).lost_since(before) == [0, 1, 2]
