"""Versions of packages: kept with each trial, told when they change, and shown when they are mixed."""

import csv
import io
import json
from collections.abc import Sequence

import pytest
from rich.console import Console
from typer.testing import CliRunner

from explorer.cli import app
from explorer.commands.front import print_tables
from explorer.front.pareto import front
from explorer.search.observer import Observer
from explorer.storage import provenance
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from objectives.machine import PACKAGES, versions
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study


class Heard(Observer):
    def __init__(self) -> None:
        self.changes: list[Sequence[str]] = []

    def versions_changed(self, changes: Sequence[str]) -> None:
        self.changes.append(changes)


def run(url: str, numpy: str | None, trials: int, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Search up to so many trials with that numpy; what was told of versions. None: an explorer that kept none."""
    told = versions() | {"numpy": numpy} if numpy else {}
    monkeypatch.setattr("explorer.workers.in_process.versions", lambda: told)
    monkeypatch.setattr("tests.support.analytic_evaluator.VERSIONS", told)
    heard = Heard()
    run_study("study", small_study(trials=trials, fixed={}), AnalyticEvaluator(), url, heard)
    return heard.changes


def test_every_package_that_decides_an_answer_is_named() -> None:
    told = versions()
    assert tuple(told) == ("python", *PACKAGES)
    assert "(absent)" not in told.values()


def test_mixtures_by_hand() -> None:
    old, new = {"numpy": "1", "scipy": "5"}, {"numpy": "2", "scipy": "5"}
    assert provenance.mixed_versions({}) == ()
    assert provenance.mixed_versions({0: old, 1: old}) == ()
    assert provenance.mixed_versions({0: None, 1: None}) == ()
    assert provenance.mixed_versions({0: old, 1: old, 2: old, 3: new, 5: new, 4: old}) == (
        "numpy 1 (trials 0–2, 4) and 2 (trials 3, 5)",
    )
    assert provenance.mixed_versions({0: None, 1: old, 2: new}) == (
        "numpy not kept (trial 0) and 1 (trial 1) and 2 (trial 2)",
    )


def test_a_resumed_study_says_what_has_changed_and_is_not_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(url, None, 1, monkeypatch) == []
    assert run(url, "2.4.5", 2, monkeypatch) == []  # nothing is known of before
    assert run(url, "2.4.5", 3, monkeypatch) == []
    assert run(url, "2.4.6", 4, monkeypatch) == [("numpy 2.4.5 → 2.4.6",)]
    trials = load_study("study", url).get_trials()
    assert [trial.user_attrs[record.VERSIONS].get("numpy") for trial in trials] == [
        None, None, "2.4.5", "2.4.5", "2.4.6",
    ]  # fmt: skip


def test_mixed_versions_are_shown_with_the_figures(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(url, "2.4.5", 0, monkeypatch)
    rows = front(load_study("study", url))
    plain = Console(file=io.StringIO(), width=200)
    print_tables(rows, plain)
    assert "versions" not in plain.file.getvalue()
    run(url, "2.4.6", 6, monkeypatch)
    study = load_study("study", url)
    first = [trial.number for trial in study.trials if trial.user_attrs[record.VERSIONS]["numpy"] == "2.4.5"]
    shown = CliRunner().invoke(app, ["front", "study", "--storage", url]).stdout
    assert "Measured with several versions, which may decide a label otherwise: numpy 2.4.5 (trial" in shown
    sheet = list(
        csv.DictReader(
            io.StringIO(CliRunner().invoke(app, ["front", "study", "--storage", url, "--format", "csv"]).stdout)
        )
    )
    assert {row["trial"] for row in sheet if "numpy=2.4.5" in row["versions"]} >= {str(first[0])}
    assert all(row["model_key"] and row["data"] for row in sheet)
    told = json.loads(CliRunner().invoke(app, ["status", "study", "--storage", url, "--format", "json"]).stdout)
    assert told["versions"]["numpy"] == "2.4.6"
    assert any(line.startswith("numpy 2.4.5 (trial") for line in told["mixed"])
