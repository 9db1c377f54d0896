"""`explorer.load`: a study in a notebook."""

import inspect
import json
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

import explorer
from explorer.cli import app
from explorer.front import frames
from explorer.storage.connection import load_study
from objectives.errors import StudyError
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, run_study, small_study
from tests.test_layers import in_fresh_process


@pytest.fixture
def studied(url: str) -> str:
    run_study("study", small_study(trials=4), AnalyticEvaluator(), url)
    return url


def test_a_study_as_data_frames(studied: str) -> None:
    results = explorer.load("study", studied)
    front, recordings = results.front(), results.recordings()
    assert set(ORIGINS) <= set(front.origin)
    assert front[front.standing == "front"].der.is_monotonic_increasing
    assert set(results.pairs().trial) <= set(front.trial)
    assert recordings.groupby("trial").recording.apply(sorted).map(tuple).unique().tolist() == [("a", "b")]
    baseline = front.set_index("origin").loc["baseline"]
    errors = recordings[recordings.trial == baseline.trial]
    seconds = errors[["false_alarm_seconds", "missed_detection_seconds", "confusion_seconds"]].sum().sum()
    assert 100 * seconds / errors.total_seconds.sum() == pytest.approx(baseline.der) == pytest.approx(15.0)


def test_it_says_what_the_commands_say(studied: str) -> None:
    results = explorer.load("study.toml", studied)  # as STUDY of the command line

    def printed(*words: str) -> str:
        ran = CliRunner().invoke(app, [*words, "--storage", studied])
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    assert frames.as_csv(results.front()) == printed("front", "study", "--format", "csv")
    assert frames.as_csv(results.pairs("chunk-wise")) == printed("front", "study", "--pairs", "--format", "csv")
    budgets = ["--max-latency", "1.5", "--max-size", "5", "--max-rtf", "1", "--max-der-increase", "50%", "--top", "1"]
    told = json.loads(printed("recommend", "study", *budgets, "--no-test", "--format", "json"))
    advice = results.recommend(max_latency=1.5, max_size=5, max_rtf=1, max_der_increase=0.5, top=1, test=False)
    assert advice.limits == told["limits"]
    assert [one.row.trial for one in advice.recommendations] == [one["row"]["trial"] for one in told["recommendations"]]


@pytest.mark.parametrize("increase", ["5%", 5, 0.05])
def test_an_increase_of_der_is_given_as_on_the_command_line(studied: str, increase: str | float) -> None:
    advice = explorer.load("study", studied).recommend(max_der_increase=increase, test=False)
    assert advice.limits == {"der": pytest.approx(15.75)}


def test_budgets_that_are_none_are_refused(studied: str) -> None:
    results = explorer.load("study", studied)
    with pytest.raises(StudyError, match="positive number"):
        results.recommend(max_size=-1.0, test=False)
    with pytest.raises(ValueError, match="use 1 or more"):
        results.recommend(top=0, test=False)
    with pytest.raises(StudyError, match="no study named 'other'; it holds: study"):
        explorer.load("other", studied)


def test_a_trial_of_another_program_is_left_out_with_a_warning(studied: str) -> None:
    study = load_study("study", studied)
    trial = study.ask()
    study.tell(trial, [1.0, 1.0, 1.0])
    results = explorer.load("study", studied)
    for shown in (results.front, results.pairs, results.recordings, lambda: results.recommend(test=False)):
        with pytest.warns(UserWarning, match=f"^Left out.*trial {trial.number}: ") as told:
            shown()
        assert {one.filename for one in told} == {__file__}


def test_the_notebook_in_the_docstring_runs(
    studied: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies.db").rename(tmp_path / "explorer.db")
    monkeypatch.chdir(tmp_path)
    cells = inspect.getdoc(explorer.load).split("In a notebook:\n\n")[1].split("\n\n")[0]
    cells = textwrap.dedent(cells).replace('"quickstart"', '"study"')
    assert len(cells.splitlines()) == 5
    known: dict[str, object] = {}
    exec(cells, known)
    assert type(known["results"]).__name__ == "StudyResults"


LIGHT = """
import sys
import explorer
print(*[name for name in ("optuna", "pandas", "torch") if name in sys.modules])
explorer.load("study", {url!r})
print(*[name for name in ("pandas", "torch") if name in sys.modules])
from explorer.cli import app
app(["front", "study", "--storage", {url!r}], standalone_mode=False)
print("loaded:", *[name for name in ("pandas", "torch") if name in sys.modules])
"""


def test_pandas_waits_until_a_frame_is_asked_for(studied: str) -> None:
    first, second, *_, last = in_fresh_process(LIGHT.format(url=studied)).splitlines()
    assert (first, second, last) == ("", "", "loaded:")
