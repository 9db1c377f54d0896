"""`explorer assets`, on an empty cache and on a damaged one."""

import csv
import hashlib
import io
import json
import sys

import pytest
from typer.testing import CliRunner

from explorer.cli import main
from explorer.commands.assets import app
from objectives.cache.assets import ASSETS, assets_dir
from objectives.errors import AssetError

run = CliRunner().invoke


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))


def put(name: str, data: bytes) -> None:
    path = ASSETS[name].path
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def test_list_says_what_is_there(empty_cache):
    put("campplus", b"\0" * ASSETS["campplus"].size)
    put("segmentation-3.0", b"short")
    rows = json.loads(run(app, ["list", "--format", "json"]).stdout)
    assert {row["name"]: row["state"] for row in rows} == {
        "segmentation-3.0": "damaged",
        "campplus": "present",
        "ami-excerpts": "absent",
    }
    assert rows[0]["size"] == 5_905_440
    assert rows[0]["path"] == str(assets_dir() / "segmentation-3.0" / "pytorch_model.bin")
    read = list(csv.DictReader(io.StringIO(run(app, ["list", "--format", "csv"]).stdout)))
    assert read == [{key: str(value) for key, value in row.items()} for row in rows]
    table = run(app, ["list"], env={"COLUMNS": "160"}).stdout
    assert [line.split()[0] for line in table.splitlines() if " MiB " in line] == list(ASSETS)


def test_verify_goes_through_all_and_names_both_hashes(empty_cache, monkeypatch, capsys):
    put("segmentation-3.0", b"short")
    monkeypatch.setattr(sys, "argv", ["explorer", "assets", "verify"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    for words in (
        hashlib.sha256(b"short").hexdigest(),
        ASSETS["segmentation-3.0"].files[0].sha256,
        "explorer assets fetch segmentation-3.0 --force",
        "explorer assets fetch campplus",
        "explorer assets fetch ami-excerpts",
    ):
        assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_unknown_name_is_an_error_that_lists_the_known_ones(empty_cache, command):
    error = run(app, [command, "segmentation"]).exception
    assert isinstance(error, AssetError)
    assert "ami-excerpts, campplus, segmentation-3.0" in str(error)


def test_fetch_then_verify():
    fetched = run(app, ["fetch", "ami-excerpts"])
    assert fetched.stdout == f"ami-excerpts\t{ASSETS['ami-excerpts'].path}\n"
    verified = run(app, ["verify", "ami-excerpts"])
    assert verified.stdout == f"ami-excerpts\tok\t{ASSETS['ami-excerpts'].path}\n"
