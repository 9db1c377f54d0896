"""Every command that prints a table, on terminals of 80 and 30 columns and in a pipe, with names of 80 characters: the
figures of its JSON stand there whole."""

import dataclasses
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import objectives.evaluation.evaluator
from explorer.diagnostics.agreement import CostCheck, Figure
from explorer.diagnostics.explanation import Time
from explorer.diagnostics.stress import answer as stress_answer
from explorer.diagnostics.verification import Verification, Verified
from explorer.search.display import Display
from objectives.measurement import ErrorCounts, Measurement
from objectives.operating_point import BASELINE
from tests.explorer.commands.test_models_command import FORK, fill
from tests.explorer.diagnostics.test_explanation import by_hand, isolated
from tests.support.analytic_evaluator import measurement, small_study
from tests.support.command_screens import LONG, assert_shown, printed
from tests.support.corpora import write_recording
from tests.support.recommendation_study import LINEAR_40_FP16, add, add_baseline, empty_study
from tests.support.stress_results import stressed
from tests.test_layers import ROOT

NAMES = [LONG.format(place) for place in range(3)]
STAGES, SHARES = ("segmentation", "embedding", "clustering", "other"), (0.6543, 0.2109, 0.1234, 0.0114)
WIDTHS = pytest.mark.parametrize("columns", [80, None, 30])


def told(*words: object) -> Any:
    return json.loads("\n".join(printed(*words, "--format", "json", columns=None)))


@pytest.fixture
def study(url: str) -> list[str]:
    """The words that name a study whose corpus has a long name, with figures of all lengths."""
    made = empty_study(small_study(corpus=LONG.format(9)), url)
    add_baseline(made, [20.25, 122.5], 5.625)
    add(made, [22.0, 23.0], 2.5, 0.2, point=LINEAR_40_FP16, origin="paper:table2:FP16", execution="emulated")
    add(made, [19.5, 24.0], 1.25, (0.0512, 0.0634, 0.0571))
    add(made, [3.14, 2.72], 1234.5, 0.7)
    return ["study", "--storage", url]


def of_row(row: dict[str, Any]) -> Iterator[str]:
    """A row of the front as its table has it."""
    if row["der"] is None:
        return
    yield from (str(row["trial"]), f"{row['latency']:.3g}", f"{row['params'] / 1e6:.2f}", f"{row['der']:.2f}")
    yield from (f"{row[name]:.1f}" for name in ("false_alarm", "missed_detection", "confusion"))
    yield from (f"{row['size']:.2f}", f"{row['rtf']:.4f}", f"[{row['rtf_low']:.4f}–{row['rtf_high']:.4f}]")
    if row["execution"] != "emulated":
        yield f"{row['rtf_ratio']:.2f}"


@WIDTHS
def test_front(study: list[str], columns: int | None) -> None:
    rows = told("front", *study)
    lines = printed("front", *study, columns=columns)
    assert_shown([figure for row in rows for figure in of_row(row)], lines, columns)
    if columns is None:  # a row is a line
        (line,) = [line for line in lines if re.match(r" +2 +search ", line)]
        assert line.rstrip().endswith("front")
        assert "[0.0512–0.0634]" in line


@WIDTHS
def test_front_pairs(study: list[str], columns: int | None) -> None:
    pairs = told("front", *study, "--pairs")
    assert pairs
    figures = [f"{one[name]:.2f}" for one in pairs for name in ("der", "versus_der")]
    assert_shown(figures, printed("front", *study, "--pairs", columns=columns), columns)


@WIDTHS
def test_recommend(study: list[str], columns: int | None) -> None:
    words = ("recommend", *study, "--no-test")
    figures = []
    for one in told(*words)["recommendations"]:
        row = one["row"]
        figures += [f"{row['der']:.2f}", f"{row['size']:.2f}", f"{row['rtf']:.4f}"]
    assert len(figures) >= 6
    assert_shown(figures, printed(*words, columns=columns), columns)


@WIDTHS
def test_status(study: list[str], columns: int | None) -> None:
    answer = told("status", *study)
    space = answer["definition"]["space"]
    figures = [f"{one['value']:.4g}" for one in answer["best"]]
    figures += [str(answer["definition"]["seed"]), f"[{space['chunk_length'][0]}", f"{space['pruning_ratio'][1]}]"]
    lines = printed("status", *study, columns=columns)
    assert any(LONG.format(9) in line for line in lines)
    assert_shown(figures, lines, columns)


class Measured:
    """An evaluator of recordings with long names."""

    remarks: tuple[str, ...] = ()

    def __enter__(self) -> "Measured":
        return self

    def __exit__(self, *error: object) -> None: ...

    def prepare(self, on_progress: object) -> None: ...

    def measure(self, *given: object) -> Measurement:
        errors = [(0.123, 45.6, 7.89, 1234.56), (999.0, 0.5, 0.25, 512.0), (0.0, 0.0, 0.0, 0.0)]
        return dataclasses.replace(
            measurement(BASELINE),
            counts={name: ErrorCounts(*each) for name, each in zip(NAMES, errors, strict=True)},
        )


@WIDTHS
def test_measure(columns: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", lambda settings: Measured())
    answer = told("measure")
    rates = [*answer["recordings"].values(), answer["pooled"]]
    figures = [f"{value:.2f}" for each in rates for value in each.values() if value is not None]
    figures += [f"{answer['rtf']['median']:.4f}", f"{answer['rtf']['ratio_to_baseline']:.2f}"]
    lines = printed("measure", columns=columns)
    assert_shown(figures, lines, columns)
    if columns == 80:  # shortened in their middle, and still told apart
        assert [line.split()[0][-5:] for line in lines[1:4]] == ["00000", "00001", "00002"]
        assert all(line.startswith("a-rec") and "…" in line for line in lines[1:4])
    if columns is None:
        assert [line.split()[0] for line in lines[1:4]] == NAMES


@WIDTHS
def test_corpus(tmp_path: Path, columns: int | None) -> None:
    for place, uri in enumerate(NAMES):
        write_recording(tmp_path / LONG.format(9), uri, seconds=2.0 + place)
    answer = told("corpus", tmp_path / LONG.format(9))
    figures = []
    for one in (*answer["recordings"], *answer["splits"]):
        figures += [f"{one[name]:.1f}" for name in ("duration", "annotated", "speech")]
        figures += [str(one["speakers"]), f"{100 * one['overlap_share']:.1f}"]
    assert_shown(figures, printed("corpus", tmp_path / LONG.format(9), columns=columns), columns)


@WIDTHS
def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))
    maker = FORK.Process(target=fill)
    maker.start()
    maker.join(30)
    rows = told("models", "list")
    figures = [f"{row[name] / 2**20:.2f}" for row in rows for name in ("size_bytes", "size_on_disk_bytes")]
    figures += [f"{row['params'] / 1e6:.3f}" for row in rows] + [row["key"][:8] for row in rows]
    lines = printed("models", "list", columns=columns)
    assert_shown(figures, lines, columns)
    (row,) = [row for row in rows if row["ratio"]]
    lines = printed("models", "show", row["key"], columns=columns)
    assert_shown([str(row["params"]), str(row["size_bytes"]), row["made"]], lines, columns)
    assert any(row["key"] in line for line in lines)  # 64 digits, in one piece


@WIDTHS
def test_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))
    sizes = [f"{row['size'] / 2**20:.2f}" for row in told("assets", "list")]
    assert_shown(sizes, printed("assets", "list", columns=columns), columns)


@WIDTHS
def test_explain(study: list[str], monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    theirs = isolated(none=[18.5] * 3, clustering=[14.25] * 3)
    found = by_hand(theirs, none=[20.0] * 3, segmentation=[2.0] * 3, clustering=[15.0] * 3, both=[0.0] * 3)
    time = Time(0.1234, dict(zip(STAGES, SHARES, strict=True)), dict(zip(STAGES, SHARES, strict=True)), False)
    monkeypatch.setattr(
        "explorer.diagnostics.explanation.explain", lambda *given: dataclasses.replace(found, time=time)
    )
    answer = told("explain", study[0], 0, *study[1:])
    figures = [f"{one[name]:.2f}" for one in answer["errors"] for name in ("der", "false_alarm", "missed_detection")]
    figures += [f"{value:.4f}" for value in (answer["time"]["rtf"], *answer["time"]["stages"].values())]
    figures += [f"{100 * value:.1f}" for value in answer["time"]["shares"].values()]
    assert_shown(figures, printed("explain", study[0], 0, *study[1:], columns=columns), columns)


@WIDTHS
def test_stress(study: list[str], monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    ours = stressed(3, [10.0] * 3, [112.5] * 3, [14.0] * 3, [30.0] * 3)
    found = stress_answer("study", ours, stressed(0, [8.0] * 3, [10.0] * 3, [20.0] * 3, [20.0] * 3))
    monkeypatch.setattr("explorer.diagnostics.stress.stress", lambda *given: found)
    answer = told("stress", study[0], 3, *study[1:])
    cells = [*answer["stressed"]["cells"], *answer["against"]["cells"]]
    figures = [f"{cell['der']:.2f}" for cell in cells]
    assert_shown(figures, printed("stress", study[0], 3, *study[1:], columns=columns), columns)


@WIDTHS
def test_verify(study: list[str], monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    cost = CostCheck(0.0512, (0.05, 0.06), 1.25, 0.0634, (0.055, 0.065), 1.5, True)
    der = Figure("DER, %", None, 100.25, 100.25, True, False)
    figures = (der, Figure("size, bytes", None, 2**30, 2**30, True, False))
    one = Verified(1, "paper:table2:FP16", "a point", 1, "", True, "kept", "key", (), figures, cost, ())
    found = Verification("study", {"corpus": LONG.format(9)}, {}, {}, (one,), {})
    monkeypatch.setattr("explorer.diagnostics.verification.verify", lambda *given: found)
    lines = printed("verify", study[0], 1, *study[1:], columns=columns)
    shown = ["100.25", "100.25", "1024.00", "0.0512", "0.0634", "1.25", "1.50"]
    assert_shown(shown, lines, columns)


@WIDTHS
def test_calibrate(monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    from objectives.evaluation.calibration import Swept

    swept = [
        Swept(value, {name: ErrorCounts(confusion=100 * value, total=100.0) for name in NAMES})
        for value in np.linspace(0.3, 1.2, 19).round(2).tolist()
    ]
    monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", lambda settings: Measured())
    monkeypatch.setattr("objectives.evaluation.calibration.threshold_sweep", lambda *given: (swept, 0.3))
    sweep = told("calibrate")["sweep"]
    figures = [f"{one[name]:.2f}" for one in sweep for name in ("threshold", "der")]
    assert_shown(figures, printed("calibrate", columns=columns), columns)


@pytest.mark.parametrize("columns", [80, 50])
def test_the_display_of_a_run(columns: int) -> None:
    console = Console(file=io.StringIO(), width=columns, height=25, force_terminal=True, color_system=None)
    display = Display(console)
    display.begin([], 117)
    display.trial_started(104, "paper:table1:Linear-40", dataclasses.replace(LINEAR_40_FP16, chunk_length=1.25))
    display.trial_progress(104, "recovering Linear-40, 1 of 4", 0.456)
    console.print(display._render())
    shown = console.file.getvalue().splitlines()
    assert_shown(["0/117", "46%", "104", "1.25", "0:00"], shown, columns)


def test_no_command_has_a_table_or_a_width_of_its_own() -> None:
    """What this file shows of some commands holds for all of them."""
    for path in sorted((ROOT / "explorer").rglob("*.py")):
        if path.name != "screen.py":
            source = path.read_text()
            assert "rich.table import Table" not in source, path
            assert not re.search(r"\bConsole\(", source), path
