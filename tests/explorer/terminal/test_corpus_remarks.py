"""Every command that loads a corpus says what it leaves out, once, on standard error (issue 16)."""

import ast
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from explorer.cli import app
from objectives.evaluation.evaluator import Evaluator
from objectives.operating_point import BASELINE
from tests.support.analytic_evaluator import measurement
from tests.support.corpora import rttm, tone, write_audio, write_recording
from tests.support.export_study import real_definition, real_study, tell
from tests.support.real_excerpts import EVAL, write_excerpts

ROOT = Path(__file__).resolve().parents[3]
SAID = "corpus: 1 of 4 recordings is not used: lost (lost.rttm mentions it, and no audio has that name)"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real recordings, and an RTTM without audio."""
    folder = write_excerpts(tmp_path_factory.mktemp("half unread"))
    (folder / "lost.rttm").write_text(rttm("lost", [(0.0, 1.0, "ana")]))
    return folder


@pytest.fixture(scope="module")
def url(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study of that corpus with one trial, whose reference was changed since, so that most commands end at once."""
    storage = f"sqlite:///{tmp_path_factory.mktemp('studies')}/studies.db"
    study, evaluator = real_study(real_definition(corpus, trials=0, fixed={}), storage)
    with evaluator:
        tell(study, measurement(BASELINE))
    changed = corpus / f"{EVAL[0]}.rttm"
    changed.write_text(changed.read_text() + rttm(EVAL[0], [(11.0, 0.5, "somebody-else")]))
    return storage


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "study", "0", "--no-cost"],
        ["explain", "study", "0"],
        ["stress", "study", "0"],
        ["export", "study", "0", "OUT"],
        ["recommend", "study"],
        ["report", "study", "OUT"],
        ["run", "quickstart", "--name", "study"],
    ],
    ids=lambda words: " ".join(words),
)
def test_commands_on_a_study(words: list[str], url: str, corpus: Path, tmp_path: Path) -> None:
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    if words[0] == "run":
        words += ["--corpus", str(corpus), "--trials", "0"]
    done = CliRunner().invoke(app, [*words, "--storage", url])
    assert done.stderr.splitlines().count(SAID) == 1, (done.stderr, done.exception)
    assert "lost.rttm" not in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["calibrate", "--format", "json"],
        ["corpus", "CORPUS", "--format", "json"],
        ["corpus", "CORPUS", "--format", "csv"],
    ],
    ids=lambda words: " ".join(words),
)
def test_commands_on_a_corpus(words: list[str], corpus: Path, url: str) -> None:
    words = [str(corpus) if word == "CORPUS" else word for word in words]
    done = CliRunner().invoke(app, words if words[0] == "corpus" else [*words, "--corpus", str(corpus)])
    assert (done.exit_code, done.stderr.count(SAID)) == (0, 1), (done.stderr, done.exception)
    if "json" in words:
        json.loads(done.stdout)  # no word of it is among the figures


def test_measure_says_it_before_it_measures(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Evaluator, "prepare", interrupted)
    assert CliRunner().invoke(app, ["measure", "--corpus", str(corpus)]).stderr.splitlines().count(SAID) == 1


def test_whoever_loads_a_corpus_says_what_it_leaves_out() -> None:
    """A command that is added later too. Workers are silent, and a stress test loads what it has just written."""
    loads = {"load_corpus", "build_evaluator"}
    for path in sorted((ROOT / "explorer").rglob("*.py")):
        tree = ast.parse(path.read_text())
        called = {
            node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
        }
        if called & loads and path.name not in ("worker_process.py", "stress.py"):
            assert "print_remarks" in called, f"{path.name} calls {called & loads} and never print_remarks"


def test_names_that_nothing_can_print_are_escaped(tmp_path: Path) -> None:
    write_recording(tmp_path, "a", turns=[(0.25, 1.5, "ana")])
    for name in (b"\xff.wav", b"\x1b[31m.wav"):
        os.symlink(b"gone\xff", os.fsencode(tmp_path) + b"/" + name)
    for words in (["--format", "json"], ["--check"], []):
        done = CliRunner().invoke(app, ["corpus", str(tmp_path), *words])
        assert done.exit_code == 0, done.exception
        assert done.stderr.isprintable() or done.stderr.replace("\n", "").isprintable()
        assert "\\udcff.wav: a link to gone\\udcff, which is not there" in done.stderr
        assert "\\x1b[31m.wav" in done.stderr


def test_a_corpus_is_checked_in_full(tmp_path: Path) -> None:
    write_recording(tmp_path, "a", turns=[(0.25, 0.75, "ana"), (1.0, 0.75, "ana")])
    write_recording(tmp_path, "b", turns=[(0.5, 0.5, "ana")])
    for uri in "cdefg":
        (tmp_path / f"{uri}.rttm").write_text(rttm(uri, [(0, 1, "ana")]))
    write_audio(tmp_path / "d.flac", tone(2.0)).rename(tmp_path / "d.voc")
    (tmp_path / "e.wav").symlink_to("nowhere.wav")
    (tmp_path / "more").symlink_to("gone")
    lost = [
        "c: c.rttm mentions it, and no audio has that name",
        "d: d.voc: .voc is not read as audio",
        "e: e.wav: a link to nowhere.wav, which is not there",
        "f: f.rttm mentions it, and no audio has that name",
        "g: g.rttm mentions it, and no audio has that name",
    ]
    whole = [
        *lost,
        "more: a link to gone, which is not there",
        "b: nothing of it is scored: all its speech lies within 0.25 s of where a turn begins or ends",
        "a: 1 line is merged into a turn of the same speaker that it touches or overlaps",
    ]
    checked = CliRunner().invoke(app, ["corpus", str(tmp_path), "--check"])
    assert checked.exit_code == 0
    assert checked.stderr.splitlines() == [f"corpus: {line}" for line in whole]
    brief = CliRunner().invoke(app, ["corpus", str(tmp_path), "--format", "json"])
    assert brief.stderr.splitlines() == [
        f"corpus: 5 of 7 recordings are not used: {', '.join(f'{one[0]} ({one[3:]})' for one in lost[:3])}, … 2 more",
        "corpus: 1 file is not used: more (a link to gone, which is not there)",
        "corpus: b (nothing of it is scored: all its speech lies within 0.25 s of where a turn begins or ends)",
        f"corpus: `explorer corpus {tmp_path} --check` lists all",
    ]
    told = json.loads(brief.stdout)["remarks"]
    assert [f"{one['about']}: {one['said']}" for one in told] == whole
    assert [one["kind"] for one in told] == ["recording"] * 5 + ["file", "used", "merged"]
