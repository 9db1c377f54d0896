"""Chunk-wise and online side by side: pairs of the same point, their difference, and the report's part."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from explorer.front.mode_pairs import ModePair, mode_curves, mode_pairs
from explorer.front.pareto import whole_front
from explorer.front.rows import Comparison
from explorer.report.exhibit import Absent, Exhibit
from explorer.report.modes import modes_exhibit
from explorer.report.report import write_report
from explorer.storage.connection import load_study
from objectives.measurement import UNHURRIED, ErrorCounts, Judge, Measurement, Stopped
from objectives.operating_point import OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator, judged, measurement, run_study, small_study
from tests.support.front_rows import front_row, vary

WORSE = {
    0.5: (5.0, 10.0),
    1.0: (-5.0, 10.0),
    2.0: (0.0, 0.0),
}  # C → seconds of confusion that online adds, by recording


class Online(AnalyticEvaluator):
    """In the online mode recordings `a` and `b`, of 50 s each, have as much more confusion as WORSE says."""

    def __call__(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None], judge: Judge = UNHURRIED
    ) -> Measurement | Stopped:
        made = measurement(point)
        base = {uri: replace(counts, confusion=counts.confusion + 10.0) for uri, counts in made.counts.items()}
        if point.mode == "online":
            more = dict(zip(base, WORSE[point.chunk_length], strict=True))
            base = {uri: replace(counts, confusion=counts.confusion + more[uri]) for uri, counts in base.items()}
        counts: dict[str, ErrorCounts] = base
        return judged(replace(made, counts=counts), judge)


@pytest.fixture
def study(url: str) -> optuna.Study:
    definition = small_study(
        trials=0,
        space={"tracking": ["chunk-wise", "online"]},
        fixed={"right_context": [], "chunk_length": [0.5, 2.0]},
    )
    run_study("both", definition, Online(), url)
    return load_study("both", url)


def pairs_of(study: optuna.Study) -> tuple[ModePair, ...]:
    found = whole_front(study)
    return mode_pairs(found.rows, found.comparisons)


def test_each_online_point_stands_beside_its_chunkwise_one(study: optuna.Study) -> None:
    half, one, two = pairs_of(study)
    assert [pair.point.chunk_length for pair in (half, one, two)] == [0.5, 1.0, 2.0]
    differences = [pair.comparison for pair in (half, one, two)]
    assert [one.der_difference for one in differences] == pytest.approx([15.0, 5.0, 0.0])  # of 100 s of speech
    # both recordings twice: the least and the most that two draws can give
    assert [one.der_low for one in differences] == pytest.approx([10.0, -10.0, 0.0])
    assert [one.der_high for one in differences] == pytest.approx([20.0, 20.0, 0.0])
    assert [one.tied for one in differences] == [False, True, True]
    trials = {trial.number: trial for trial in study.trials}
    for pair in (half, one, two):
        assert pair.online.figures.der == trials[pair.online.number].values[0]
        assert pair.chunkwise.figures.der == trials[pair.chunkwise.number].values[0]
        assert pair.online.latency == pair.point.chunk_length


def test_a_curve_has_one_pair_for_each_c_as_tuned(study: optuna.Study) -> None:
    pairs = pairs_of(study)
    opened = replace(pairs[0], online=vary(pairs[0].online, trial=99, online={"delta_new": 0.4}))
    (curve,) = mode_curves([opened, *pairs])
    assert curve == pairs
    assert mode_curves(pairs[:1]) == ()


def pair_by_hand() -> ModePair:
    """No two of its figures are alike."""
    place = {"pruning": "Linear-40", "precision": "fp16", "chunk_length": 0.75, "right_context": 0.25}
    chunkwise = front_row(3, der=25.0, confusion=7.0, rtf=0.1, **place)
    tracking = {"rho_update": 0.3, "min_duration_off": 0.5}
    online = front_row(5, der=31.0, confusion=11.0, rtf=0.2, mode="online", online=tracking, **place)
    found = Comparison("online against chunk-wise", 5, 3, "", "", 31.0, 25.0, 6.0, 4.0, 9.0, recordings=2, tied=False)
    (pair,) = mode_pairs([chunkwise, online], [found])
    return pair


def test_a_pair_has_each_figure_of_its_own_mode() -> None:
    pair = pair_by_hand()
    exhibit = modes_exhibit([pair])
    assert isinstance(exhibit, Exhibit)
    assert exhibit.sheets is not None
    (line,) = exhibit.sheets["modes"].to_dict("records")
    assert line == {
        "chunk_length": 0.75, "right_context": 0.25, "pruning": "Linear-40", "precision": "fp16",
        "chunkwise_trial": 3, "online_trial": 5, "thresholds": {"rho_update": 0.3, "min_duration_off": 0.5},
        "latency": 1.5,  # of the online one, pauses that are waited for included
        "chunkwise_der": 25.0, "online_der": 31.0, "chunkwise_confusion": 7.0, "online_confusion": 11.0,
        "chunkwise_rtf": 0.1, "online_rtf": 0.2, "der_difference": 6.0, "der_low": 4.0, "der_high": 9.0, "tied": False,
    }  # fmt: skip


def test_unpruned_fp32_comes_first_then_the_longest_curve_then_the_least_context() -> None:
    lengths = {
        ("none", "fp32", 2.0): (0.5, 1.0),
        ("Linear-40", "fp16", 0.5): (0.5, 1.0),
        ("Linear-40", "fp16", 0.25): (0.5, 1.0),
        ("Linear-40", "fp16", 1.0): (2.0, 1.0, 0.5),
    }
    pairs = [
        replace(
            pair_by_hand(),
            chunkwise=front_row(pruning=pruning, precision=precision, right_context=context, chunk_length=length),
        )
        for (pruning, precision, context), places in lengths.items()
        for length in places
    ]
    curves = mode_curves(pairs)
    assert [(curve[0].chunkwise.pruning, curve[0].point.right_context, len(curve)) for curve in curves] == [
        ("none", 2.0, 2),
        ("Linear-40", 1.0, 3),
        ("Linear-40", 0.25, 2),
    ]
    assert [pair.point.chunk_length for pair in curves[1]] == [0.5, 1.0, 2.0]


def test_the_report_has_figure_table_and_sheet(study: optuna.Study, tmp_path: Path) -> None:
    page = write_report(study, tmp_path / "report").read_text(encoding="utf-8")
    assert "+15.00 [+10.00, +20.00]" in page
    assert "+5.00 [−10.00, +20.00] tied" in page
    assert (tmp_path / "report" / "figures" / "modes.png").stat().st_size > 10_000
    lines = (tmp_path / "report" / "data" / "modes.csv").read_text().splitlines()
    assert len(lines) == 4
    exhibit = modes_exhibit(pairs_of(study))
    assert isinstance(exhibit, Exhibit)
    assert "at C = 0.5 s" in exhibit.alternative


def test_a_study_of_one_mode_says_what_would_measure_both() -> None:
    exhibit = modes_exhibit(())
    assert isinstance(exhibit, Absent)
    assert exhibit.command == "explorer run online"
