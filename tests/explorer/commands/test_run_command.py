"""`explorer run`, `front` and `status` as a user types them, on the analytic evaluator."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

import objectives.evaluation.evaluator
from explorer import cli
from explorer.commands.front import front
from explorer.commands.run import run
from explorer.commands.status import status
from objectives.compression.settings import CompressionSettings
from objectives.errors import EvaluationError, StudyError
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import OperatingPoint, Pruning
from tests.support.analytic_evaluator import AnalyticEvaluator
from tests.support.forked_processes import start, wait_for_running
from tests.support.sign_models import sign_embedding

STUDY = 'trials = 1\nsampler = "random"\n[fixed]\nright_context = [0.5]\n'

app = typer.Typer()
app.command()(run)
app.command()(front)
app.command()(status)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[EvaluatorSettings]:
    """Stand in a folder of one's own with `study.toml`; the settings of each evaluator that was built."""
    made: list[EvaluatorSettings] = []

    def build(settings: EvaluatorSettings) -> AnalyticEvaluator:
        made.append(settings)
        evaluator = AnalyticEvaluator()
        evaluator.accuracy = SimpleNamespace(embedding=sign_embedding())
        return evaluator

    monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", build)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    return made


def typed(*words: str) -> Result:
    return CliRunner().invoke(app, words, catch_exceptions=True)


def test_run_then_front_then_status(built: list[EvaluatorSettings], tmp_path: Path) -> None:
    ran = typed("run", "study.toml")
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "explorer.db").is_file()
    assert "paper:figure1:R=0.5" in ran.stdout
    assert "Study 'study' in sqlite:///explorer.db. Done" in ran.stdout
    assert "[3/3] trial 2 search" in ran.stderr
    assert "Nothing left to do" in typed("run", "study.toml").stdout

    rows = json.loads(typed("front", "study", "--format", "json").stdout)
    assert {row["origin"] for row in rows} >= {"baseline", "paper:figure1:R=0.5"}
    sheet = list(csv.DictReader(io.StringIO(typed("front", "study.toml", "--format", "csv").stdout)))
    assert [row["origin"] for row in sheet] == [row["origin"] for row in rows]
    assert "baseline" in typed("front", "study").stdout

    assert json.loads(typed("status", "study", "--format", "json").stdout)["states"] == {"complete": 3}
    assert "3 complete" in typed("status", "study").stdout


def test_the_tables_of_the_paper_and_the_choice_between_them_are_shown(built: list[EvaluatorSettings]) -> None:
    fixed = 'variants = ["Hidden-40", "Linear-40"]\nprecisions = ["fp16"]\n'
    Path("study.toml").write_text(f'trials = 0\n[space]\nmode = "offline"\n[fixed]\n{fixed}')
    ran = typed("run", "study.toml")
    chosen = "Linear-40: DER on calib 10.40 % (Hidden-40 14.00, +3.60)"
    assert f"Table 2's variant: {chosen}" in ran.stderr
    assert "trial 3 paper:table2:FP16  Linear-40, fp16, offline" in ran.stderr
    assert "Table 2: precision of Linear-40" in ran.stdout
    assert "12.66" in ran.stdout
    assert chosen in typed("status", "study").stdout
    told = json.loads(typed("status", "study", "--format", "json").stdout)
    assert told["table2_variant"]["variant"] == "Linear-40"


def test_a_table_without_a_variant_is_told_at_the_end(
    built: list[EvaluatorSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = AnalyticEvaluator(fails=frozenset({OperatingPoint(pruning=Pruning("hidden", 0.4))}))
    monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", lambda settings: broken)
    Path("study.toml").write_text('trials = 0\n[fixed]\nvariants = ["Hidden-40"]\nprecisions = ["fp16"]\n')
    stdout = typed("run", "study.toml").stdout
    assert "Table 2 is not measured, its variant is not chosen yet (Hidden-40: " in stdout
    assert "paper:table2:FP16" in stdout


def test_json_is_all_that_standard_output_holds(built: list[EvaluatorSettings]) -> None:
    told = json.loads(typed("run", "study.toml", "--format", "json").stdout)
    assert (told["study"], told["stopped"], told["trials"], told["failed"]) == ("study", "done", 3, 0)
    assert told["front"][0]["standing"] == "front"


def test_options_win_over_the_file(built: list[EvaluatorSettings]) -> None:
    words = ["--corpus", "mine", "--split", "test", "--seed", "4", "--trials", "0", "--name", "other"]
    limits = ["--limit", "latency=1.0", "--limit", "rtf=0.5"]
    ran = typed(
        "run", "study.toml", *words, *limits, "--device", "cuda", "--storage", "sqlite:///here.db", "--trust", "ab" * 32
    )
    assert ran.exit_code == 0, ran.output
    assert built == [
        EvaluatorSettings(
            corpus="mine",
            split="test",
            segmentation="pyannote/segmentation-3.0",
            embedding="campplus",
            clustering_threshold=None,
            repeats=3,
            threads=1,
            seed=4,
            compression=CompressionSettings(seed=4),
            device="cuda",
            trusted=frozenset({"ab" * 32}),
        )
    ]
    told = json.loads(typed("status", "other", "--storage", "sqlite:///here.db", "--format", "json").stdout)
    assert told["definition"]["limits"] == {"latency": 1.0, "der": None, "size": None, "rtf": 0.5}
    rows = json.loads(typed("front", "other", "--storage", "sqlite:///here.db", "--format", "json").stdout)
    assert [row["exceeded"] for row in rows if row["origin"] == "paper:figure1:R=0.5"] == [["latency"]]


@pytest.mark.parametrize(("word", "modes"), [("both", {"chunk-wise", "online"}), ("online", {"online"})])
def test_tracking_is_a_dimension_when_asked(built: list[EvaluatorSettings], word: str, modes: set[str]) -> None:
    ran = typed("run", "study.toml", "--tracking", word, "--trials", "0", "--format", "json")
    assert {row["mode"] for row in json.loads(ran.stdout)["front"]} == modes


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["nonsense"], "no study is named 'nonsense'"),
        (["study.toml", "--limit", "latency"], "--limit 'latency' is not key=value"),
        (["study.toml", "--limit", "latency=soon"], "--limit 'latency=soon' is not key=value"),
        (["study.toml", "--limit", "watts=5"], "'watts' is not a budget: use one of latency, der, size, rtf"),
        (["study.toml", "--limit", "rtf=-1"], "limits.rtf = -1.0"),
        (["study.toml", "--sampler", "best"], "sampler = 'best'"),
        (["study.toml", "--timeout", "0"], "timeout = 0.0"),
    ],
)
def test_a_mistake_is_a_study_error_before_anything_is_built(
    built: list[EvaluatorSettings], words: list[str], needle: str
) -> None:
    error = typed("run", *words).exception
    assert isinstance(error, StudyError)
    assert needle in str(error)
    assert built == []
    assert not Path("explorer.db").exists()


def test_the_evaluator_is_closed_however_a_run_ends(
    built: list[EvaluatorSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trip(point: object) -> None:
        raise KeyError("a bug")

    for evaluator in (AnalyticEvaluator(), AnalyticEvaluator(before=trip)):
        monkeypatch.setattr(
            objectives.evaluation.evaluator, "build_evaluator", lambda settings, evaluator=evaluator: evaluator
        )
        typed("run", "study.toml", "--storage", f"sqlite:///{id(evaluator)}.db")
        assert evaluator.closed


def test_a_run_in_which_every_trial_failed_exits_with_1(
    built: list[EvaluatorSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(point: object) -> None:
        raise EvaluationError("the [model] is broken")

    def build(settings: EvaluatorSettings) -> AnalyticEvaluator:
        return AnalyticEvaluator(before=refuse)

    monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", build)
    ran = typed("run", "study.toml")
    assert ran.exit_code == 1
    assert "3 of 3 trials failed" in ran.stdout
    assert "failed: the [model] is broken" in ran.stdout
    assert "failed: trial 0 (baseline): the [model] is broken" in typed("status", "study").stdout


def run_slowly(url: str, said: Path) -> None:
    """`explorer run study.toml` on an evaluator that takes its time, with what it says on stderr in a file."""
    objectives.evaluation.evaluator.build_evaluator = lambda settings: AnalyticEvaluator(seconds=0.7)
    with said.open("w") as sink, contextlib.redirect_stderr(sink):
        cli.app(["run", "study.toml", "--storage", url])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_resume(
    built: list[EvaluatorSettings], tmp_path: Path, number: int
) -> None:
    url, said = f"sqlite:///{tmp_path}/explorer.db", tmp_path / "said"
    process = start(run_slowly, url, said)
    try:
        wait_for_running(url, 1, process)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(timeout=30)
    finally:
        process.kill()
    assert process.exitcode == 128 + number
    assert "run the same command again to resume" in said.read_text()
    assert json.loads(typed("status", "study", "--format", "json").stdout)["states"]["fail"] == 1

    assert typed("run", "study.toml").exit_code == 0
    rows = json.loads(typed("front", "study", "--format", "json").stdout)
    assert {row["origin"]: row["standing"] for row in rows}["paper:figure1:R=0.5"] != "failed"


def test_help_shows_examples() -> None:
    assert "explorer run joint --limit latency=1.0" in typed("run", "--help").output


def test_reading_a_study_does_not_wait_for_torch() -> None:
    code = "import sys, explorer.commands.run, explorer.commands.status; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
