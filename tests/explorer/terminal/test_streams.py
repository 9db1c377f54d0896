"""Standard output that is full, closed, left by its reader, or unable to show a character: in real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from explorer.terminal.streams import PIPE_CLOSED, shown
from tests.support.analytic_evaluator import small_study
from tests.support.recommendation_study import LINEAR_40_FP16, add, add_baseline, empty_study

ASCII = ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
COMMANDS = ["front", "front json", "front csv", "status", "recommend", "models list", "assets list", "help"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study with something to compare, whose corpus has a name that few encodings have."""
    url = f"sqlite:///{tmp_path_factory.mktemp('streams')}/studies.db"
    study = empty_study(small_study(corpus="Gespräch 会議"), url)
    add_baseline(study, [20.0, 22.0], 5.0)
    add(study, [22.0, 23.0], 2.5, 0.2, point=LINEAR_40_FP16, origin="paper:table2:FP16", execution="emulated")
    add(study, [21.0, 21.5], 1.25, 0.05)
    return url


def words_of(command: str, url: str) -> list[str]:
    study = ["study", "--storage", url]
    return {
        "front": ["front", *study],
        "front json": ["front", *study, "--format", "json"],
        "front csv": ["front", *study, "--format", "csv"],
        "status": ["status", *study],
        "recommend": ["recommend", *study, "--no-test"],
        "models list": ["models", "list"],
        "assets list": ["assets", "list", "--format", "json"],
        "help": ["front", "--help"],
    }[command]


def run(
    words: list[str], stdout: int, environment: Mapping[str, str] | None = None, **more: object
) -> "subprocess.CompletedProcess[bytes]":
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    return subprocess.run(
        [sys.executable, "-m", "explorer", *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=env | dict(environment or {}),
        timeout=120,
        check=False,
        **more,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_output_is_one_line(url: str, command: str) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    done = run(words_of(command, url), full)
    os.close(full)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: OutputError: standard output cannot be written (No space left on device): make room")


@pytest.mark.parametrize("command", ["front", "front json", "help"])
def test_a_reader_that_went_away_ends_it_without_a_word(url: str, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(words_of(command, url), writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, b"")


def test_a_closed_output_is_refused_before_anything_is_done(url: str, tmp_path: Path) -> None:
    words = [*words_of("front", url), "--plot", str(tmp_path / "front.png")]
    done = run(words, subprocess.DEVNULL, preexec_fn=lambda: os.close(1))
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: OutputError: standard output is closed: ")
    assert not list(tmp_path.iterdir())


def test_errors_that_have_no_place_to_go_go_nowhere_else(url: str) -> None:
    words = ["front", "another", "--storage", url]
    closed = run(words, subprocess.PIPE, preexec_fn=lambda: os.close(2))
    assert (closed.returncode, closed.stdout) == (1, b"")


@pytest.mark.parametrize("environment", ASCII)
def test_ascii_has_replacements_and_every_figure(url: str, environment: dict[str, str]) -> None:
    told = run(words_of("front", url), subprocess.PIPE, environment)
    assert (told.returncode, told.stderr) == (0, b"")
    text = told.stdout.decode("ascii")
    whole = run(words_of("front", url), subprocess.PIPE, {"PYTHONIOENCODING": "utf-8"}).stdout.decode()
    assert "≈" in whole
    assert "≈" not in text
    assert "~ " in text
    for sign, plain in {"Δ": "delta", "−": "-", "–": "-", "≈": "~", "×": "x", "…": "..."}.items():
        whole = whole.replace(sign, plain)
    assert whole.split() == text.split()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", ["status", "recommend", "help"])
def test_no_command_fails_for_a_character(url: str, command: str, encoding: str) -> None:
    told = run(words_of(command, url), subprocess.PIPE, {"PYTHONIOENCODING": encoding})
    assert (told.returncode, told.stderr) == (0, b"")
    text = told.stdout.decode(encoding)
    assert "Traceback" not in text
    if command == "status":
        assert ("Gespräch" if encoding == "latin-1" else r"Gespr\xe4ch") in text
        assert r"\u4f1a\u8b70" in text


def test_json_escapes_what_cannot_be_shown(tmp_path: Path) -> None:
    told = run(["models", "list", "--format", "json"], subprocess.PIPE, {"PYTHONIOENCODING": "ascii"})
    assert isinstance(json.loads(told.stdout.decode("ascii")), list)


def test_signs_are_replaced_and_letters_stay_apart() -> None:
    assert shown("≈ 1 … é 会 ♫ \udce9", "ascii") == r"~ 1 ... \xe9 \u4f1a ? \udce9"
    assert shown("≈ é ×", "latin-1") == "~ é ×"
    assert shown("≈ é", "utf-8") == "≈ é"
