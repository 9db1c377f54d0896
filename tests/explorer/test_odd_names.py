"""Names that are no names of files: whatever a study or a recording is called, nothing is written outside of where a
user asked for it, and no traceback is shown."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from explorer.bundle.stream import Spoken, rttm
from explorer.cli import app
from explorer.storage.connection import load_study
from objectives.corpora.rttm import read_rttm
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study

NAMES = ("../x", "a/b", "CON", "", "n" * 300, 'it\'s "%s%n" {x}', "-x", "a\nb", "💥 é", "\x1b[31m")


def typed(*words: object) -> str:
    told = CliRunner().invoke(app, [*map(str, words)])
    assert told.exit_code == 0, (words, told.exception)
    return told.stdout


def test_a_study_may_have_any_name(tmp_path: Path) -> None:
    (work := tmp_path / "work").mkdir()
    url = f"sqlite:///{work}/studies.db"
    for name in NAMES:
        run_study(name, small_study(trials=0, fixed={}), AnalyticEvaluator(), url)
        typed("status", "--storage", url, "--", name)
        assert load_study(name, url).study_name == name
    for name in NAMES[:2]:
        typed("front", "--storage", url, "--plot", work / "front.svg", "--", name)
        typed("report", "--storage", url, "--force", "--", name, work / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    made = {path.name for path in work.iterdir() if not path.name.startswith((".studies.db", "studies.db"))}
    assert made == {"front.svg", "report"}


@pytest.mark.parametrize("stem", ["a call", "..", "-x", "é 💥", "a\nb", "n" * 250, "%s", "a\tb"])
def test_a_recording_of_any_name_is_one_word_of_an_rttm(tmp_path: Path, stem: str) -> None:
    told = rttm((Spoken(0.5, 1.5, 1, 1.5),), stem)
    assert told.count("\n") == 1
    (tmp_path / "x.rttm").write_text(told)
    assert len(read_rttm(tmp_path / "x.rttm")) == 1
