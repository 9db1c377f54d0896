"""`explorer export` as a user types it."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from explorer.bundle.bundle import CHECKPOINT, FILES, POINT
from explorer.commands.export import export
from tests.support.export_study import LOW_BIT, Exports

app = typer.Typer()
app.command()(export)


def test_the_command_says_what_it_wrote(exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.bundle.export.build_evaluator", lambda settings: exports.evaluator)
    monkeypatch.setattr("explorer.bundle.parity.LIVE_SECONDS", 3.0)
    words = ["study", str(exports.trials[LOW_BIT]), str(tmp_path / "points" / "small"), "--storage", exports.url]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert all(str(tmp_path / "points" / "small" / name) in done.stdout for name in FILES - {CHECKPOINT})
    assert "model.onnx gives 100.00 % of the frames of 12 windows" in done.stdout

    told = CliRunner().invoke(app, [*words, "--force", "--format", "json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert said.pop("folder") == str(tmp_path / "points" / "small")
    assert said == json.loads((tmp_path / "points" / "small" / POINT).read_text())


def test_help_teaches_with_an_example() -> None:
    assert "explorer export quickstart 13 points/small" in CliRunner().invoke(app, ["--help"]).output
