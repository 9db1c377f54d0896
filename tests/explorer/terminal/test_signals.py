"""Signals that ask a command to end, and what is finished before it does."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from explorer.bundle.audio_input import UntilInterrupted
from explorer.cli import app
from explorer.terminal.signals import ENDING, SAME_REQUEST, ended_like_ctrl_c, exit_code
from objectives.corpora.rttm import read_rttm
from objectives.models.contract import SAMPLE_RATE
from objectives.operating_point import BASELINE
from tests.support.corpora import write_audio
from tests.support.export_study import Exports

PATIENCE = 120.0  # seconds for a process to come as far as it should
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

# `explorer`, with the signals that a shell gives what it runs in a terminal, whatever those of this process are
EXPLORER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
from explorer.cli import main
main()
"""


@pytest.fixture
def in_foreground() -> Iterator[None]:
    """A shell gives what it runs in the background SIGINT ignored, and so these tests where it runs them there."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def ignored() -> Iterator[None]:
    """As of a job in the background, or with nohup."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# --- any command


def code_of(command: Callable[[], object]) -> object:
    """The exit code of what a command does."""
    with pytest.raises(SystemExit) as caught, ended_like_ctrl_c():
        command()
    return caught.value.code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("in_foreground")
def test_a_command_unwinds_and_its_exit_code_names_the_signal(number: signal.Signals) -> None:
    undone: list[int] = []

    def command() -> None:
        try:
            signal.raise_signal(number)
        finally:
            undone.append(number)

    assert code_of(command) == CODES[number] == exit_code(number)
    assert undone == [number]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.usefixtures("in_foreground")
def test_a_command_that_says_that_it_was_interrupted_is_given_the_code_of_the_signal(number: signal.Signals) -> None:
    """As `run` does, and typer for all others."""

    def command() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            sys.exit(130)

    assert code_of(command) == CODES[number]


@pytest.mark.usefixtures("in_foreground")
def test_other_ends_stay_as_they_are() -> None:
    assert code_of(lambda: sys.exit(3)) == 3
    with ended_like_ctrl_c(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)  # of which a command made an ordinary end, as `dashboard` does


@pytest.mark.usefixtures("in_foreground")
def test_a_signal_that_comes_twice_interrupts_no_cleaning_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` sends it to the process and to its group, a closed terminal to the shell and to its jobs. Somebody who
    sends it again later has lost patience."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    cleaned_up: list[int] = []

    def command() -> None:
        nonlocal now
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            for number in (signal.SIGHUP, signal.SIGTERM):
                signal.raise_signal(number)
                cleaned_up.append(number)
            now = SAME_REQUEST + 1
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)

    assert code_of(command) == 129
    assert cleaned_up == [signal.SIGHUP, signal.SIGTERM]


@pytest.mark.usefixtures("ignored")
def test_what_is_ignored_stays_ignored() -> None:
    with ended_like_ctrl_c():
        for number in ENDING:
            signal.raise_signal(number)
    assert {signal.getsignal(number) for number in ENDING} == {signal.SIG_IGN}


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    went: list[bool] = []

    def run() -> None:
        with ended_like_ctrl_c():
            went.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert went == [True]


# --- pieces of audio


def numbered(until: int = 5) -> Iterator[np.ndarray]:
    yield from (np.array([number], np.float32) for number in range(until))


@pytest.mark.usefixtures("in_foreground")
def test_without_a_signal_all_is_heard() -> None:
    before = {number: signal.getsignal(number) for number in ENDING}
    with UntilInterrupted(numbered()) as pieces:
        assert len([*pieces]) == 5
    assert pieces.interrupted is None
    assert {number: signal.getsignal(number) for number in ENDING} == before


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.usefixtures("in_foreground")
def test_a_signal_in_an_update_lets_it_end(number: signal.Signals) -> None:
    heard = []
    with UntilInterrupted(numbered()) as pieces:
        for piece in pieces:
            if len(heard) == 2:
                signal.raise_signal(number)
                signal.raise_signal(number)
            heard.append(piece)  # what would have been lost
    assert len(heard) == 3
    assert pieces.interrupted == number


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.usefixtures("in_foreground")
def test_a_signal_ends_the_wait_for_audio(number: signal.Signals) -> None:
    def silent() -> Iterator[np.ndarray]:
        yield from numbered(1)
        signal.raise_signal(number)  # while nothing comes
        yield from numbered(1)

    with UntilInterrupted(silent()) as pieces:
        assert len([*pieces]) == 1
    assert pieces.interrupted == number


@pytest.mark.usefixtures("in_foreground")
def test_what_was_heard_is_finished_whatever_comes_but_ctrl_c_again() -> None:
    with UntilInterrupted(numbered(1)) as pieces:
        assert len([*pieces]) == 1
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        assert pieces.interrupted == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with UntilInterrupted(numbered(1)) as pieces:
        assert len([*pieces]) == 1
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("ignored")
def test_whoever_ignores_signals_goes_on() -> None:
    with UntilInterrupted(numbered()) as pieces:
        for _ in pieces:
            for number in ENDING:
                signal.raise_signal(number)
    assert pieces.interrupted is None


# --- diarize


@pytest.fixture(scope="module")
def waveform(exports: Exports) -> np.ndarray:
    """12 s of speech and 2 s of silence, so that a turn ends and is printed."""
    speech = exports.evaluator.recordings[0].waveform()
    return np.concatenate([speech, np.zeros(2 * SAMPLE_RATE, np.float32)])


@pytest.fixture(scope="module")
def long_audio(waveform: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour, most of which nobody will wait for."""
    return write_audio(tmp_path_factory.mktemp("long") / "long.wav", np.tile(waveform, 3600 // 14))


def diarize(exports: Exports, rttm: Path, *words: str | Path) -> list[str]:
    given = map(str, ["diarize", *words, "--point", exports.folders[BASELINE], "--rttm", rttm])
    return [sys.executable, "-c", EXPLORER, *given]


def check_finished(first: bytes, rest: bytes, rttm: Path, most: float) -> None:
    """The account is that of what was heard, of no more than so many seconds, and the RTTM has its turns."""
    assert "turn" in json.loads(first)
    account = json.loads(rest.splitlines()[-1])
    assert 0 < account["audio"] <= most
    (reference,) = (written.content for written in read_rttm(rttm).values())
    assert len(reference) == len(account["turns"]) > 0


@pytest.mark.parametrize("number", ENDING)
def test_what_a_microphone_heard_is_finished(
    exports: Exports, waveform: np.ndarray, tmp_path: Path, number: signal.Signals
) -> None:
    """One that stays on, until somebody has had enough."""
    rttm = tmp_path / "heard.rttm"
    command = diarize(exports, rttm, "-", "--pcm", "16000", "--format", "json")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write((waveform.clip(-1, 1) * (2**15 - 1)).astype("<i2").tobytes())
        process.stdin.flush()
        first = process.stdout.readline()
        process.send_signal(number)
        rest, told = process.stdout.read(), process.stderr.read().decode()
        code = process.wait(PATIENCE)
        watch.cancel()
    assert (code, told) == (CODES[number], "")
    check_finished(first, rest, rttm, most=14.0)


def test_what_was_heard_of_a_file_is_finished(exports: Exports, long_audio: Path, tmp_path: Path) -> None:
    rttm = tmp_path / "heard.rttm"
    with subprocess.Popen(
        diarize(exports, rttm, long_audio, "--format", "json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, told = process.communicate(timeout=PATIENCE)
    assert (process.returncode, told) == (143, b"")
    check_finished(first, rest, rttm, most=600.0)


@pytest.mark.usefixtures("in_foreground")
def test_a_signal_before_anything_was_heard_leaves_nothing(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(stream: object, rate: int) -> Iterator[np.ndarray]:
        signal.raise_signal(signal.SIGTERM)
        yield np.zeros(SAMPLE_RATE, np.float32)

    monkeypatch.setattr("explorer.bundle.audio_input.pcm_pieces", silent)
    rttm = tmp_path / "heard.rttm"
    words = ["diarize", "-", "--pcm", "16000", "--point", str(exports.folders[BASELINE]), "--rttm", str(rttm)]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.output) == (143, "")
    assert not rttm.exists()


def test_a_closed_terminal_loses_no_turns(exports: Exports, long_audio: Path, tmp_path: Path) -> None:
    """What is printed there then, nobody sees, and nothing fails for it."""
    rttm = tmp_path / "heard.rttm"
    command = diarize(exports, rttm, long_audio)
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    printed = b""
    while not printed.endswith(b"\n"):
        printed += os.read(terminal, 1)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    (reference,) = (written.content for written in read_rttm(rttm).values())
    assert 0 < reference.get_timeline().extent().end < 600


def test_typer_has_the_code_of_ctrl_c_that_is_counted_on() -> None:
    """Else signals would all end with that code."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    alone = typer.Typer()
    alone.command()(interrupted)
    with pytest.raises(SystemExit) as caught:
        alone([])
    assert caught.value.code == 130
