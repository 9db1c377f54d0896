"""Copying a storage: the copy is equal, the original is untouched and never held up, changes are noticed."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import Connection

from explorer.storage.connection import load_study
from explorer.storage.snapshot import SnapshotStorage, Source
from objectives.errors import StudyError
from tests.support import dashboard_study
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def tables(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in sorted(names)}


def as_uri(url: str) -> str:
    """The same database under a URL that is copied row by row, as a server's is."""
    return f"sqlite:///file:{file_of(url)}?uri=true"


def as_file(url: str) -> str:
    return url


@pytest.fixture
def study(url: str) -> optuna.Study:
    run_study("study", small_study(trials=2), AnalyticEvaluator(), url)
    return load_study("study", url)


@pytest.mark.parametrize("named", [as_file, as_uri])
def test_a_copy_has_every_row(study: optuna.Study, url: str, tmp_path: Path, named) -> None:
    other = optuna.create_study(study_name="not ours", storage=url)
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    study.ask()
    Source(named(url)).copy_to(tmp_path / "copy.db")
    copied = tables(tmp_path / "copy.db")
    assert copied == tables(file_of(url))
    assert len(copied["studies"]) == 2
    assert len(copied["trials"]) == 8


def test_the_original_is_read_and_nothing_else(study: optuna.Study, url: str, tmp_path: Path) -> None:
    study._storage._backend.engine.dispose()
    file = file_of(url)
    os.utime(file, ns=(1, 1))
    before = file.read_bytes()
    source = Source(url)
    assert source.has_changed()
    source.copy_to(tmp_path / "copy.db")
    assert not source.has_changed()
    SnapshotStorage(tmp_path / "copy.db", url).set_study_user_attr(1, "written", "into the copy")
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, 1)
    study.set_user_attr("written", "into the original")
    assert load_study("study", url).user_attrs["written"] == "into the original"


def test_a_copy_waits_for_no_writer_and_none_waits_for_it(study: optuna.Study, url: str, tmp_path: Path) -> None:
    source = Source(url)
    writer = sqlite3.connect(file_of(url), timeout=0)  # gives up at once where it is locked out
    writer.execute("INSERT INTO studies (study_name) VALUES ('half written')")  # and does not commit
    source.copy_to(tmp_path / "during.db")
    assert [name for _, name in tables(tmp_path / "during.db")["studies"]] == ["study"]
    with source._reading() as reader:  # a copy in the middle
        reader.exec_driver_sql("SELECT * FROM trials").all()
        writer.commit()
    writer.close()
    source.copy_to(tmp_path / "after.db")
    assert [name for _, name in tables(tmp_path / "after.db")["studies"]] == ["study", "half written"]


@pytest.mark.parametrize("named", [as_file, as_uri])
def test_what_counts_as_a_change(study: optuna.Study, url: str, tmp_path: Path, named) -> None:
    source = Source(named(url))

    def changed() -> bool:
        found = source.has_changed()
        (tmp_path / "copy.db").unlink(missing_ok=True)
        source.copy_to(tmp_path / "copy.db")
        return found

    assert changed()
    assert not changed()
    study.set_user_attr("remark", "no trial")
    assert not changed()
    trial = study.ask()
    assert changed()
    study.tell(trial, state=TrialState.FAIL)
    assert changed()
    optuna.create_study(study_name="another", storage=url)
    assert changed()
    optuna.delete_study(study_name="another", storage=url)
    assert changed()


@pytest.mark.parametrize("named", [as_file, as_uri])
def test_what_happens_while_a_copy_is_made_is_still_a_change(
    study: optuna.Study, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named
) -> None:
    reading, asked = Source._reading, []

    @contextmanager
    def then_asked(source: Source) -> Iterator[Connection]:
        with reading(source) as connection:
            yield connection
        if not asked:  # between the look at how far the studies are and the copy, whichever comes first
            asked.append(study.ask())

    source = Source(named(url))
    monkeypatch.setattr(Source, "_reading", then_asked)
    source.copy_to(tmp_path / "copy.db")
    assert asked
    assert source.has_changed()


def test_what_failed_to_be_copied_is_still_a_change(study: optuna.Study, url: str, tmp_path: Path) -> None:
    source = Source(url)
    with pytest.raises(StudyError, match="cannot be read"):
        source.copy_to(tmp_path / "no such folder" / "copy.db")
    assert source.has_changed()


@pytest.mark.parametrize(
    ("statement", "message"),
    [("CREATE TABLE songs (title)", "is not a study storage"), (None, "there is no study storage")],
)
def test_what_is_no_storage(tmp_path: Path, statement: str | None, message: str) -> None:
    if statement:
        with sqlite3.connect(tmp_path / "other.db") as connection:
            connection.execute(statement)
    with pytest.raises(StudyError, match=message):
        Source(f"sqlite:///{tmp_path}/other.db").copy_to(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize("named", [as_file, as_uri])
def test_another_version_of_optuna_is_named(study: optuna.Study, url: str, tmp_path: Path, named) -> None:
    with sqlite3.connect(file_of(url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")

    def copy() -> None:
        Source(named(url)).copy_to(tmp_path / "copy.db")
        SnapshotStorage(tmp_path / "copy.db", url)

    with pytest.raises(StudyError, match="another version of Optuna"):
        copy()


def test_a_password_is_never_shown() -> None:
    assert "secret" not in Source("postgresql+psycopg://me:secret@nowhere/studies").name


# --- reading a copy


def test_trials_are_as_optuna_reads_them(url: str, tmp_path: Path) -> None:
    dashboard_study.run(url, trials=5)
    study = load_study(dashboard_study.NAME, url)
    study.enqueue_trial({"precision": "fp32"})
    Source(url).copy_to(tmp_path / "copy.db")
    copy = optuna.load_study(study_name=dashboard_study.NAME, storage=SnapshotStorage(tmp_path / "copy.db", url))
    assert copy.trials == study.trials
    waiting = copy._storage.get_all_trials(copy._study_id, states=(TrialState.WAITING,))
    assert [trial.number for trial in waiting] == [len(study.trials) - 1]


def test_trials_of_others_keep_their_intermediate_values(url: str, tmp_path: Path) -> None:
    study = optuna.create_study(study_name="not ours", storage=url)
    trial = study.ask()
    trial.report(0.5, step=3)
    study.tell(trial, 1.0)
    Source(url).copy_to(tmp_path / "copy.db")
    (read,) = SnapshotStorage(tmp_path / "copy.db", url).get_all_trials(1)
    assert read.intermediate_values == {3: 0.5}
