"""`explorer recommend` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import objectives.evaluation.evaluator
from explorer.cli import app
from objectives.errors import StudyError
from tests.support.analytic_evaluator import AnalyticEvaluator, small_study
from tests.support.corpora import write_recording
from tests.support.recommendation_study import LINEAR_40_FP16, add, add_baseline, empty_study


def typed(url: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["recommend", "study", "--storage", url, *words])


def told(url: str, *words: str) -> dict[str, Any]:
    ran = typed(url, "--format", "json", *words)
    assert ran.exit_code == 0, ran.output
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


@pytest.fixture
def studied(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A study whose corpus has a split test, scored by a formula: 15 % at C = 1 s, and 20 % at 0.5 s."""
    for uri in ("a", "b", "c"):
        write_recording(tmp_path / "corpus", uri)
    (tmp_path / "corpus" / "splits.json").write_text('{"eval": ["a", "b"], "test": ["c"]}')
    study = empty_study(small_study(corpus=str(tmp_path / "corpus")), url)
    add_baseline(study, [20.0, 22.0], 5.0)
    add(study, [22.0, 23.0], 2.5, 0.2, point=LINEAR_40_FP16, origin="paper:table2:FP16", execution="emulated")
    add(study, [19.5, 24.0], 1.25, 0.05)
    add(study, [30.0, 35.0], 6.0, 0.7)
    monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", lambda settings: AnalyticEvaluator())
    return url


def test_the_table_puts_test_first_and_says_all_there_is_to_say(studied: str) -> None:
    ran = typed(studied)
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[0] == "Without budgets: 4 of 4 points, 2 of them dominated by none of these."
    baseline, small = lines[3], lines[4]
    assert "15.00" in baseline
    assert "21.00" in baseline
    assert baseline.index("15.00") < baseline.index("21.00")
    assert small.rstrip().endswith("2nd lowest DER, smallest tied with the best")
    text = ran.stdout
    assert "Trial 2 (search): C 0.22 s, R 0 s, unpruned, fp32" in text
    # DER by formula: 10 + 5 / 0.22 against 15; on eval 21.75 against 21, by −0.5 and +2
    assert "DER on test +17.73 points (+118.2 %), 95 % interval +17.73 to +17.73 (2 recordings)" in text
    assert "DER on eval +0.75 points (+3.6 %), 95 % interval −0.50 to +2.00 (2 recordings), tied" in text
    assert "4.00 × smaller; RTF × 0.50" in text
    assert "as measured here (trial 1) DER on test" in text
    assert "2.00 × smaller; RTF not comparable, emulated" in text
    assert "2.03 × smaller than its baseline at +40.4 % DER as published" in text
    assert "dominates: paper:table2:FP16 (1); search trial 3" in text
    assert "scored once and kept in the study. The points were chosen on eval, whose DER flatters them" in text
    assert "The paper's figures are published ones: SIMSAMU, offline, NVIDIA L40S." in text


def test_json_has_it_all_unrounded(studied: str) -> None:
    answer = told(studied, "--max-size", "2", "--max-der-increase", "10%")
    assert answer["limits"] == {"size": 2.0, "der": pytest.approx(1.1 * 21.0)}
    (one,) = answer["recommendations"]
    assert (one["row"]["trial"], one["row"]["der"]) == (2, 21.75)
    assert one["test"]["der"] == pytest.approx(10 + 5 / 0.22)
    assert one["baseline"]["times_smaller"] == 4.0
    assert one["baseline"]["der"]["interval"]["resamples"] == 10_000
    assert one["paper_point"]["rtf_ratio"] is None
    assert one["published"]["der"] == 15.02
    assert [each["trial"] for each in one["dominates"]] == [1, 3]
    assert {role["name"] for role in one["roles"]} == {"lowest DER", "smallest tied with the best"}
    assert answer["test"]["status"] == "scored"
    assert answer["shortfall"] is None


def test_no_test_scores_nothing_and_says_so(studied: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: object) -> AnalyticEvaluator:
        raise AssertionError("nothing is to be built")

    monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", refuse)
    shown = typed(studied, "--no-test").stdout
    assert "DER % test" not in shown
    assert "No DER on test: not asked for." in shown
    assert "chosen on the split that it is scored on, eval, which flatters it" in shown


def test_markdown_is_a_table_and_a_list_for_each_point(studied: str) -> None:
    lines = typed(studied, "--format", "markdown").stdout.splitlines()
    assert lines[0] == "## Recommended operating points of `study`"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert rows[0].split(" | ")[7:9] == ["DER % test", "DER % eval"]
    assert "**Trial 0 (baseline): C 1 s, R 0 s, unpruned, fp32**" in lines
    assert sum(line.startswith("- *beside the baseline*: ") for line in lines) == 2


def test_no_point_inside_says_which_budget_binds_and_exits_with_1(studied: str) -> None:
    words = ("--max-size", "1", "--max-rtf", "0.06")
    ran = typed(studied, *words)
    assert ran.exit_code == 1
    assert ran.stdout.splitlines() == [
        "Within size ≤ 1 MiB, RTF ≤ 0.06: none of 4 points.",
        "size binds: with the others kept, the least is 1.25 MiB (trial 2), 25 % over 1 MiB",
        "RTF: giving up this budget alone would not help, since no point keeps the others",
        "Nearest is trial 2 (C 0.22 s, R 0 s, unpruned, fp32): over size by 25 %",
    ]
    ran = typed(studied, *words, "--format", "json")
    assert ran.exit_code == 1
    answer = json.loads(ran.stdout)
    assert answer["recommendations"] == []
    assert answer["shortfall"]["misses"][0] == {
        "budget": "size", "limit": 1.0, "reachable": 1.25, "trial": 2, "excess": 0.25
    }  # fmt: skip
    assert answer["nearest"]["trial"] == 2
    ran = typed(studied, *words, "--format", "markdown")
    assert ran.exit_code == 1
    assert "- size binds" in ran.stdout


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["--max-der-increase", "5pp"], "'5pp'"),
        (["--max-latency", "0"], "--max-latency 0"),
        (["--max-size", "-1"], "--max-size -1"),
        (["--max-rtf", "nan"], "--max-rtf nan"),
    ],
)
def test_a_mistake_is_one_error(studied: str, words: list[str], needle: str) -> None:
    error = typed(studied, *words).exception
    assert isinstance(error, StudyError)
    assert needle in str(error)


def test_help_shows_examples() -> None:
    assert "explorer recommend joint --max-latency 1.0" in CliRunner().invoke(app, ["recommend", "--help"]).output


def test_help_does_not_wait_for_torch_or_pyannote() -> None:
    code = (
        "import sys, explorer.commands.recommend; "
        "assert not {'torch', 'matplotlib', 'dask', 'pyannote.core'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
