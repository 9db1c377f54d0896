"""`explorer dashboard` as a user types it: in a process of its own, with its address, its errors and its end."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import typer
from optuna.trial import TrialState
from typer.testing import CliRunner

from explorer.commands.dashboard import dashboard
from explorer.storage.connection import load_study
from objectives.errors import ExplorerError, StudyError
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study
from tests.support.forked_processes import PATIENCE

app = typer.Typer()
app.command()(dashboard)


@contextmanager
def serving(*options: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(process, address) of a dashboard that has begun to answer. folder: of its temporary files."""
    process = subprocess.Popen(
        [sys.executable, "-m", "explorer", "dashboard", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        # a test run that a shell started in the background ignores Ctrl-C, one with nohup SIGHUP, as would its children
        preexec_fn=lambda: (
            signal.signal(signal.SIGINT, signal.default_int_handler),
            signal.signal(signal.SIGHUP, signal.SIG_DFL),
        ),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.communicate()
        yield process, line.partition("http://")[2].partition("/")[0]
    finally:
        process.kill()
        process.communicate()


def get(address: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}", timeout=PATIENCE) as answer:
        told: bytes = answer.read()
        return told


@pytest.fixture
def study(url: str) -> optuna.Study:
    run_study("study", small_study(), AnalyticEvaluator(), url)
    return load_study("study", url)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_until_it_is_ended_and_leaves_nothing(
    url: str, study: optuna.Study, tmp_path: Path, end: int
) -> None:
    (tmp_path / "temporary").mkdir()
    with serving("--storage", url, "--refresh", "0.2", folder=tmp_path / "temporary") as (process, address):
        before = get(f"{address}/api/studies/1")
        assert b"## Trial 0: baseline" in before
        study.tell(study.ask(), state=TrialState.FAIL)
        deadline = time.monotonic() + PATIENCE
        while b"## Trial 4" not in get(f"{address}/api/studies/1"):
            assert time.monotonic() < deadline
        process.send_signal(end)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        assert errors.rstrip().endswith("Ended. The studies are as they were.")
        assert "Traceback" not in errors
    assert not [path for path in (tmp_path / "temporary").iterdir() if path.name.startswith("explorer-dashboard")]


def typed(*words: str) -> BaseException | None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    return result.exception


def test_a_port_in_use_is_named_with_the_remedy(url: str, study: optuna.Study) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = typed("--storage", url, "--port", str(port))
    assert isinstance(error, ExplorerError)
    assert str(error).startswith(f"port {port} of 127.0.0.1 is in use: give another one with --port")


def test_a_storage_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    error = typed("--storage", f"sqlite:///{tmp_path}/none.db")
    assert isinstance(error, StudyError)
    assert "there is no study storage at" in str(error)
    assert not (tmp_path / "none.db").exists()


def test_there_is_no_option_for_another_host() -> None:
    result = CliRunner().invoke(app, ["--host", "0.0.0.0"])
    assert (result.exit_code, "No such option" in result.stderr) == (2, True)
