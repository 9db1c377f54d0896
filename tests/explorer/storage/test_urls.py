"""Database URLs and names of studies that cannot be: refused in one line that says what is wrong, by every command."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from explorer.cli import main
from explorer.storage.connection import check, load_study, open_storage
from explorer.storage.snapshot import Source
from explorer.storage.urls import DEFAULT_URL, given
from objectives.errors import StudyError
from studies.definition import checked_name
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study

# URL → what is said of it
WRONG = {
    "": "--storage is empty: give a database URL such as sqlite:///explorer.db, or leave it out",
    " ": "--storage is empty",
    "explorer.db": "'explorer.db' is not a database URL: use something like sqlite:///explorer.db",
    "://": "is not a database URL",
    "sqlite": "is not a database URL",
    "sqlite:/x.db": "is not a database URL",
    "sqlite:///x.db\n": "holds what cannot be printed",
    "sqlite:///x\0.db": "holds what cannot be printed",
    "sqlite:///\ud800.db": "holds what cannot be printed",
    "sqlite:///x.db?timeout=abc": "its argument timeout = 'abc' cannot be used",
    "sqlite:///x.db?check_same_thread=maybe": "its argument check_same_thread = 'maybe' cannot be used",
    "sqlite:///x.db?timeout=1&timeout=2": "its argument timeout = ('1', '2') cannot be used",
    "sqlite:///x.db?tiemout=1": "'tiemout' is not an argument of an SQLite file: use one of timeout, ",
    "sqlite:///": "is a database in memory, which is gone when the command ends: name a file",
    "sqlite://": "is a database in memory",
    "sqlite:///:memory:": "is a database in memory",
    "sqlite:///file::memory:?uri=true": "is a database in memory",
    "sqlite:///file:x.db?mode=memory&uri=true": "is a database in memory",
    "sqlite://host/x.db": "names a host",
    "sqlite:///folder": "is a folder: name a file in it, such as sqlite:///folder/explorer.db",
    "sqlite:///" + "n" * 300: "no file has such a name",
    "postgresql://me:secret@localhost:port/x": "is not a database URL",
}
# what only opening it shows
CLOSED = {
    "sqlite:///nowhere/x.db": ("there is no study storage", "the folder"),
    "sqlite:///text.db": ("is not an SQLite database", "is not an SQLite database"),
    "oracle2://x/y": ("Can't load plugin", "Can't load plugin"),
    "mysql://me:secret@127.0.0.1:1/x": ("No module named 'MySQLdb'", "No module named 'MySQLdb'"),
    "postgresql+asyncpg://me:secret@127.0.0.1:1/x": ("pip install", "pip install"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand where there is a folder, a text and another program's database."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("no database at all" * 100)
    with closing(sqlite3.connect("cats.db")) as connection, connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    return tmp_path


def one_line(error: StudyError) -> str:
    told = str(error)
    assert "\n" not in told
    assert "secret" not in told
    return told


@pytest.mark.parametrize(("url", "needle"), WRONG.items(), ids=map(repr, WRONG))
def test_a_url_that_cannot_be_is_refused(folder: Path, url: str, needle: str) -> None:
    before = sorted(folder.iterdir())
    for ask in (given, check, open_storage, lambda url: open_storage(url, must_exist=True), Source):
        with pytest.raises(StudyError) as caught:
            ask(url)
        assert needle in one_line(caught.value)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("url", "needles"), CLOSED.items(), ids=CLOSED)
def test_a_database_that_cannot_be_opened_is_refused(folder: Path, url: str, needles: tuple[str, str]) -> None:
    before = sorted(folder.iterdir())
    for ask, needle in zip((lambda url: open_storage(url, must_exist=True), check), needles, strict=True):
        with pytest.raises(StudyError) as caught:
            ask(url)
        assert needle in one_line(caught.value)
    with pytest.raises(StudyError) as caught:
        Source(url)
    one_line(caught.value)
    assert sorted(folder.iterdir()) == before


def test_what_may_be_given_is_taken(folder: Path) -> None:
    assert given(None) == DEFAULT_URL
    for url in ("sqlite:///x.db", "sqlite:///x.db?timeout=5", "sqlite:///file:x.db?uri=true&mode=rwc"):
        assert given(url) == url
        check(url)
    assert not (folder / "x.db").exists(), "it is looked at, and not made"
    run_study("study", small_study(trials=0, fixed={}), AnalyticEvaluator(), "sqlite:///x.db?timeout=5")
    assert load_study("study", "sqlite:///x.db").study_name == "study"


def test_a_reader_adds_no_tables_to_the_database_of_another_program(folder: Path) -> None:
    before = (folder / "cats.db").read_bytes()
    with pytest.raises(StudyError, match=r"sqlite:///cats\.db is not a study storage: check its name"):
        load_study("study", "sqlite:///cats.db")
    assert (folder / "cats.db").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["run", "quickstart"], ["front", "s"], ["status", "s"], ["recommend", "s"], ["report", "s", "out"],
        ["dashboard"], ["verify", "s", "0"], ["explain", "s", "0"], ["stress", "s", "0"], ["export", "s", "0", "out"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
@pytest.mark.parametrize("url", ["", "sqlite:///x.db?timeout=abc"])
def test_every_command_says_so_in_one_line(
    folder: Path, words: list[str], url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["explorer", *words, "--storage", url])
    with pytest.raises(SystemExit) as end:
        main()
    said = capfd.readouterr()
    assert (end.value.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert said.err.startswith("error: StudyError: --storage ")


def test_a_run_looks_at_its_storage_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before it reads recordings, which takes minutes."""

    def read(settings: object) -> None:
        raise AssertionError("the evaluator was built")

    monkeypatch.setattr("objectives.evaluation.evaluator.build_evaluator", read)
    monkeypatch.setattr(sys, "argv", ["explorer", "run", "quickstart", "--storage", "sqlite:///text.db"])
    with pytest.raises(SystemExit):
        main()
    assert "is not an SQLite database" in capfd.readouterr().err


# --- names


@pytest.mark.parametrize(
    ("name", "needle"),
    [
        ("x.toml", "--name 'x.toml' looks like a file"),
        ("a/b", "looks like a file"),
        ("../x", "looks like a file"),
        ("a\\b", "looks like a file"),
        ("", "--name '': give the study a name that can be read and typed"),
        (" ", "give the study a name"),
        ("a\nb", r"--name 'a\nb': give the study a name"),
        ("\x1b[31m", "give the study a name"),
        ("\ud800", "give the study a name"),
        ("n" * 513, "has 513 characters: give one of 512 at most"),
    ],
)
def test_a_name_that_no_command_could_give_is_refused(
    folder: Path, name: str, needle: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StudyError) as caught:
        checked_name(name)
    assert needle in one_line(caught.value)
    monkeypatch.setattr(sys, "argv", ["explorer", "run", "quickstart", "--name", name])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capfd.readouterr().err.count("\n") == 1
    assert not (folder / "explorer.db").exists()


@pytest.mark.parametrize("name", ["quickstart", "my study", "toml", "x.toml.bak", "é 💥", "-x", "n" * 512])
def test_other_names_are_taken(name: str) -> None:
    assert checked_name(name) == name
