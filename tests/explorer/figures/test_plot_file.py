"""`explorer front --plot`: one file, of the kind that its suffix names."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from explorer.cli import app
from objectives.errors import EvaluationError, StudyError
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a storage with the finished study `study`."""
    url = f"sqlite:///{tmp_path_factory.mktemp('studies')}/studies.db"
    run_study("study", small_study(), AnalyticEvaluator(), url)
    return url


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html", ".PNG"])
def test_the_front_is_plotted_as_its_suffix_says(whole: str, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"front{suffix}"
    path.write_text("an earlier one")
    done = command("front", "study", "--storage", whole, "--plot", str(path))
    assert done.exit_code == 0, done.output
    assert "baseline" in done.stdout
    made = path.read_bytes()
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!doctype html>"}
    assert made.startswith(starts[suffix.lower()])
    if suffix == ".html":  # works offline: plotly is inside
        assert len(made) > 1_000_000
        assert not re.search(rb"<script[^>]*\ssrc=", made)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_suffix_that_nobody_draws_is_refused_at_once(whole: str, tmp_path: Path) -> None:
    done = command("front", "no-such-study", "--storage", whole, "--plot", str(tmp_path / "front.jpeg"))
    assert isinstance(done.exception, StudyError)
    assert "use one of .png, .svg, .pdf, .html" in str(done.exception)


def test_a_plot_that_cannot_be_written_is_one_error(whole: str, tmp_path: Path) -> None:
    done = command("front", "study", "--storage", whole, "--plot", str(tmp_path / "no" / "front.png"))
    assert isinstance(done.exception, StudyError)
    assert "cannot be written (No such file or directory)" in str(done.exception)


def test_a_study_without_a_measurement_has_nothing_to_plot(url: str, tmp_path: Path) -> None:
    def fail(point: object) -> None:
        raise EvaluationError("no")

    run_study("study", small_study(), AnalyticEvaluator(before=fail), url)
    done = command("front", "study", "--storage", url, "--plot", str(tmp_path / "front.png"))
    assert isinstance(done.exception, StudyError)
    assert "nothing to plot yet" in str(done.exception)
    assert not (tmp_path / "front.png").exists()
