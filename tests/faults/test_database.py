"""What can happen to a study's database, as a user meets it: full, read-only, locked, damaged, of another Optuna."""

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

import objectives.evaluation.evaluator
from explorer import cli
from explorer.storage import connection as storage
from explorer.storage.connection import load_study
from explorer.storage.errors import refusal
from explorer.storage.snapshot import SnapshotStorage, Source
from objectives.errors import StudyError
from objectives.operating_point import OperatingPoint
from tests.explorer.commands.test_dashboard_command import get, serving
from tests.faults.disks import fill, make_room, on_read_only, on_small_disk
from tests.faults.lock_database import run_locked
from tests.faults.readings import read
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, run_study, small_study

STUDY = 'trials = 3\nsampler = "random"\n[fixed]\nright_context = [0.5]\nchunk_length = [0.5]\n'
READERS = (["status", "study"], ["front", "study"], ["recommend", "study"])

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Runs `explorer ...` as its entry point does. Returns its exit status and what it said on stderr."""

    def run(*words: object, before: Callable[[OperatingPoint], None] = lambda point: None) -> tuple[int, str]:
        monkeypatch.setattr(
            objectives.evaluation.evaluator, "build_evaluator", lambda settings: AnalyticEvaluator(before=before)
        )
        monkeypatch.setattr(sys, "argv", ["explorer", *map(str, words)])
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), capfd.readouterr().err
        raise AssertionError("typer ends with SystemExit")

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk" / "studies.db"


def made(file: Path, log: bool) -> Path:
    """A database with a study of six trials, the last of them in its log, if at all; as a dead driver leaves it."""
    origin = file.with_name("origin.db")
    run_study("study", small_study(trials=3), AnalyticEvaluator(), f"sqlite:///{origin}")
    with closing(sqlite3.connect(origin)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if log:
            with connection:
                connection.execute("UPDATE study_user_attributes SET value_json = value_json")
                connection.execute("UPDATE trials SET state = 'FAIL' WHERE number = 5")
        for suffix in ("", "-wal") if log else ("",):
            shutil.copyfile(f"{origin}{suffix}", f"{file}{suffix}")
    for path in file.parent.glob("*origin*"):
        path.unlink()
    return file


@pytest.mark.parametrize(("at", "spare"), [(0, 0), (3, 24_000)])
def test_a_disk_that_fills_up_in_mid_study(
    file: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch, at: int, spare: int
) -> None:
    monkeypatch.setattr("optuna.storages._rdb.storage.time", SimpleNamespace(sleep=lambda seconds: None))
    calls = []

    def before(point: OperatingPoint) -> None:
        calls.append(point)
        if len(calls) == at + 1:
            (file.parent / "spare").write_bytes(bytes(spare))
            fill(file.parent)
            (file.parent / "spare").unlink()

    def body(disk: Path) -> None:
        where = ("--storage", f"sqlite:///{file}")
        status, said = typed("run", file.parents[1] / "study.toml", *where, before=before)
        assert status == 1
        assert f"StudyError: sqlite:///{file}: the disk is full" in said
        assert "make room there, or give another --storage; then run the same command again" in said
        assert "Traceback" not in said
        stopped = read(file, "study")
        assert typed(*READERS[0], *where) == (0, "")
        make_room(disk)
        assert typed("run", file.parents[1] / "study.toml", *where)[0] == 0
        ended = read(file, "study")
        assert ended.lost_since(stopped) == []
        assert ended.finished == set(ended.states)
        complete = load_study("study", where[1]).get_trials(states=(TrialState.COMPLETE,))
        assert {trial.user_attrs["origin"] for trial in complete} >= set(ORIGINS)

    on_small_disk(file.parent, "1m", body)


@pytest.mark.parametrize("log", [False, True])
def test_a_database_in_a_folder_that_may_only_be_read(file: Path, tmp_path: Path, typed: Typed, log: bool) -> None:
    def body(disk: Path) -> None:
        where = ("--storage", f"sqlite:///{file}")
        for words in READERS:
            status, said = typed(*words, *where)
            assert (status, said.strip()) == (0, ""), words
        status, said = typed("run", tmp_path / "study.toml", *where)
        assert status == 1
        assert str(file.parent) in said
        assert "permit" in said or "may write" in said
        assert "Traceback" not in said
        with pytest.raises(optuna.exceptions.StorageInternalError) as caught:  # no result may be lost in a copy
            load_study("study", where[1]).set_user_attr("test", "measured")
        assert "it may only be read" in str(refusal("here", caught.value))

        Source(where[1]).copy_to(tmp_path / "copy.db")
        for study in (
            load_study("study", where[1]),
            optuna.load_study(study_name="study", storage=SnapshotStorage(tmp_path / "copy.db", where[1])),
        ):
            assert (study.trials[5].state is TrialState.FAIL) == log
        assert sorted(path.name for path in disk.iterdir()) == sorted(before)

    made(file, log)
    before = [path.name for path in file.parent.iterdir()]
    on_read_only(file.parent, body)


@pytest.mark.parametrize("log", [False, True])
def test_the_dashboard_serves_from_a_folder_that_may_only_be_read(file: Path, tmp_path: Path, log: bool) -> None:
    def body(disk: Path) -> None:
        with serving("--storage", f"sqlite:///{file}", "--refresh", "0.2", folder=temporary) as (_, address):
            shown = json.loads(get(f"{address}/api/studies/1"))
            assert [trial["state"] == "Fail" for trial in shown["trials"]] == [*[False] * 5, log]
            assert "## Trial 0: baseline" in json.dumps(shown)
        assert sorted(path.name for path in disk.iterdir()) == sorted(before)

    made(file, log)
    (temporary := tmp_path / "temporary").mkdir()
    before = [path.name for path in file.parent.iterdir()]
    on_read_only(file.parent, body)


def test_another_program_keeps_the_database_locked(tmp_path: Path) -> None:
    told = run_locked(tmp_path, seconds=2.0)
    assert told.seconds > told.held
    assert set(told.states) <= {"COMPLETE", "PRUNED"}
    assert told.measured_again == 0


def test_another_program_never_lets_go(file: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE", 0.05)
    with closing(sqlite3.connect(made(file, log=False), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        status, said = typed("run", file.parents[1] / "study.toml", "--storage", f"sqlite:///{file}")
        assert typed("status", "study", "--storage", f"sqlite:///{file}") == (0, "")
    assert status == 1
    assert "another program has kept it locked" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("tables", "version", "remedy"),
    [("v9.9.0.a", "9.9.0", "use an explorer that comes with Optuna 9.9.0"), ("v3.0.0.d", "3.0.6", "storage upgrade")],
)
def test_a_database_of_another_optuna(file: Path, typed: Typed, tables: str, version: str, remedy: str) -> None:
    with closing(sqlite3.connect(made(file, log=False))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (tables,))
        connection.execute("UPDATE version_info SET library_version = ?", (version,))
    before = file.read_bytes()
    for words in (*READERS, ["run", file.parents[1] / "study.toml"]):
        status, said = typed(*words, "--storage", f"sqlite:///{file}")
        assert status == 1
        assert f"made by another version of Optuna ({version}, and here is {optuna.__version__})" in said
        assert remedy in said
        assert "alembic" not in said
    Source(f"sqlite:///{file}").copy_to(file.with_name("copy.db"))
    with pytest.raises(StudyError, match=f"another version of Optuna .{version}, and here is {optuna.__version__}"):
        SnapshotStorage(file.with_name("copy.db"), f"sqlite:///{file}")
    assert file.read_bytes() == before


@pytest.mark.parametrize("spoil", [lambda whole: b"no database" * 1000, lambda whole: whole[:-20_000]])
def test_a_damaged_database(file: Path, typed: Typed, spoil: Callable[[bytes], bytes]) -> None:
    file.write_bytes(spoil(made(file, log=False).read_bytes()))
    for words in (*READERS[:2], ["run", file.parents[1] / "study.toml"]):
        status, said = typed(*words, "--storage", f"sqlite:///{file}")
        assert status == 1, words
        assert "StudyError" in said
        assert "damaged" in said or "no SQLite database" in said
        assert "Traceback" not in said


def test_a_database_that_may_not_be_read(file: Path, typed: Typed) -> None:
    if os.getuid() == 0:
        pytest.skip("nothing is forbidden to root")
    made(file, log=False).chmod(0)
    status, said = typed("status", "study", "--storage", f"sqlite:///{file}")
    assert status == 1
    assert "permit" in said
