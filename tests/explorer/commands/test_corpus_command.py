import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from explorer.commands.corpus import corpus
from objectives.errors import CorpusError
from tests.support.corpora import tone, write_audio, write_recording

app = typer.Typer()
app.command()(corpus)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160"}, catch_exceptions=True)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """`train` [b]all: ana 0.5 … 1.5; `eval` a: ana 0 … 1, bea 0.5 … 1.5, so a third of 1.5 s overlaps."""
    folder = tmp_path / "calls"
    write_recording(folder, "[b]all", turns=[(0.5, 1.0, "ana")])
    write_recording(folder, "a", turns=[(0.0, 1.0, "ana"), (0.5, 1.0, "bea")])
    (folder / "splits.json").write_text(json.dumps({"train": ["[b]all"], "eval": ["a"]}))
    return folder


def test_json_is_clean_and_complete(calls: Path) -> None:
    result = invoke(str(calls), "--format", "json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["name"] == "calls"
    assert len(told["fingerprint"]) == 64
    assert told["recordings"][1] == {
        "uri": "a",
        "split": "eval",
        "duration": 2.0,
        "annotated": 2.0,
        "speakers": 2,
        "speech": 1.5,
        "overlap": 0.5,
        "overlap_share": 0.3333,
    }
    assert [(split["split"], split["recordings"], split["speech"]) for split in told["splits"]] == [
        ("train", 1, 1.0),
        ("eval", 1, 1.5),
    ]
    assert told["shared_speakers"] == {"ana": ["train", "eval"]}


def test_csv_has_a_line_for_each_recording(calls: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke(str(calls), "--format", "csv").stdout)))
    assert [(row["uri"], row["split"], row["speech"], row["speakers"]) for row in rows] == [
        ("[b]all", "train", "1.0", "1"),
        ("a", "eval", "1.5", "2"),
    ]


def test_table_shows_recordings_totals_and_shared_speakers(calls: Path) -> None:
    shown = invoke(str(calls)).stdout
    assert "[b]all" in shown  # a name is no markup
    assert "33.3" in shown
    assert "speaker ana is in train, eval" in shown


def test_seed_draws_the_splits(tmp_path: Path) -> None:
    for uri in "abcdefgh":
        write_recording(tmp_path, uri)
    drawn = {invoke(str(tmp_path), "--format", "csv", "--seed", str(seed)).stdout for seed in (0, 0, 1, 2)}
    assert len(drawn) == 3
    assert invoke(str(tmp_path), "--format", "csv").stdout in drawn  # 0 where none is given


def test_check_decodes_the_audio(calls: Path) -> None:
    samples = tone(2.0)
    samples[-1] = np.nan
    write_audio(calls / "a.wav", samples)
    assert invoke(str(calls)).exit_code == 0
    found = invoke(str(calls), "--check").exception
    assert isinstance(found, CorpusError)
    assert "a.wav: the sample at 2.000 s is nan" in str(found)


def test_an_unusable_corpus_prints_nothing_to_stdout(calls: Path) -> None:
    (calls / "a.rttm").write_text("SPEAKER a\n")
    result = invoke(str(calls), "--format", "json")
    assert isinstance(result.exception, CorpusError)
    assert result.stdout == ""
