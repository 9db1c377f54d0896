"""What is read from and written to Optuna's tables many rows at a time, beside what Optuna reads and writes itself."""

import io
import sys
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from sqlalchemy import text

from explorer.front.pareto import front
from explorer.search.display import Display
from explorer.search.status import ATTRIBUTES, best_values, status
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study, open_storage
from explorer.storage.snapshot import Source
from explorer.storage.study_record import DEFINITION
from objectives.errors import StudyError
from objectives.operating_point import BASELINE, OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study

# a study with trials of every kind: complete, stopped, failed, reused, waiting and running, within and over a budget
LIMITS = {"latency": 1.25, "size": 4.0}
FIXED = {"right_context": [0.5], "chunk_length": [0.5, 1.0]}
FAILS = frozenset({OperatingPoint(1.0, 0.5)})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A storage with a study that has a trial in every state, and another study."""
    url = f"sqlite:///{tmp_path_factory.mktemp('made')}/studies.db"
    run_study("other", small_study(trials=2), AnalyticEvaluator(), url)
    definition = small_study(trials=12, fixed=FIXED, limits=LIMITS)
    run_study("study", definition, AnalyticEvaluator(fails=FAILS), url)
    study = load_study("study", url)
    study.ask()
    study.enqueue_trial({"precision": "fp32"}, user_attrs={record.ORIGIN: "paper:figure1:R=5"})
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING}
    assert any(record.exceeded(trial) for trial in study.trials)
    return Source(url)


@pytest.fixture
def study(made: Source, url: str, tmp_path: Path) -> optuna.Study:
    """A copy of one's own."""
    made.copy_to(tmp_path / "studies.db")
    return load_study("study", url)


def test_trials_are_read_as_optuna_reads_them(study: optuna.Study) -> None:
    trials = study.trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert bulk_sql.read(study, range(len(trials))) == dict(enumerate(trials))
    assert bulk_sql.read(study, [3, 1]) == {1: trials[1], 3: trials[3]}
    assert bulk_sql.read(study, []) == {}


def test_a_skim_leaves_out_what_nobody_asked_for(study: optuna.Study) -> None:
    def told(trial: FrozenTrial) -> tuple[object, ...]:
        attributes = {key: value for key, value in trial.user_attrs.items() if key in ATTRIBUTES}
        return trial.number, trial._trial_id, trial.state, trial.values, trial.constraints, attributes

    skimmed = bulk_sql.skim(study, ATTRIBUTES)
    assert [told(trial) for trial in skimmed] == [told(trial) for trial in study.trials]
    assert not any(trial.params or "recordings" in trial.user_attrs for trial in skimmed)
    assert all(key.startswith("constraints") for trial in skimmed for key in trial.system_attrs)


def test_front_and_status_are_those_of_trials_in_memory(study: optuna.Study) -> None:
    """A storage that is no database is read by Optuna alone."""
    memory = optuna.create_study(study_name=study.study_name, directions=study.directions)
    memory.add_trials(study.trials)
    for key, value in study.user_attrs.items():
        memory.set_user_attr(key, value)
    assert DEFINITION in memory.user_attrs
    assert {row.trial for row in front(study) if row.standing == "front"} == {t.number for t in study.best_trials}
    assert front(study) == front(memory)
    assert status(study) == status(memory)


@pytest.mark.parametrize("values", [[12.5, float("inf"), 0.1], None], ids=["complete", "stopped"])
def test_a_trial_is_ended_as_optuna_ends_it(study: optuna.Study, values: list[float] | None) -> None:
    """And all at once; what is there already is written over."""
    state = TrialState.COMPLETE if values else TrialState.PRUNED
    study.ask()  # the one that waited
    ours, theirs = study.ask(), study.ask()
    for trial_id in (ours._trial_id, theirs._trial_id):
        study._storage.set_trial_user_attr(trial_id, "a", "before")
    user, system = {"a": [1.5, None], "b": "é"}, record.constraints({"rtf": -0.5, "size": 0.25})
    told = bulk_sql.finish(study, ours._trial_id, state, values, user, system)
    for key, value in user.items():
        theirs.set_user_attr(key, value)
    for key, value in {"rtf": -0.5, "size": 0.25}.items():
        theirs.set_constraint(key, value)
    study._storage.set_trial_system_attr(theirs._trial_id, record.CONSTRAINTS, [-0.5, 0.25])
    expected = study.tell(theirs, values, state)
    facts = ("state", "values", "user_attrs", "system_attrs", "constraints", "intermediate_values")
    assert {fact: getattr(told, fact) for fact in facts} == {fact: getattr(expected, fact) for fact in facts}
    assert told == study.trials[ours.number] == load_study("study", url_of(study)).trials[ours.number]
    assert abs((expected.datetime_complete - told.datetime_complete).total_seconds()) < 60  # and in the same time zone


def test_a_finished_trial_is_not_ended_again(study: optuna.Study) -> None:
    before = study.trials
    for trial in before:
        if trial.state is not TrialState.RUNNING:
            with pytest.raises(UpdateFinishedTrialError, match="does not run any more"):
                bulk_sql.finish(study, trial._trial_id, TrialState.COMPLETE, [1.0, 2.0, 3.0], {"der": 0})
    assert load_study("study", url_of(study)).trials == before


def test_the_end_of_a_trial_is_written_whole_or_not_at_all(study: optuna.Study) -> None:
    before = study.trials
    running = next(trial for trial in before if trial.state is TrialState.RUNNING)
    with study._storage._backend.engine.begin() as connection:  # what is written last cannot be
        refuse = "WHEN NEW.objective = 2 BEGIN SELECT RAISE(ABORT, 'full'); END"
        connection.execute(text(f"CREATE TRIGGER refuse BEFORE INSERT ON trial_values {refuse}"))
    with pytest.raises(StorageInternalError, match="could not be written"):
        bulk_sql.finish(study, running._trial_id, TrialState.COMPLETE, [1.0, 2.0, 3.0], {"a": 1}, {"b": 2})
    assert load_study("study", url_of(study)).trials == before


def url_of(study: optuna.Study) -> str:
    return str(study._storage._backend.url)


def test_a_database_that_cannot_be_written_says_so(url: str) -> None:
    study = optuna.create_study(storage=open_storage(url), directions=["minimize"] * 3)
    trial = study.ask()
    study._storage._backend.engine.dispose()
    file = Path(url.removeprefix("sqlite:///"))
    for part in file.parent.glob(f"{file.name}*"):
        part.unlink()
    with pytest.raises(StorageInternalError, match="could not be written"):
        bulk_sql.finish(study, trial._trial_id, TrialState.FAIL, user={"a": 1})
    with pytest.raises(StorageInternalError, match="could not be read"):
        bulk_sql.skim(study, ())


def test_a_trial_in_memory_is_ended_too() -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    told = bulk_sql.finish(study, study.ask()._trial_id, TrialState.COMPLETE, [1.0, 2.0, 3.0], {"a": 1}, {"b": [2]})
    assert (told.state, told.values, told.user_attrs) == (TrialState.COMPLETE, [1.0, 2.0, 3.0], {"a": 1})
    assert told == study.trials[0]


def test_the_front_of_many_trials_says_who_dominates_whom(url: str) -> None:
    """The same answer as `study.best_trials`, which copies everything first."""
    study = run_study("study", small_study(trials=60, racing={"enabled": False}), AnalyticEvaluator(), url).study
    rows = front(load_study("study", url))
    assert {row.trial for row in rows if row.standing == "front"} == {trial.number for trial in study.best_trials}
    assert any(row.origin == "baseline" and row.point.chunk_length == BASELINE.chunk_length for row in rows)


def test_the_display_knows_the_best_of_all_without_looking_at_all_again(study: optuna.Study) -> None:
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    for before in range(len(finished)):
        screen = io.StringIO()
        display = Display(Console(file=screen, width=200))
        display.begin(finished[:before], total=len(finished))
        for trial in finished[before:]:
            display.trial_finished(trial)
        told = "   ".join(f"{best.metric} {best.value:.4g} #{best.trial}" for best in best_values(finished))
        assert display.best == f"best   {told}"


def test_a_missing_driver_of_postgresql_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StudyError, match=r"pip install \"explorer\[postgres\]\"") as caught:
        open_storage("postgresql://somebody:secret@localhost/studies")
    assert "secret" not in str(caught.value)
