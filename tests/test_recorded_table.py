"""The recorded table, and what a sampler is told from it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from objectives.measurement import ErrorCounts
from objectives.operating_point import BASELINE, OperatingPoint, Pruning
from tests.benchmarks import record, recorded, samplers
from tests.benchmarks.recorded import RecordedPoint, RecordedTable

TABLES = sorted((Path(__file__).parent / "benchmarks" / "tables").glob("*.csv"))
HIDDEN = Pruning("hidden", 0.4)


def measured(point: OperatingPoint, rtf: float = 0.1, baseline_rtf: float = 0.1, error: float = 1.0) -> RecordedPoint:
    """10 s scored in two recordings, `error` of them missed."""
    counts = {"a": ErrorCounts(0.0, error, 0.0, 4.0), "b": ErrorCounts(0.0, 0.0, 0.0, 6.0)}
    return RecordedPoint(point, 2.0, rtf, baseline_rtf, counts)


def table_of(*points: RecordedPoint) -> RecordedTable:
    return RecordedTable({known.point: known for known in points}, {"a": 5.0, "b": 7.5})


def grid_of(*models: tuple[Pruning, str]) -> RecordedTable:
    """C of 1 and 4 s, R of 0, 0.5 and 2 s."""
    return table_of(
        *(
            measured(
                replace(BASELINE, chunk_length=length, right_context=context, pruning=pruning, precision=precision)
            )
            for pruning, precision in models
            for length in (1.0, 4.0)
            for context in (0.0, 0.5, 2.0)
        )
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    table = table_of(measured(BASELINE), measured(OperatingPoint(2.0, 0.5, HIDDEN, "int8_ptq"), 0.05, 0.2))
    recorded.write(path, table, {"points": 2})
    assert recorded.read(path) == table
    assert json.loads(recorded.about_path(path).read_text()) == {"points": 2}


def test_rtf_is_that_of_one_machine_throughout() -> None:
    slow = OperatingPoint(2.0, 0.0)
    # the machine was half as fast in the second breath: 0.3 there is 1.5 times the baseline
    table = table_of(measured(BASELINE, 0.1, 0.1), measured(slow, 0.3, 0.2))
    assert table.objectives()[BASELINE] == pytest.approx((10.0, 2.0, 0.15))
    assert table.objectives()[slow] == pytest.approx((10.0, 2.0, 0.225))


def test_a_table_without_the_baseline_or_with_a_line_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    other = OperatingPoint(2.0, 0.0)
    recorded.write(path, table_of(measured(other)), {})
    with pytest.raises(ValueError, match="no line of the baseline"):
        recorded.read(path)
    recorded.write(path, table_of(measured(BASELINE), measured(other)), {})
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match="has 1 lines, not one for each of 2 recordings"):
        recorded.read(path)


def test_a_table_is_only_continued_in_the_same_setup(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert record.resumed(path, {"split": "eval"}) == {}
    table = table_of(measured(BASELINE))
    recorded.write(path, table, {"split": "eval", "points": 1})
    assert record.resumed(path, {"split": "eval"}) == table.points
    with pytest.raises(ValueError, match="another split"):
        record.resumed(path, {"split": "calib"})


def test_the_grid_begins_with_the_baseline_model() -> None:
    out = ["--out", "table.csv", "--prunings", "Hidden-40", "none", "--precisions", "int8_ptq", "fp32"]
    groups = record.grid(record.parse([*out, "--chunk-lengths", "0.5", "1", "--right-contexts", "0", "2"]))
    assert groups[0] == [BASELINE, replace(BASELINE, right_context=2.0)]
    assert len({point for group in groups for point in group}) == sum(map(len, groups)) == 16
    with pytest.raises(ValueError, match="must hold the baseline"):
        record.grid(record.parse([*out, "--chunk-lengths", "0.5"]))


@pytest.mark.parametrize(
    ("proposed", "told"),
    [
        (OperatingPoint(1.9, 0.0), OperatingPoint(1.0, 0.0)),  # 2 s is halfway in log C
        (OperatingPoint(2.1, 0.9), OperatingPoint(4.0, 0.5)),  # 1 s is halfway in log R
        (OperatingPoint(1.0, 1.1), OperatingPoint(1.0, 2.0)),
        (OperatingPoint(1.0, 0.01), OperatingPoint(1.0, 0.5)),  # look-ahead is a choice: never the nearest to none
        (OperatingPoint(4.0, 0.0, Pruning("hidden", 0.55)), OperatingPoint(4.0, 0.0, HIDDEN)),
        (OperatingPoint(4.0, 0.0, Pruning("hidden", 0.65)), OperatingPoint(4.0, 0.0, Pruning("hidden", 0.8))),
    ],
)
def test_a_proposal_is_told_the_nearest_recorded_point(proposed: OperatingPoint, told: OperatingPoint) -> None:
    models = ((BASELINE.pruning, "fp32"), (HIDDEN, "fp32"), (Pruning("hidden", 0.8), "fp32"))
    assert samplers.Grid.of(grid_of(*models)).nearest(proposed) == told


def test_models_that_are_not_complete_are_left_out() -> None:
    whole = grid_of((BASELINE.pruning, "fp32"), (BASELINE.pruning, "int8_ptq"), (HIDDEN, "fp32"))
    grid = samplers.Grid.of(whole)
    assert grid.models == {(BASELINE.pruning, "fp32"), (BASELINE.pruning, "int8_ptq")}  # Hidden-40 lacks int8_ptq
    assert grid.space.pruning_structure == ("none",)
    begun = dict(whole.points)
    del begun[OperatingPoint(4.0, 2.0)]
    with pytest.raises(ValueError, match="not every C and R of the baseline's model"):
        samplers.Grid.of(RecordedTable(begun, whole.durations))


def test_hypervolume_is_from_a_tenth_beyond_the_worst() -> None:
    better = OperatingPoint(1.0, 0.5)
    table = table_of(measured(BASELINE, 0.1), measured(better, 0.05, error=0.5))
    grid = samplers.Grid.of(table)
    # DER 10 and 5 %, 2 MiB, RTF 0.1 and 0.05: the corner is at 11 %, 2.2 MiB, 0.11
    assert grid.hypervolume([BASELINE]) == pytest.approx(1.0 * 0.2 * 0.01)
    assert grid.hypervolume([BASELINE, better]) == pytest.approx(6.0 * 0.2 * 0.06)
    told = [BASELINE, BASELINE, better]
    assert samplers.shares(grid, told, (2, 3)) == pytest.approx([100 * 0.002 / 0.072, 100.0])


@pytest.mark.parametrize("name", [name for name in samplers.COMPARED if name != "gp"])
def test_every_sampler_is_told_recorded_points_after_the_baseline(name: str) -> None:
    grid = samplers.Grid.of(grid_of((BASELINE.pruning, "fp32"), (HIDDEN, "fp32")))
    told = samplers.play(grid, name, 0, 12)
    assert told[0] == BASELINE
    assert len(told) == 12
    assert set(told) <= grid.measured.keys()
    assert len(set(told)) > 3
    assert samplers.play(grid, name, 0, 12) == told


def test_a_verdict_says_whether_quartiles_lie_apart() -> None:
    def at(low: float, middle: float, high: float) -> dict[str, dict[str, dict[str, float]]]:
        return {"hypervolume_percent": {"40": {"q1": low, "median": middle, "q3": high}}}

    told = {"tpe": at(80.0, 85.0, 90.0), "gp": at(89.0, 92.0, 95.0)}
    assert samplers.verdicts(told, [40]) == [
        "40 trials: gp leads with 92.0 [89.0–95.0] %; tpe has 85.0 [80.0–90.0] %, quartiles overlap"
    ]
    assert samplers.verdicts(told | {"gp": at(91.0, 92.0, 95.0)}, [40])[0].endswith("quartiles apart")


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_that_is_kept_is_what_the_file_beside_it_says(path: Path) -> None:
    table, about = recorded.read(path), json.loads(recorded.about_path(path).read_text())
    assert len(table.points) == about["points"]
    assert len(table.durations) == about["recordings"]
    assert path.stat().st_size < 1.5e6
    assert samplers.Grid.of(table).models
