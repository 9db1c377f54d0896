"""A study in PostgreSQL, in a server of the test's own. Skipped where there is none: `apt-get install postgresql` and
`pip install -e ".[dev]"`, whose driver is psycopg, are what it takes."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner

from explorer.cli import app
from explorer.front.pareto import front
from explorer.search.status import status
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study, open_storage
from explorer.storage.snapshot import SnapshotStorage, Source
from objectives.errors import StudyError
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, run_study, small_study


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


def test_a_study_is_run_and_resumed(url: str) -> None:
    run_study("study", small_study(trials=2), AnalyticEvaluator(), url)
    evaluator = AnalyticEvaluator()
    study = run_study("study", small_study(trials=5), evaluator, url).study
    trials = study.trials
    assert [record.origin_of(trial) for trial in trials] == [*ORIGINS, *["search"] * 5]
    assert len(evaluator.calls) <= 3  # what the first run measured is not measured again
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    assert run_study("study", small_study(trials=5), AnalyticEvaluator(), url).trials == 0


def test_the_tables_are_read_and_written_as_optuna_does(url: str) -> None:
    definition = small_study(trials=6, limits={"latency": 1.25})
    run_study("other", small_study(), AnalyticEvaluator(), url)
    run_study("study", definition, AnalyticEvaluator(), url)
    study = load_study("study", url)
    assert bulk_sql.read(study, range(len(study.trials))) == dict(enumerate(study.trials))
    assert any(record.exceeded(trial) for trial in bulk_sql.skim(study, ()))
    memory = optuna.create_study(study_name="study", directions=study.directions)
    memory.add_trials(study.trials)
    for key, value in study.user_attrs.items():
        memory.set_user_attr(key, value)
    assert front(study) == front(memory)
    assert status(study) == status(memory)


def test_the_commands_read_it(url: str) -> None:
    run_study("study", small_study(), AnalyticEvaluator(), url)
    shown = CliRunner().invoke(app, ["front", "study", "--storage", url, "--format", "csv"])
    assert shown.exit_code == 0
    assert len(shown.stdout.splitlines()) >= 1 + len(ORIGINS)
    shown = CliRunner().invoke(app, ["status", "study", "--storage", url])
    assert "3 complete" in shown.stdout or "4 complete" in shown.stdout


def test_it_is_copied_to_be_looked_at(url: str, tmp_path: Path) -> None:
    run_study("study", small_study(trials=2), AnalyticEvaluator(), url)
    source = Source(url)
    assert source.has_changed()
    source.copy_to(tmp_path / "copy.db")
    assert not source.has_changed()
    study = load_study("study", url)
    copy = optuna.load_study(study_name="study", storage=SnapshotStorage(tmp_path / "copy.db", url))
    assert copy.trials == study.trials
    assert copy.user_attrs == study.user_attrs
    assert copy.directions == study.directions
    study.ask()
    assert source.has_changed()


def test_what_cannot_be_used_is_said(url: str) -> None:
    run_study("present", small_study(trials=0, fixed={}), AnalyticEvaluator(), url)
    with pytest.raises(StudyError, match="it holds: present"):
        load_study("absent", url)
    absent = url.replace("studies_", "no_such_database_").replace("explorer@", "explorer:secret@")
    with pytest.raises(StudyError, match="cannot be used as a study storage") as caught:
        open_storage(absent)
    assert "secret" not in str(caught.value)
