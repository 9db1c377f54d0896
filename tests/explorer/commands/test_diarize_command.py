"""`explorer diarize` as a user types it, on a real bundle and real audio."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from explorer.bundle.bundle import POINT
from explorer.bundle.stream import Listener
from explorer.commands.diarize import diarize
from objectives.corpora.rttm import read_rttm
from objectives.errors import BundleError, CorpusError, ExplorerError
from objectives.models.contract import SAMPLE_RATE
from objectives.operating_point import BASELINE
from tests.support.corpora import write_audio
from tests.support.export_study import LOW_BIT, Exports

# what a deployed point runs without
ABSENT = ("torch", "torchaudio", "torchao", "optuna", "pyannote", "onnx", "sqlalchemy", "pandas", "matplotlib", "dask")

# runs the command line where those cannot be imported, and tells what was loaded
ALONE = f"""
import sys
for name in {ABSENT}:
    sys.modules[name] = None
from explorer.cli import main
try:
    main()
finally:
    loaded = [name for name in {ABSENT} if sys.modules.get(name) is not None]
    print("loaded:", *loaded, file=sys.stderr)
"""

app = typer.Typer()
app.command()(diarize)


def typed(*words: object, feed: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], input=feed, catch_exceptions=True)


def refusal(*words: object, feed: bytes | None = None) -> ExplorerError:
    error = typed(*words, feed=feed).exception
    assert isinstance(error, ExplorerError)
    return error


def as_pcm(waveform: np.ndarray) -> bytes:
    return (waveform.clip(-1, 1) * (2**15 - 1)).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def waveform(exports: Exports) -> np.ndarray:
    return exports.evaluator.recordings[0].waveform()


@pytest.fixture(scope="module")
def audio(waveform: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audio(tmp_path_factory.mktemp("audio") / "a call.wav", waveform)


@pytest.fixture(scope="module")
def said(
    exports: Exports, audio: Path, tmp_path_factory: pytest.TempPathFactory
) -> "tuple[list[dict[str, Any]], Path]":
    """A run in a process that has neither torch nor Optuna: the lines it printed, and its RTTM."""
    rttm = tmp_path_factory.mktemp("said") / "call.rttm"
    words = ["diarize", str(audio), "--point", str(exports.folders[LOW_BIT]), "--rttm", str(rttm), "--format", "json"]
    done = subprocess.run([sys.executable, "-c", ALONE, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded:"
    return [json.loads(line) for line in done.stdout.splitlines()], rttm


Said = tuple[list[dict[str, Any]], Path]


def test_every_line_is_a_turn_and_the_last_one_the_account(said: Said, exports: Exports, waveform: np.ndarray) -> None:
    lines, _ = said
    *turns, account = lines
    assert turns
    for line in turns:
        assert line.keys() == {"turn"}
        assert line["turn"].keys() == {"start", "end", "speaker", "known_at"}
        assert line["turn"]["known_at"] - line["turn"]["end"] <= LOW_BIT.latency + 1e-6
    assert account["audio"] == 12.0
    assert (account["chunk_length"], account["right_context"], account["latency"]) == (2.0, 0.5, 2.5)
    assert account["execution"] == "native"
    assert 0 < account["rtf"] < 10
    assert account["delay"] is None
    # the same as here, in a process with everything
    listener = Listener(exports.bundle(LOW_BIT), lambda turn: None)
    listener.hear(waveform)
    here = [{"start": turn.start, "end": turn.end, "speaker": turn.name} for turn in listener.end().turns]
    assert account["turns"] == here


def test_the_rttm_holds_the_final_turns(said: Said) -> None:
    lines, rttm = said
    (reference,) = (written.content for written in read_rttm(rttm).values())
    assert reference.uri == "a_call"
    found = [(turn.start, turn.end, who) for turn, _, who in reference.itertracks(yield_label=True)]
    told = [(turn["start"], turn["end"], turn["speaker"]) for turn in lines[-1]["turns"]]
    assert [who for *_, who in sorted(found)] == [who for *_, who in sorted(told)]
    np.testing.assert_allclose([one[:2] for one in sorted(found)], [one[:2] for one in sorted(told)], atol=0.00051)


@pytest.mark.parametrize("value", ["0", "3-2", "x"])
def test_numbers_of_speakers_that_cannot_be_are_refused(exports: Exports, audio: Path, value: str) -> None:
    error = refusal(audio, "--point", exports.folders[LOW_BIT], "--speakers", value)
    assert isinstance(error, CorpusError)
    assert str(error).startswith(f"--speakers {value!r}: give a number from 1 up")


@pytest.mark.parametrize(
    ("words", "expected"), [(("--speakers", "2-4"), (2, 4)), (("--speakers", "1"), (1, 1)), ((), None)]
)
def test_the_number_of_speakers_is_the_listeners(
    exports: Exports,
    audio: Path,
    words: tuple[str, ...],
    expected: tuple[int, int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[object] = []

    def listener(*_: object, speakers: object) -> None:
        given.append(speakers)
        raise BundleError("made")

    monkeypatch.setattr("explorer.bundle.stream.Listener", listener)
    assert str(refusal(audio, "--point", exports.folders[LOW_BIT], *words)) == "made"
    assert given == [expected]


def test_for_people_standard_output_holds_turns_alone(exports: Exports, waveform: np.ndarray) -> None:
    done = typed("-", "--point", exports.folders[BASELINE], "--pcm", 16_000, feed=as_pcm(waveform))
    assert done.exit_code == 0, done.output
    for line in done.stdout.splitlines():
        start, end, name = line.split()
        assert float(start) < float(end)
        assert name == "unknown" or name.startswith("speaker")
    assert "12.0 s, " in done.stderr
    assert "latency 1 s, and an update" in done.stderr


def test_a_file_can_be_heard_at_the_speed_of_speech(exports: Exports, waveform: np.ndarray, tmp_path: Path) -> None:
    short = write_audio(tmp_path / "short.wav", waveform[: SAMPLE_RATE * 3 // 2])
    done = typed(short, "--point", exports.folders[BASELINE], "--live", "--format", "json")
    assert done.exit_code == 0, done.output
    account = json.loads(done.stdout.splitlines()[-1])
    # its block's first sample was spoken at 0 s, and it could not be emitted before 1 s
    assert account["delay"]["median"] >= 1.0


def test_whoever_stops_reading_ends_it_without_a_traceback(exports: Exports, audio: Path) -> None:
    words = ["diarize", str(audio), "--point", str(exports.folders[BASELINE])]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", ALONE, *words], stdout=write, stderr=subprocess.PIPE, timeout=120)
    os.close(write)
    assert done.returncode == 141  # as of a program that SIGPIPE ended
    assert done.stderr == b"loaded:\n"


@pytest.mark.parametrize("format", ["table", "json"])
def test_a_full_output_is_one_line_and_the_file_is_whole(
    exports: Exports, audio: Path, tmp_path: Path, said: Said, format: str
) -> None:
    kept = tmp_path / "kept.rttm"
    words = ["diarize", str(audio), "--point", str(exports.folders[LOW_BIT]), "--format", format, "--rttm", str(kept)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", ALONE, *words], stdout=full, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 1
    line, _ = done.stderr.decode().splitlines()
    assert line.startswith("error: OutputError: standard output cannot be written (No space left on device)")
    assert kept.read_bytes() == said[1].read_bytes()


def test_final_turns_go_into_a_pipe_alone(exports: Exports, audio: Path, said: Said) -> None:
    words = ["diarize", str(audio), "--point", str(exports.folders[LOW_BIT]), "--rttm", "/dev/stdout"]
    done = subprocess.run([sys.executable, "-c", ALONE, *words], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == said[1].read_bytes()
    assert b"final turns in /dev/stdout" in done.stderr


def test_final_turns_do_not_write_over_what_is_in_the_file_already(
    exports: Exports, audio: Path, said: Said, tmp_path: Path
) -> None:
    words = ["diarize", str(audio), "--point", str(exports.folders[LOW_BIT]), "--rttm", "/dev/stdout"]
    with (tmp_path / "all.rttm").open("wb") as file:
        file.write(b"an earlier call\n")
        file.flush()
        subprocess.run([sys.executable, "-c", ALONE, *words], stdout=file, stderr=subprocess.PIPE, check=True)
    assert (tmp_path / "all.rttm").read_bytes() == b"an earlier call\n" + said[1].read_bytes()


# --- mistakes


def test_a_pipe_as_a_file_is_refused_with_the_remedy(exports: Exports, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "call.wav")
    for path in (tmp_path / "call.wav", Path("/dev/zero")):
        error = refusal(path, "--point", exports.folders[BASELINE])  # and nobody waits for what never comes
        assert isinstance(error, CorpusError)
        assert str(error).startswith(f"{path} is a pipe or a device, not a file: ")
        assert "explorer diarize - --pcm RATE" in str(error)


def test_turns_and_json_do_not_share_an_output(exports: Exports, audio: Path) -> None:
    error = refusal(audio, "--point", exports.folders[BASELINE], "--rttm", "/dev/stdout", "--format", "json")
    assert "both write to standard output: give --rttm a file" in str(error)


@pytest.fixture
def point(exports: Exports) -> Path:
    return exports.folders[BASELINE]


def test_standard_input_is_raw_pcm_and_a_file_is_not(audio: Path, point: Path) -> None:
    for words in (["-"], [audio, "--pcm", 16_000]):
        assert "raw PCM comes from standard input and nothing else does" in str(refusal(*words, "--point", point))
    said = refusal("-", "--pcm", 16_000, "--live", "--point", point)
    assert "leave --live out" in str(said)
    assert "4000" in typed("-", "--pcm", 0, "--point", point).output


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_no_audio_is_said(point: Path, tmp_path: Path, rate: int) -> None:
    rttm = tmp_path / "x.rttm"
    error = refusal("-", "--pcm", rate, "--point", point, "--rttm", rttm, feed=b"\x00")
    assert isinstance(error, CorpusError)
    assert "there is no audio" in str(error)
    assert not rttm.exists()


@pytest.mark.parametrize("content", [None, b"", b"this is no audio"])
def test_what_is_no_audio_is_said(point: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "call.wav"
    if content is not None:
        path.write_bytes(content)
    error = refusal(path, "--point", point)
    assert isinstance(error, CorpusError)
    assert str(path) in str(error)


def test_an_rttm_that_cannot_be_written_is_said_before_anything_is_heard(
    audio: Path, point: Path, tmp_path: Path
) -> None:
    error = refusal(audio, "--point", point, "--rttm", tmp_path / "no" / "x.rttm")
    assert "the folder does not exist: create it" in str(error)
    error = refusal(audio, "--point", point, "--rttm", tmp_path)
    assert "is a folder" in str(error)
    error = refusal(tmp_path / "never heard.wav", "--point", point, "--rttm", tmp_path / ("x" * 252))
    assert "cannot be written (File name too long): take shorter names, or give another --rttm" in str(error)


def test_a_folder_that_is_no_bundle_is_said(audio: Path, tmp_path: Path) -> None:
    error = refusal(audio, "--point", tmp_path)
    assert isinstance(error, BundleError)
    assert str(tmp_path / POINT) in str(error)


def test_help_teaches_with_examples() -> None:
    assert "arecord" in typed("--help").output
