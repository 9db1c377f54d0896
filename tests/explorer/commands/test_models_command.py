"""`explorer models`, on small real files made and left behind by other processes."""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from explorer.cli import app, main
from objectives.cache.files import content_key
from objectives.cache.model_store import kept_model
from objectives.errors import ModelError

FORK = multiprocessing.get_context("fork")
BASELINE = {"base": "da85", "structure": "none", "ratio": 0.0, "precision": "fp32", "recovery": None}
PRUNED = BASELINE | {
    "structure": "hidden",
    "ratio": 0.4,
    "precision": "int8_ptq",
    "recovery": {"method": "distill", "steps": 200},
    "quantization": {"group_size": 32},
}
STORY = {"kept": {"hidden": 84}, "params": 692_345, "losses": {"before": [0.5], "after": 0.25}}
KEYS = [content_key(**ingredients) for ingredients in (BASELINE, PRUNED)]
DAY = 86_400


def writing(content: bytes, story: Mapping[str, Any]) -> Callable[[Path], Mapping[str, Any]]:
    """What makes a file of that content."""

    def make(target: Path) -> Mapping[str, Any]:
        target.write_bytes(content)
        return story

    return make


def fill() -> None:
    kept_model(BASELINE, ".bin", writing(b"0" * 2**20, {"params": 1_473_265}))
    kept_model(PRUNED, ".safetensors", writing(b"1" * 2**19, STORY))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a store with two whole models, one with an ONNX graph, made by a process that has ended."""
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    process = FORK.Process(target=fill)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    folder = tmp_path / "cache" / "models"
    (folder / f"{KEYS[0]}.onnx").write_bytes(b"graph" * 1000)
    return folder


def run(*words: str, typed: str | None = None) -> str:
    result = CliRunner().invoke(app, ["models", *words], input=typed, env={"COLUMNS": "160"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def listed() -> dict[str, Mapping[str, Any]]:
    return {row["key"]: row for row in json.loads(run("list", "--format", "json"))}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def damage(folder: Path) -> Path:
    """Change one byte of the pruned model, and leave half a graph of the baseline behind."""
    (folder / f".{KEYS[0]}.onnx.abcdefgh.onnx").write_bytes(b"half")
    path = folder / f"{KEYS[1]}.safetensors"
    path.write_bytes(b"2" + path.read_bytes()[1:])
    return path


def test_an_empty_store_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))
    assert run("list").startswith("no models, 0.00 MiB in ")
    assert run("list", "--format", "json") == "[]\n"
    assert "deleted 0 files" in run("clean")
    assert not (tmp_path / "models").exists()


def test_list_tells_of_each_how_it_was_made(folder: Path) -> None:
    rows = listed()
    assert set(rows) == set(KEYS)
    row = rows[KEYS[1]]
    assert {name: row[name] for name in ("structure", "ratio", "precision", "kept", "params", "recovery", "state")} == {
        "structure": "hidden",
        "ratio": 0.4,
        "precision": "int8_ptq",
        "kept": {"hidden": 84},
        "params": 692_345,
        "recovery": "distill",
        "state": "whole",
    }
    assert row["size_bytes"] == 2**19
    baseline = rows[KEYS[0]]
    assert (baseline["recovery"], baseline["kept"]) == (None, None)
    sidecar = (folder / f"{KEYS[0]}.json").stat().st_size
    assert baseline["size_on_disk_bytes"] == 2**20 + 5000 + sidecar


def test_the_table_shows_what_the_json_tells(folder: Path) -> None:
    os.utime(folder / f"{KEYS[1]}.json", (time.time() - 3 * DAY,) * 2)
    lines = run("list").splitlines()
    (row,) = [line for line in lines if line.startswith(KEYS[1][:8])]
    for cell in ("hidden", "0.4", "int8_ptq", "84 hidden", " 0.50 ", "0.692 M", "distill", " 0 s ", " 3 d ", "whole"):
        assert cell in row
    assert lines[-1].startswith("2 models (2 whole), 1.5")


def test_list_tells_what_is_damaged_and_half_written(folder: Path) -> None:
    damage(folder)
    (folder / f".{'0' * 32}.bin.abcdefgh.bin").write_bytes(b"half")
    rows = listed()
    assert {key: row["state"] for key, row in rows.items()} == {
        KEYS[0]: "whole",
        KEYS[1]: "damaged",
        "0" * 32: "half-written",
    }
    assert "SHA-256" in rows[KEYS[1]]["damage"]
    assert "(1 whole, 1 damaged, 1 half-written)" in run("list")


def test_show_tells_everything_by_a_unique_beginning(folder: Path) -> None:
    told = json.loads(run("show", KEYS[1][:6].upper(), "--format", "json"))
    assert told["made_from"] == PRUNED
    assert told["story"] == STORY
    assert len(told["files"]) == 2
    shown = " ".join(run("show", KEYS[1][:6]).split())
    for line in ("made_from.recovery.steps 200", "made_from.quantization.group_size 32", "story.losses.before [0.5]"):
        assert line in shown


def test_show_of_an_unknown_or_ambiguous_key_is_one_clear_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["explorer", "models", "show", "xyz"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert f"no finished model in {folder} has a key that begins with 'xyz'" in said
    assert "explorer models list" in said
    with pytest.raises(ModelError, match=f"2 finished models .*{KEYS[0][:8]}.*give more"):
        run("show", "")


def test_clean_deletes_debris_without_asking_and_says_what_more_could_go(folder: Path) -> None:
    damage(folder)
    would = run("clean", "--dry-run")
    assert f"would delete {KEYS[1]}" in would
    assert f".{KEYS[0]}.onnx.abcdefgh.onnx" in would
    assert f"{KEYS[1]}.safetensors" in names(folder)
    said = run("clean")
    assert "deleted 3 files, 0.50 MiB" in said
    assert "1 model (1.0" in said
    assert "--all" in said
    assert names(folder) == {f"{KEYS[0]}.{suffix}" for suffix in ("bin", "json", "onnx")}


def test_damaged_alone_says_nothing_of_whole_models(folder: Path) -> None:
    damage(folder)
    said = run("clean", "--damaged")
    assert "deleted 3 files" in said
    assert "--all" not in said


def test_clean_asks_before_whole_models_go(folder: Path) -> None:
    everything = names(folder)
    refused = CliRunner().invoke(app, ["models", "clean", "--all"], input="n\n")
    assert refused.exit_code == 1
    assert "Delete 2 models (1.5" in refused.output
    assert names(folder) == everything
    assert "would delete" in run("clean", "--all", "--dry-run")
    assert names(folder) == everything
    assert "deleted 5 files" in run("clean", "--all", typed="y\n")
    assert names(folder) == set()


def test_clean_of_the_unused_goes_by_the_last_use(folder: Path) -> None:
    os.utime(folder / f"{KEYS[0]}.json", (time.time() - 9.9 * DAY,) * 2)
    os.utime(folder / f"{KEYS[1]}.json", (time.time() - 10.1 * DAY,) * 2)
    said = run("clean", "--unused-for", "10", "--yes")
    assert f"to delete: {KEYS[1]} (hidden 0.4 int8_ptq, 0.50 MiB, last used 10 d ago)" in said
    assert set(listed()) == {KEYS[0]}


def test_clean_spares_a_model_in_use(folder: Path) -> None:
    ours, theirs = FORK.Pipe()

    def use() -> None:
        kept_model(BASELINE, ".bin", writing(b"made again", {}))
        theirs.send("using")
        theirs.recv()

    process = FORK.Process(target=use, daemon=True)
    process.start()
    assert ours.poll(30)
    assert f"{KEYS[0]} stays: a running process uses it" in run("clean", "--all", "--yes")
    assert names(folder) == {f"{KEYS[0]}.{suffix}" for suffix in ("bin", "json", "onnx")}
    ours.send("end")
    process.join(30)
    assert "deleted 3 files" in run("clean", "--all", "--yes")


def test_choices_that_exclude_each_other_are_refused(folder: Path) -> None:
    result = CliRunner().invoke(app, ["models", "clean", "--all", "--unused-for", "3", "--yes"])
    assert result.exit_code == 2
    assert len(names(folder)) == 5


@pytest.mark.parametrize("command", ["list", "show", "clean"])
def test_help_teaches_by_example(command: str) -> None:
    assert f"explorer models {command}" in run(command, "--help")


def test_prune_is_the_hidden_old_name_of_clean(folder: Path) -> None:
    damage(folder)
    assert run("prune", "--dry-run") == run("clean", "--dry-run")
    assert "deleted 3 files" in run("prune")
    assert "deleted 0 files" in run("clean")
    commands = {line.split()[1] for line in run("--help").splitlines() if line.startswith("│ ")}
    assert "clean" in commands
    assert "prune" not in commands
