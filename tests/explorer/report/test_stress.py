"""What the report shows of trials under overlap and noise."""

import csv
import dataclasses
import io

import pytest

from explorer.diagnostics.stress_results import Cell, Stressed, stressed_trials
from explorer.front.frames import as_csv
from explorer.report.exhibit import Absent, Exhibit
from explorer.report.stress import stress_exhibit, stress_figure
from explorer.statistics.differences import few_recordings
from objectives.errors import StudyError
from objectives.measurement import ErrorCounts
from tests.support.recommendation_study import empty_study
from tests.support.stress_results import kept, stressed


def test_the_report_draws_those_that_were_stressed_alike() -> None:
    study = empty_study()
    absent = stress_exhibit(study)
    assert isinstance(absent, Absent)
    assert absent.command == "explorer stress study TRIAL"
    ours, theirs = (stressed(n, [10.0] * 12, [12.0] * 12, [14.0, 6.0] * 6, [30.0] * 12) for n in (3, 0))
    kept(study, ours, theirs, stressed(9, [1.0], [2.0], [3.0], [4.0], seed=5))
    found = stress_figure(stressed_trials(study))
    assert found is not None
    assert [one.trial for one in found.trials] == [0, 3]
    assert [one.trial for one in found.left_out] == [9]
    assert len(found.points) == 8
    shown = stress_exhibit(study)
    assert isinstance(shown, Exhibit)
    assert shown.grid is not None
    assert shown.grid.heads == ("trial", "operating point", "noise", "overlap 0 %", "overlap 20 %")
    assert shown.grid.rows[2:] == (
        ("3", "point 3", "no noise", "10.0", "10.0 (+0.0)"),
        ("3", "point 3", "noise at 10 dB", "12.0 (+2.0 *)", "30.0 (+20.0 *)"),
    )
    assert "Kept as well, and not drawn: trial 9 (seed 5)." in shown.caption
    assert "Trials 0, 3." in shown.caption
    assert shown.alternative.startswith("trial 0: 10.0 % with 0 % overlap and no noise, 30.0 % at most, with 20 %")
    assert shown.figure is not None
    panels = shown.figure.axes
    assert [panel.get_title(loc="left") for panel in panels] == [
        "no noise",
        "noise at 10 dB",
        "overlap 0 %",
        "overlap 20 %",
    ]
    assert [list(line.get_ydata()) for line in panels[1].lines] == [[12.0, 30.0]] * 2
    assert [list(line.get_ydata()) for line in panels[2].lines] == [[10.0, 12.0]] * 2
    assert shown.sheets is not None
    assert len(shown.sheets["stress"]) == 8


def test_few_recordings_are_told_in_the_report_too() -> None:
    study = empty_study()
    kept(study, stressed(3, [1.0] * 2, [2.0] * 2, [3.0] * 2, [4.0] * 2))
    few = stress_exhibit(study)
    assert isinstance(few, Exhibit)
    assert "Few recordings (2): intervals tend to be too narrow." in few.caption
    study = empty_study()
    kept(study, stressed(3, [1.0], [2.0], [3.0], [4.0]))
    one = stress_exhibit(study)
    found = stress_figure(stressed_trials(study))
    assert isinstance(one, Exhibit)
    assert found is not None
    assert "A single recording: no difference has an interval." in one.caption
    assert [point.tied for point in found.points] == [None] * 4  # nobody can tell
    assert one.grid is not None
    assert "*" not in str(one.grid.rows)
    kept(study := empty_study(), one_of(3))
    enough = stress_exhibit(study)
    assert isinstance(enough, Exhibit)
    assert "intervals tend" not in enough.caption


def one_of(trial: int, made: str = "2026-01-01", **conditions: object) -> Stressed:
    return stressed(trial, [10.0] * 12, [12.0] * 12, [14.0] * 12, [30.0] * 12, made=made, **conditions)


def test_another_grid_leaves_what_was_measured_before() -> None:
    """13 beside 0, then 13 alone on another grid: the pair stays, and is drawn."""
    study = empty_study()
    pair, alone = (one_of(0), one_of(13)), one_of(13, made="2026-02-01", seed=5, band="telephone")
    kept(study, *pair, alone)
    assert stressed_trials(study) == (*pair, alone)
    found = stress_figure(stressed_trials(study))
    assert found is not None
    assert (found.trials, found.left_out) == (pair, (alone,))
    shown = stress_exhibit(study)
    assert isinstance(shown, Exhibit)
    assert "Kept as well, and not drawn: trial 13 (telephone band, seed 5)." in shown.caption
    again = one_of(13, made="2026-03-01")  # measured once more: in the place of the one before
    kept(study, again)
    assert stressed_trials(study) == (pair[0], alone, again)


def test_of_groups_that_are_as_large_the_newest_is_drawn() -> None:
    older = [one_of(trial, made="2026-02-01") for trial in (3, 13)]
    newer = [one_of(trial, made="2026-02-02", seed=1, overlaps=[0.0, 0.2]) for trial in (0, 3)]
    for group in ([*older, *newer], [*newer, *older]):
        found = stress_figure(group)
        assert found is not None
        assert (found.trials, found.left_out) == (tuple(newer), tuple(older))
    many = [one_of(trial) for trial in range(8)]
    study = empty_study()
    kept(study, *many, one_of(9, noises=[None, 10.0], speakers=[2, 3], rounds=2))
    shown = stress_exhibit(study)
    assert isinstance(shown, Exhibit)
    assert "not drawn: trials 6–7 (no room); trial 9 (2–3 speakers)." in shown.caption


def uneven(overlap: float, noise: float | None, more: float) -> Cell:
    """A cell of which no two figures are alike; of the overlap half came out."""
    counts = {"a": ErrorCounts(1.0, 2.0, 3.0 + more, 80.0), "b": ErrorCounts(0.5, 1.5, 4.0 + more, 20.0)}
    return Cell.of(counts, overlap=overlap, noise=noise, overlap_share=overlap / 2)


@pytest.fixture
def of_uneven_cells() -> Stressed:
    levels = [(0.0, None), (0.0, 10.0), (0.2, None), (0.2, 10.0)]
    cells = tuple(uneven(*level, more) for level, more in zip(levels, (0.0, 1.0, -1.0, 4.0), strict=True))
    return dataclasses.replace(one_of(3), cells=cells)


def test_the_sheet_has_every_figure_in_its_column(of_uneven_cells: Stressed) -> None:
    study = empty_study()
    kept(study, of_uneven_cells)
    assert stressed_trials(study) == (of_uneven_cells,)
    shown = stress_exhibit(study)
    assert isinstance(shown, Exhibit)
    first, noisy, overlapped, _ = csv.DictReader(io.StringIO(as_csv((shown.sheets or {})["stress"])))
    assert {name: float(told) for name, told in noisy.items() if name not in ("point", "tied")} == pytest.approx({
        "trial": 3, "overlap": 0.0, "overlap_share": 0.0, "noise": 10.0,
        "der": 14.0, "false_alarm": 1.5, "missed_detection": 3.5, "confusion": 9.0,
        "added": 2.0, "added_low": 1.25, "added_high": 5.0,  # 1 s of 80 s, and of 20 s
    })  # fmt: skip
    assert (noisy["point"], noisy["tied"]) == ("point 3", "False")
    assert [first[name] for name in ("noise", "added", "added_low", "added_high", "tied")] == [""] * 5
    assert (overlapped["overlap"], overlapped["overlap_share"], overlapped["added"]) == ("0.2", "0.1", "-2.0")


@pytest.mark.parametrize("places", [(0, 2, 1, 3), (0, 1, 2), (0, 1, 2, 3, 3), (1, 0, 2, 3)])
def test_cells_lie_on_their_grid_in_order(of_uneven_cells: Stressed, places: tuple[int, ...]) -> None:
    study = empty_study()
    kept(study, dataclasses.replace(of_uneven_cells, cells=tuple(of_uneven_cells.cells[place] for place in places)))
    with pytest.raises(StudyError, match="its cells are not those of its grid"):
        stressed_trials(study)


def test_cells_are_of_the_same_recordings(of_uneven_cells: Stressed) -> None:
    study, last = empty_study(), of_uneven_cells.cells[3]
    counts = {"a": ErrorCounts(1.0, 2.0, 3.0, 80.0), "c": ErrorCounts(0.5, 1.5, 4.0, 20.0)}
    other = Cell.of(counts, overlap=last.overlap, noise=last.noise, overlap_share=last.overlap_share)
    kept(study, dataclasses.replace(of_uneven_cells, cells=(*of_uneven_cells.cells[:3], other)))
    with pytest.raises(StudyError, match="its cells are not of the same recordings"):
        stressed_trials(study)


def test_what_is_kept_comes_by_trial_and_then_by_age() -> None:
    study = empty_study()
    told = [one_of(12, made="2026-01-01"), one_of(3, made="2026-03-01", seed=1), one_of(3, made="2026-02-01")]
    kept(study, *told)
    assert stressed_trials(study) == (told[2], told[1], told[0])


@pytest.mark.parametrize(
    ("recordings", "said"), [(1, "a single recording"), (2, "few recordings (2)"), (9, "few recordings (9)"), (10, "")]
)
def test_from_how_many_recordings_on_intervals_are_believed(recordings: int, said: str) -> None:
    assert few_recordings(recordings).partition(":")[0] == said


def test_a_group_is_as_new_as_what_was_added_to_it_last() -> None:
    older = [one_of(1, made="2026-02-02"), one_of(2, made="2026-02-03")]
    newer = [one_of(3, made="2026-01-01", seed=1), one_of(4, made="2026-02-04", seed=1)]
    found = stress_figure([*newer, *older])
    assert found is not None
    assert found.trials == tuple(newer)


@pytest.mark.parametrize("part", ["der", "false_alarm", "missed_detection", "confusion"])
def test_a_figure_that_is_none_is_named(of_uneven_cells: Stressed, part: str) -> None:
    study, damaged = empty_study(), dataclasses.replace(of_uneven_cells.cells[2], **{part: float("nan")})
    kept(
        study,
        dataclasses.replace(of_uneven_cells, cells=(*of_uneven_cells.cells[:2], damaged, of_uneven_cells.cells[3])),
    )
    with pytest.raises(StudyError, match=r"a DER of .*nan"):
        stressed_trials(study)


def test_panels_are_over_the_overlap_that_came_out_and_over_levels_of_noise(of_uneven_cells: Stressed) -> None:
    study = empty_study()
    kept(study, of_uneven_cells)
    shown = stress_exhibit(study)
    assert isinstance(shown, Exhibit)
    assert shown.figure is not None
    lines = [panel.lines[0] for panel in shown.figure.axes]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in lines] == [
        ([0.0, 10.0], [12.0, 10.0]), ([0.0, 10.0], [14.0, 20.0]), ([0.0, 1.0], [12.0, 14.0]), ([0.0, 1.0], [10.0, 20.0])
    ]  # fmt: skip
    assert (
        "12.0 % with 0 % overlap and no noise, 20.0 % at most, with 10 % overlap and noise at 10 dB"
        in shown.alternative
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("overlaps", [0.0, 0.3]), ("noises", [None, 5.0]), ("rounds", 2), ("band", "telephone"), ("seed", 1),
        ("noise_kind", "speech-shaped"), ("speech", {"name": "calls", "found": "by hand", "people": 4}),
        ("recordings", "another hash of what was heard"),
    ],
)  # fmt: skip
def test_other_conditions_are_kept_beside_these_and_not_compared_with_them(name: str, value: object) -> None:
    ours, theirs = one_of(3, recordings="a hash"), one_of(3, **{"recordings": "a hash", name: value})
    assert ours.key != theirs.key
    assert ours.key != one_of(4, recordings="a hash").key
    found = stress_figure([ours, one_of(4, **{"recordings": "a hash", name: value})])
    assert found is not None
    assert (len(found.trials), len(found.left_out)) == (1, 1)
    assert one_of(3, made="2027-01-01").key == one_of(3).key
