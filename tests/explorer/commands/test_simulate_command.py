"""`explorer corpus simulate`: what it prints, and what it leaves alone."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from explorer.cli import app
from objectives.corpora.simulation import conversations
from objectives.errors import CorpusError
from tests.support.corpora import tone, write_audio
from tests.support.speech_bursts import write_voices


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("speech"), 6, seconds=8.0)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["corpus", *map(str, arguments)], env={"COLUMNS": "160"}, catch_exceptions=True)


def made(voices: Path, out: Path, *more: str) -> Result:
    return invoke("simulate", voices, out, "--minutes", "1", "--length", "0.5", "--speakers", "2", *more)


def test_what_is_made_is_a_corpus(voices: Path, tmp_path: Path) -> None:
    result = made(voices, tmp_path / "deep" / "out", "--noise", "15", "--band", "telephone")
    assert result.exit_code == 0, result.output
    assert "6 people in speech" in result.stdout
    assert "a folder for each person" in result.stdout
    assert "caveat: too few people or recordings for other splits than eval, train" in result.stdout
    assert "all of it is used up to" in result.stdout
    shown = invoke(tmp_path / "deep" / "out", "--check", "--format", "json")
    assert shown.exit_code == 0, shown.output
    assert [one["uri"] for one in json.loads(shown.stdout)["recordings"]] == ["eval000", "train001"]
    assert invoke("show", tmp_path / "deep" / "out").exit_code == 0


def test_recorded_noise_is_told_with_a_hash_of_it(voices: Path, tmp_path: Path) -> None:
    hum = write_audio(tmp_path / "hall" / "deep" / "hum.wav", tone(3.0))

    def told(out: str) -> dict[str, Any]:
        result = made(voices, tmp_path / out, "--noise", "5", "--noise-dir", str(tmp_path / "hall"), "--format", "json")
        assert result.exit_code == 0, result.output
        assert (
            json.loads((tmp_path / out / "simulation.json").read_text())["noise"] == json.loads(result.stdout)["noise"]
        )
        return json.loads(result.stdout)  # type: ignore[no-any-return]

    first = told("one")
    assert first["settings"]["noise_kind"] == "recorded"
    content = hashlib.sha256(hum.read_bytes()).hexdigest()
    whole = hashlib.sha256(f"{content} deep/hum.wav\n".encode()).hexdigest()
    assert first["noise"] == {"name": "hall", "files": ["deep/hum.wav"], "sha256": whole}
    write_audio(hum, tone(3.0, 300))
    assert told("two")["noise"]["sha256"] != whole
    plain = made(voices, tmp_path / "three", "--noise", "5", "--format", "json")
    assert (json.loads(plain.stdout)["noise"], json.loads(plain.stdout)["settings"]["noise_kind"]) == (None, "pink")


def test_recorded_noise_without_a_level_is_refused(voices: Path, tmp_path: Path) -> None:
    write_audio(tmp_path / "hall" / "hum.wav", tone(1.0))
    for level in ((), ("--noise", "none")):
        refused = made(voices, tmp_path / "out", "--noise-dir", str(tmp_path / "hall"), *level)
        assert isinstance(refused.exception, CorpusError)
        assert "give --noise DB too, such as --noise 15, or leave --noise-dir out" in str(refused.exception)
    assert not (tmp_path / "out").exists()


def test_json_is_what_the_folder_keeps(voices: Path, tmp_path: Path) -> None:
    told = json.loads(made(voices, tmp_path / "out", "--format", "json").stdout)
    assert told.pop("folder") == str(tmp_path / "out")
    assert told == json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert "voices" not in told


def test_an_existing_folder_stays_unless_it_is_an_earlier_simulation(voices: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert made(voices, out).exit_code == 0
    before = (out / "simulation.json").read_bytes()
    again = made(voices, out, "--seed", "1")
    assert isinstance(again.exception, CorpusError)
    assert "exists already: give another folder, or --force" in str(again.exception)
    assert (out / "simulation.json").read_bytes() == before
    assert made(voices, out, "--seed", "1", "--force").exit_code == 0
    assert (out / "simulation.json").read_bytes() != before
    (out / "simulation.json").unlink()
    refused = made(voices, out, "--force")
    assert "is not a simulation (no simulation.json in it)" in str(refused.exception)
    inside = made(voices, voices / "made")
    assert "lies inside" in str(inside.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_an_interrupted_simulation_leaves_nothing(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = conversations.Studio.record

    def stopped(self: conversations.Studio, uri: str, split: str, place: int, *more: object) -> conversations.Simulated:
        if place == 1:
            raise KeyboardInterrupt
        return record(self, uri, split, place, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(conversations.Studio, "record", stopped)
    made(voices, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_named(voices: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = made(voices, tmp_path / "file" / "out")
    assert isinstance(refused.exception, CorpusError)
    assert "cannot be written" in str(refused.exception)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--noise", "loud", "noise 'loud': give dB"),
        ("--speakers", "two", "speakers 'two': give a number"),
        ("--speakers", "3-2", "3-2 speakers"),
        ("--overlap", "0.9", "an overlap of 0.9"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    voices: Path, tmp_path: Path, option: str, value: str, said: str
) -> None:
    refused = invoke("simulate", voices, tmp_path / "out", option, value)
    assert isinstance(refused.exception, CorpusError)
    assert said in str(refused.exception)


def test_a_corpus_is_shown_by_its_name_alone(tmp_path: Path) -> None:
    shown = invoke(tmp_path / "nowhere")
    assert isinstance(shown.exception, CorpusError)
    assert "unknown corpus" in str(shown.exception)
    assert "unknown corpus" in str(invoke("--format", "json", "nowhere").exception)
    for help in ((), ("--help",)):
        told = invoke(*help).output
        assert "simulate" in told
        assert "show" in told
    assert "--overlap" in invoke("simulate", "--help").output
