"""`explorer report`: whole, self-contained, traceable, or refused."""

import csv
import html
import io
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import optuna
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from explorer.cli import app
from explorer.front.pareto import front
from explorer.report import report as reports
from explorer.report.exhibit import Absent
from explorer.report.report import MARKER, PAGE, compose, render, write_report
from explorer.storage import connection
from objectives.corpora.sources import load_corpus
from objectives.errors import EvaluationError, StudyError
from objectives.measurement import UNHURRIED, ErrorCounts, Judge, Measurement, Stopped
from objectives.operating_point import OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator, judged, measurement, run_study, small_study
from tests.support.corpora import write_recording
from tests.support.forked_processes import PATIENCE, start
from tests.support.stress_results import kept, stressed

FIXED = {
    "right_context": [0.5, 5.0],
    "chunk_length": [0.1, 0.5],
    "variants": ["Hidden-40", "Linear-40"],
    "precisions": ["fp32", "int8_ptq", "int4_qat"],
    "table2_variant": "Linear-40",
}
FIGURES = {"front-size", "front-latency", "figure1", "figure2", "figure3", "stages", "overlap", "stress"}
SHEETS = FIGURES | {"search", "table1", "table2", "figure3-recordings", "front", "pairs"}


class Recorded(AnalyticEvaluator):
    """Also a recording in which nothing is scored; C = 0.5 s fails with a path in its error, for the report to hide."""

    def __call__(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None], judge: Judge = UNHURRIED
    ) -> Measurement | Stopped:
        if point.chunk_length == 0.5:
            raise EvaluationError("/home/ana/private/<b>call<b>.wav cannot be read")
        made = measurement(point)
        return judged(replace(made, counts={**made.counts, "silent": ErrorCounts()}), judge)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings; in `a` two speak at once for a second of two."""
    folder = tmp_path_factory.mktemp("corpora") / "calls"
    write_recording(folder, "a", 3.0, [(0.5, 2.0, "ana"), (0.5, 1.0, "bob")])
    write_recording(folder, "b", 3.0)
    write_recording(folder, "silent", 3.0)
    (folder / "splits.json").write_text(json.dumps({"eval": ["a", "b", "silent"]}))
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> str:
    """URL of a storage with the study `all` that has something of everything."""
    url = f"sqlite:///{tmp_path_factory.mktemp('studies')}/studies.db"
    name = load_corpus(str(corpus))
    definition = small_study(trials=6, fixed=FIXED, corpus=str(corpus), description="<All> of it & more")
    run_study("all", definition, Recorded(identity={"corpus": f"{name.name} {name.fingerprint}"}), url)
    kept(connection.load_study("all", url), stressed(0, *[[10.0, 20.0]] * 4), stressed(1, *[[10.0, 30.0]] * 4))
    return url


@pytest.fixture(scope="session")
def study(whole: str) -> optuna.Study:
    return connection.load_study("all", whole)


@pytest.fixture(scope="session")
def folder(study: optuna.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of it."""
    return write_report(study, tmp_path_factory.mktemp("reports") / "all").parent


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a storage with the study `bare`, which has the baseline and nothing else: its report is soon written."""
    url = f"sqlite:///{tmp_path_factory.mktemp('bare')}/studies.db"
    run_study("bare", small_study(trials=0, fixed={}, corpus="/home/ana/gone"), AnalyticEvaluator(), url)
    return url


@pytest.fixture(scope="session")
def little(bare: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of it."""
    return write_report(connection.load_study("bare", bare), tmp_path_factory.mktemp("reports") / "bare").parent


@pytest.fixture(scope="session")
def page(folder: Path) -> str:
    return (folder / PAGE).read_text(encoding="utf-8")


def words(page: str) -> str:
    """What a reader reads."""
    body = re.sub(r"<(style|svg).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


# --- what is in it


def test_every_part_is_there(folder: Path, page: str) -> None:
    assert {path.stem for path in (folder / "figures").iterdir()} == FIGURES
    assert {path.stem for path in (folder / "data").iterdir()} == SHEETS
    assert page.count("<svg") == len(FIGURES)
    told = words(page)
    for promised in (
        "DER against size of the segmentation model",
        "DER against algorithmic latency",
        "Figure 1: DER over right context R at C = 1 s",
        "Figure 2: DER over chunk length C at R = 0",
        "Figure 3: ΔDER by recording under quantization of Linear-40",
        "Table 1: pruning in FP32",
        "Table 2: precision of Linear-40 (paper: Linear-40)",
        "Where the compute goes",
        "DER against overlapped speech",
        "Pairs, told apart or tied",
        "DER under overlap and noise",
        "The front and every fixed point",
        "corpus calls, split eval: 3 recordings, 100.0 s of scored speech",
        "cpu a formula",
        "<All> of it & more",
    ):
        assert promised in told
    assert "Left out: this study" not in told
    assert "Left out, since nothing in them is scored: silent." in told


def test_every_figure_has_words_in_its_place_and_ids_of_its_own(page: str) -> None:
    pictures = re.findall(r"<svg[^>]*>", page)
    assert all(re.search(r'role="img" aria-label="[^"]{30,}"', picture) for picture in pictures)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert used
    assert {a or b for a, b in used} <= set(ids)


class Links(HTMLParser):
    """Whatever a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "object", "embed", "base"):
            self.found.append(tag)
        for name, value in attributes:
            fetches = name in ("src", "srcset", "href", "xlink:href", "action", "data", "poster")
            if fetches and not (value or "").startswith("#"):
                self.found.append(f"{name}={value}")


def test_the_page_needs_nothing_beside_it(page: str) -> None:
    links = Links()
    links.feed(page)
    assert links.found == []
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", page))


def test_no_path_and_no_markup_gets_out(folder: Path, page: str, corpus: Path) -> None:
    texts = [path.read_text() for path in folder.rglob("*") if path.suffix in (".html", ".csv", ".json")]
    assert len(texts) == len(SHEETS) + 2
    for text in texts:
        assert str(corpus.parent) not in text
        assert "/home/ana" not in text
    assert "(paper:figure2:C=0.5): <b>call<b>.wav cannot be read" in words(page)
    assert "<b>call" not in page


def test_pictures_open_and_show_something(folder: Path) -> None:
    for path in (folder / "figures").iterdir():
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert pixels.shape[1] > 1000
        assert pixels.min() < 40  # ink
        assert (pixels > 250).mean() > 0.3  # paper
        assert 0.005 < (pixels < 200).mean() < 0.7


def sheet(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "data" / f"{name}.csv").read_text())))


def test_sheets_say_what_the_study_says(folder: Path, study: optuna.Study) -> None:
    rows = front(study)
    lines = sheet(folder, "front")
    assert [(line["origin"], line["der"]) for line in lines] == [
        (row.origin, repr(row.figures.der) if row.measurement else "") for row in rows
    ]
    for line in sheet(folder, "figure2"):
        trial = study.trials[int(line["trial"])]
        assert (float(line["der"]), float(line["rtf"])) == (trial.values[0], trial.values[2])
    # a has 2 s of speech, 1 s of it with two; b has 1 s with one
    assert {line["uri"]: float(line["overlap_share"]) for line in sheet(folder, "overlap")} == {"a": 0.5, "b": 0.0}


def test_every_caption_names_trials_of_the_study(page: str, study: optuna.Study) -> None:
    captions = [html.unescape(text) for text in re.findall(r"<figcaption>(.*?)</figcaption>", page, flags=re.DOTALL)]
    assert len(captions) == len(FIGURES) + 4  # two tables of the paper, the pairs and the front's own
    for caption in captions:
        if "Rows in bold" in caption:  # its trials are its rows
            continue
        (numbers, *_) = re.findall(r"[tT]rials? ([0-9–, ]+)", caption)
        named = [int(number) for number in re.findall(r"\d+", numbers)]
        assert named
        assert all(study.trials[number].state.name == "COMPLETE" for number in named)


def test_published_figures_are_marked_and_never_drawn_as_a_curve(page: str) -> None:
    told = words(page)
    assert told.count("the text prints no value of this curve") == 2
    heads = "variant trial kept units params M published MiB published DER % published Δ DER RTF × base published"
    assert heads in told
    assert '<td class=" published">12.66</td>' in page  # Linear-40's DER
    assert told.count("SIMSAMU, offline, NVIDIA L40S") >= 3


def test_what_did_not_finish_is_told(page: str) -> None:
    told = words(page)
    assert "1 trials failed:" in told
    assert "were stopped before their end" in told
    assert "measured trials are infeasible" in told


def test_the_same_study_gives_the_same_page(bare: str) -> None:
    first, second = (replace(compose(connection.load_study("bare", bare)), made="") for _ in range(2))
    assert render(first) == render(second)


# --- what it does without


def test_a_study_with_little_says_what_would_give_the_rest(little: Path) -> None:
    page = (little / PAGE).read_text()
    for name in ("right_context", "chunk_length", "pruning", "quantization"):
        assert f"<code>explorer run {name}</code>" in page
    assert sorted(path.stem for path in (little / "figures").iterdir()) == ["front-latency", "front-size", "stages"]
    assert "Left out: the corpus cannot be read any more (unknown corpus 'gone'" in words(page)
    assert "/home/ana" not in page


def test_references_that_changed_are_not_used(corpus: Path, tmp_path: Path, url: str) -> None:
    changed = tmp_path / corpus.name
    shutil.copytree(corpus, changed)
    known = load_corpus(str(changed))
    evaluator = Recorded(identity={"corpus": f"{known.name} {known.fingerprint}"})
    run_study("changed", small_study(trials=0, fixed={}, corpus=str(changed)), evaluator, url)
    study = connection.load_study("changed", url)
    assert "overlap" in {item.name for item in compose(study).exhibits}
    write_recording(changed, "b", 3.0, [(0.5, 1.5, "ana")])
    (left_out,) = [item for _, items in compose(study).sections for item in items if item.name == "overlap"]
    assert isinstance(left_out, Absent)
    assert left_out.why.startswith("the corpus is not the one that was measured")


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_drawn(
    bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "compose", lambda *given: pytest.fail("the report was composed"))
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match=r"report: cannot be written .*: move away the file that is in the way"):
        write_report(connection.load_study("bare", bare), tmp_path / "file" / "report")


def test_a_study_without_a_measurement_is_refused(tmp_path: Path, url: str) -> None:
    everything = AnalyticEvaluator(before=lambda point: (_ for _ in ()).throw(EvaluationError("no")))
    run_study("failed", small_study(), everything, url)
    with pytest.raises(StudyError, match="nothing to report yet"):
        write_report(connection.load_study("failed", url), tmp_path / "report")
    assert list(tmp_path.glob("*report*")) == []


# --- where it goes


def untouched(folder: Path) -> Mapping[str, float]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_folder_that_is_there_is_not_touched(study: optuna.Study, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    before = untouched(mine)
    with pytest.raises(StudyError, match="exists already: give another folder, or --force"):
        write_report(study, mine)
    with pytest.raises(StudyError, match=r"is not a report \(no report\.json in it\)"):
        write_report(study, mine, force=True)
    assert untouched(mine) == before
    assert sorted(path.name for path in tmp_path.glob("*mine*")) == ["mine"]


def test_force_replaces_an_earlier_report(bare: str, little: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(little, again)
    (again / "figures" / "old.png").write_text("of an earlier version")
    assert write_report(connection.load_study("bare", bare), again, force=True) == again / PAGE
    assert not (again / "figures" / "old.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_report_that_cannot_be_finished_leaves_the_old_one(
    bare: str, little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    shutil.copytree(little, old)
    before = untouched(old)

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reports, "as_bytes", full)
    for place in (old, tmp_path / "new"):
        with pytest.raises(StudyError, match="cannot be written \\(No space left on device\\)"):
            write_report(connection.load_study("bare", bare), place, force=True)
    assert untouched(old) == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def write_slowly(url: str, place: str, ready: str) -> None:
    """Come as far as the first picture and wait there to be killed."""

    def wait(*_: object) -> bytes:
        Path(ready).touch()
        time.sleep(PATIENCE)
        return b""

    reports.as_bytes = wait
    write_report(connection.load_study("bare", url), Path(place), force=True)


def test_a_killed_report_is_not_there(bare: str, little: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(little, old)
    before = untouched(old)
    process = start(write_slowly, bare, str(old), str(tmp_path / "ready"))
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "ready").exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert untouched(old) == before
    left = [path.name for path in tmp_path.iterdir() if path.name not in ("old", "ready")]
    assert [name.startswith(".old.") for name in left] == [True]
    reports.write_report(connection.load_study("bare", bare), old, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "ready"]


# --- the command


def test_the_command_says_where_it_lies(bare: str, tmp_path: Path) -> None:
    arguments = ("report", "bare", str(tmp_path / "r"), "--storage", bare)
    done = command(*arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["page"] == str(tmp_path / "r" / PAGE)
    assert {PAGE, MARKER, "figures/stages.png", "data/front.csv"} <= set(told["files"])
    again = command(*arguments)
    assert isinstance(again.exception, StudyError)
    assert command(*arguments, "--force").exit_code == 0
