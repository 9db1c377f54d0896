"""What the report shows of trials under overlap and noise."""

from explorer.exhibits import Absent, Exhibit
from explorer.stress_figure import stress_exhibit, stress_figure
from explorer.stress_kept import Stressed, stressed_trials
from tests.explorer.recommendable import empty_study
from tests.explorer.stressed import kept, stressed


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
    assert shown.sheets["stress"].count("\n") == 9


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
