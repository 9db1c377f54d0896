"""What stays here: no connection is made, and neither tokens and passwords nor audio and folders get out."""

import os
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pytest
import soundfile
from typer.testing import CliRunner

from explorer.cli import app
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study, shown
from explorer.storage.urls import without_password, without_paths
from objectives.cache.files import CACHE_VARIABLE, cache_dir
from objectives.corpora.sources import load_corpus
from objectives.errors import EvaluationError, StudyError
from objectives.models.contract import SAMPLE_RATE
from objectives.operating_point import OperatingPoint
from tests.support import offline_session, watched_process
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study
from tests.support.corpora import write_audio
from tests.support.real_excerpts import write_excerpts
from tests.support.watched_process import Place

TOKEN = "hf_CANARYtokenCANARY"
PASSWORD = "CANARYsecret"
MINUTES = 8  # for a session that takes 20 s on a machine of its own


# --- a session without a network


@dataclass(frozen=True)
class Session:
    """where: what was made. corpus: its folder. said: on both streams. log: of strace, or None if it is not there."""

    where: Place
    corpus: Path
    said: str
    log: Path | None

    @property
    def folder(self) -> Path:
        return self.where.folder

    @property
    def made(self) -> dict[str, bytes]:
        """Every file that the session wrote but for its cache, by name."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    root = tmp_path_factory.mktemp("session")
    where, block = watched_process.place(root), root / "block"
    patients = root / "CANARY home" / "patients"
    for path in (where.folder / "out", block, patients):
        path.mkdir(parents=True)
    (block / "sitecustomize.py").write_text(offline_session.BLOCK)
    environment = where.environment | {
        "PYTHONPATH": f"{block}{os.pathsep}{watched_process.ROOT}",
        "ATTEMPTS": str(root / "attempts"),
        "HF_TOKEN": TOKEN,
        "PGPASSWORD": PASSWORD,
    }
    corpus = write_excerpts(patients, seconds=6)
    log = root / "session.log" if watched_process.can_trace() else None
    words = ["-m", "tests.support.offline_session", str(where.folder), str(corpus)]
    done = watched_process.run(words, where, environment, log, timeout=60 * MINUTES)
    assert done.returncode == 0, done.stdout
    print("\n".join(line for line in done.stdout.splitlines() if line.startswith("$")))
    return Session(where, corpus, done.stdout, log)


def test_the_block_blocks(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(offline_session.BLOCK)
    code = "import urllib.request as r; r.urlopen('http://192.0.2.1/', timeout=5)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ATTEMPTS": str(tmp_path / "attempts")}
    environment = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "the network is blocked" in done.stderr
    assert "192.0.2.1" in (tmp_path / "attempts").read_text()


def test_no_command_reaches_for_the_network(session: Session) -> None:
    attempts = session.folder.parent / "attempts"
    assert not attempts.exists(), attempts.read_text()
    for words in offline_session.commands(session.folder, ""):
        assert f"$ {words[0]}" in session.said
    assert {"study.toml", "explorer.db", "out/front.html", "out/report/index.html"} < session.made.keys()
    assert {"out/bundle/pytorch_model.bin", "out/bundle/model.onnx", "out/dev00.rttm"} < session.made.keys()


def test_no_token_is_written_or_said(session: Session) -> None:
    cache = [path for path in session.where.cache.rglob("*") if path.is_file()]
    assert cache
    for secret in (TOKEN, PASSWORD):
        assert secret not in session.said
        assert not [name for name, content in session.made.items() if secret.encode() in content]
        assert not [path for path in cache if secret.encode() in path.read_bytes()]


def test_only_the_definition_knows_where_the_corpus_lies(session: Session) -> None:
    """It must, to find it again. What is handed on does not: neither a bundle nor a report nor a plot."""
    told = {name for name, content in session.made.items() if b"CANARY home" in content}
    assert told <= {"study.toml", "explorer.db", "explorer.db-wal"}
    with sqlite3.connect(session.folder / "explorer.db") as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [(table, row) for table in tables for row in database.execute(f"SELECT * FROM {table}")]
    places = {(table, row[2]) for table, row in rows if "CANARY home" in str(row)}
    assert places == {("study_user_attributes", "definition"), ("study_user_attributes", "identity")}
    elsewhere = str(session.folder.parent)  # the cache, the working folder
    assert not [name for name, content in session.made.items() if name not in told and elsewhere.encode() in content]


def test_no_audio_is_in_what_is_made(session: Session) -> None:
    audio, _ = soundfile.read(session.corpus / "dev00.wav", dtype="float32")
    short = (audio * 2**15).round().astype("<i2")
    starts = range(16_000, len(audio) - 64, 4_000)
    runs = [piece for at in starts for piece in (audio[at : at + 16].tobytes(), short[at : at + 32].tobytes())]
    heard = [run for run in runs if len(set(run)) > 16]
    assert len(heard) > 20
    original = (session.corpus / "dev00.wav").read_bytes()
    assert any(run in original for run in heard), "this is how audio would look"
    assert not [name for name, content in session.made.items() if any(run in content for run in heard)]


def test_what_is_known_of_voices_is_for_its_owner_alone(session: Session) -> None:
    cache = session.where.cache
    kept = [path for folder in ("features", "windows") for path in (cache / folder).rglob("*.np[yz]")]
    assert len(kept) > 2
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


# --- every call of every process


def test_the_watch_sees(tmp_path: Path) -> None:
    """As it sees that nothing happens below, so it sees what does, in a process of a process too."""
    watched_process.require_strace()
    code = """
import os, socket, subprocess, sys
for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "127.0.0.1")):
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"", (address, 9))
        except OSError:
            pass
try:
    socket.getaddrinfo("example.invalid", 443)
except OSError:
    pass
home = os.environ["HOME"]
os.mkdir(home + "/made")
os.rename(home + "/made", home + "/renamed")
os.mkdir("../beside")
inside = os.open(home, os.O_RDONLY)
os.close(os.open("relative", os.O_CREAT | os.O_WRONLY, dir_fd=inside))
for named in ("here", os.environ["TMPDIR"] + "/there", os.environ["EXPLORER_CACHE"] + "/kept"):
    open(named, "w").close()
open(home + "/renamed/gone", "w").close()
os.remove(home + "/renamed/gone")
"""
    where = watched_process.place(tmp_path / "place")
    words = ["-c", "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))", "-c", code]
    done = watched_process.run(words, where, where.environment, tmp_path / "log", timeout=60)
    assert done.returncode == 0, done.stdout
    seen = watched_process.connections(tmp_path / "log")
    assert all(any(address in call for call in seen) for address in ("192.0.2.1", "2001:db8::1"))
    assert any("htons(53)" in call or watched_process.RESOLVER in call for call in seen), "a look-up"
    assert not [call for call in seen if "htons(9)" in call and "127.0.0.1" in call]
    made = [f"{where.home}/{name}" for name in ("made", "relative", "renamed", "renamed/gone")]
    assert watched_process.strays(tmp_path / "log", where) == [str(where.root / "beside"), *made]


def test_the_session_reaches_nobody_and_leaves_nothing_elsewhere(session: Session) -> None:
    """With workers and their timing processes."""
    watched_process.require_strace()
    assert session.log is not None
    assert silent(session.log, session.where, session.where.home)
    assert "127.0.0.1" in session.log.read_text(errors="replace"), "two jobs talk to one another"


def three_minutes(session: Session) -> list[str]:
    """`diarize` on as much audio as ONNX Runtime takes to report."""
    audio = [recording.waveform() for recording in load_corpus("ami-excerpts").split("all")]
    write_audio(session.folder / "long.wav", np.concatenate(audio)[: 180 * SAMPLE_RATE])
    return ["-m", "explorer", "diarize", "long.wav", "--point", "out/bundle"]


def typed(*words: str) -> Callable[[Session], list[str]]:
    return lambda session: list(words)


# What a bundle's card says has to be set where this project does not set it.
CARD = {"ORT_DISABLE_TELEMETRY": "1"}
ALONE: dict[str, tuple[Callable[[Session], list[str]], dict[str, str]]] = {
    "diarize": (three_minutes, {}),
    "dashboard": (typed("-c", offline_session.DASHBOARD), {}),
    "library": (typed("-c", offline_session.LIBRARY, "out/bundle"), {"ORT_DISABLE_TELEMETRY": "0"}),
    "onnxruntime": (typed("-c", offline_session.STOCK, "out/bundle"), CARD),
    "sherpa-onnx": (typed("-c", offline_session.SHERPA, "out/bundle"), CARD),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_process_of_its_own_reaches_nobody_and_leaves_nothing_elsewhere(
    name: str, session: Session, tmp_path: Path
) -> None:
    watched_process.require_strace()
    (words, variables), where, log, home = ALONE[name], session.where, tmp_path / "log", tmp_path / "home"
    home.mkdir()
    environment = where.environment | {"HOME": str(home)} | variables
    done = watched_process.run(words(session), where, environment, log, timeout=60 * MINUTES)
    assert done.returncode == 0, done.stdout
    assert silent(log, where, home)


def silent(log: Path, where: Place, home: Path) -> bool:
    """Whether nobody was reached, and nothing is left but in the working folder and the cache."""
    reached, stray = watched_process.connections(log), watched_process.strays(log, where)
    assert (reached[:3], stray, list(home.iterdir())) == ([], [], [])
    left = {path.name for path in where.temporary.iterdir()}
    assert left <= {"explorer-gate.lock", "explorer-machine.lock"}, "locks of the cost plane (EXPLORER_LOCKS)"
    return True


# --- passwords


URLS = [
    (f"postgresql://ana:{PASSWORD}@127.0.0.1:1/db", "postgresql://ana:***@127.0.0.1:1/db"),
    (f"postgresql+psycopg://ana:{PASSWORD}@127.0.0.1:1/db", "postgresql+psycopg://ana:***@127.0.0.1:1/db"),
    (f"postgresql://ana:x@{PASSWORD}@127.0.0.1:1/db", "postgresql://ana:***@127.0.0.1:1/db"),
    (f"postgresql://ana:x/{PASSWORD}@127.0.0.1:1/db", "postgresql://ana:***@127.0.0.1:1/db"),
    (f"postgresql://127.0.0.1:1/db?user=ana&password={PASSWORD}", "postgresql://127.0.0.1:1/db?user=ana&password=***"),
    (f"postgresql//ana:{PASSWORD}@127.0.0.1:1/db", "postgresql//ana:***@127.0.0.1:1/db"),
    (f"postgresql://ana:{PASSWORD}@127.0.0.1:port/db", "postgresql://ana:***@127.0.0.1:port/db"),
    (f"ana:{PASSWORD}@127.0.0.1", ":***@127.0.0.1"),
    (f"nosuch://ana:{PASSWORD}@127.0.0.1/db", "nosuch://ana:***@127.0.0.1/db"),
    (f"sqlite:////no/such/folder/x.db?password={PASSWORD}", "sqlite:////no/such/folder/x.db?password=***"),
]
COMMANDS = [
    ("run", "quickstart"),
    ("front", "study"),
    ("status", "study"),
    ("recommend", "study"),
    ("report", "study", "folder"),
    ("export", "study", "0", "folder"),
    ("dashboard", "--port", "0"),
]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        *URLS,
        (f"postgresql://ana:{PASSWORD}:x@127.0.0.1:1/db", "postgresql://ana:***@127.0.0.1:1/db"),
        (f"postgresql://127.0.0.1:1/db?PassWord={PASSWORD}&x=1", "postgresql://127.0.0.1:1/db?PassWord=***&x=1"),
        (f"postgresql://127.0.0.1:1/db?sslpassword={PASSWORD}", "postgresql://127.0.0.1:1/db?sslpassword=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, expected: str) -> None:
    assert without_password(url) == expected


@pytest.mark.parametrize(
    "url",
    ["sqlite:///explorer.db", "sqlite:////home/ana@work/x.db", "postgresql://ana@host/db", "postgresql://host/db"],
)
def test_a_url_without_one_is_shown_as_it_is(url: str) -> None:
    assert shown(url) == url


@pytest.mark.parametrize("url", [url for url, _ in URLS])
def test_no_refusal_repeats_a_password(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("objectives.evaluation.evaluator.build_evaluator", lambda settings: AnalyticEvaluator())
    for words in COMMANDS:
        done = CliRunner().invoke(app, [*words, "--storage", url])
        assert isinstance(done.exception, StudyError), (words, done.exception)
        everything = done.output + "".join(traceback.format_exception(done.exception, chain=False))
        assert PASSWORD not in everything.replace(repr(url), ""), words
    assert not [path for path in tmp_path.rglob("*") if PASSWORD in path.name]


def test_what_a_download_says_is_told_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from objectives.cache.download import TOKENS, _run

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code = "import os; print(os.environ.get('HF_TOKEN'), 'https://ana:pass@word@index/simple', *os.listdir())"
    status, words = _run(["-c", code], {}, tmp_path, lambda done: None)
    assert (status, words.split()[:2]) == (0, ["***", "https://ana:***@index/simple"])
    assert not (tmp_path / "log.txt").exists()
    _, words = _run(["-c", code], dict.fromkeys(TOKENS), tmp_path, lambda done: None)
    assert words.split()[0] == "None"


# --- folders


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/home/ana/calls/7.wav cannot be read", "7.wav cannot be read"),
        (f"{Path.home()}/My calls/7.wav cannot be read", "My calls/7.wav cannot be read"),
        ("C + R / 2 s, and/or 3/4", "C + R / 2 s, and/or 3/4"),
    ],
)
def test_a_message_names_files_and_no_folders(said: str, told: str) -> None:
    assert without_paths(said) == told


def test_folders_with_spaces_in_their_names_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana of ward 7")
    monkeypatch.setenv(CACHE_VARIABLE, "/data/what is kept")
    said = "/home/ana of ward 7/calls/7.wav: unreadable; /data/what is kept/models/0a1b.bin: damaged"
    assert without_paths(said) == "7.wav: unreadable; 0a1b.bin: damaged"


def fail(point: OperatingPoint) -> None:
    """As the real evaluator fails: by naming files."""
    raise EvaluationError(f"{cache_dir()}/models/0a1b.bin: cannot be read; /home/ana/calls/7.wav: nor this")


def test_what_a_trial_failed_of_is_kept_without_folders(url: str) -> None:
    run_study("study", small_study(trials=1), AnalyticEvaluator(before=fail), url)
    trials = load_study("study", url).get_trials(states=(optuna.trial.TrialState.FAIL,))
    assert trials
    for trial in trials:
        assert trial.user_attrs[record.ERROR] == "0a1b.bin: cannot be read; 7.wav: nor this"
