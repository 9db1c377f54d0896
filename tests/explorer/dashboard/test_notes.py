"""Notes in Markdown: what is said of each kind of trial, and of a study."""

from collections.abc import Callable

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from explorer.dashboard.notes import EMULATED, Look, study_note, trial_note
from explorer.front.pareto import every_row, front
from explorer.front.rows import FrontRow
from explorer.storage import trial_record as record
from explorer.storage.study_record import DEFINITION, stored_definition
from objectives.operating_point import BASELINE, OperatingPoint
from studies.search_space import params_of, suggest
from tests.support.analytic_evaluator import measurement, small_study

Told = Callable[[int], str]


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study(study_name="a|b", directions=["minimize"] * 3)
    study.set_user_attr(DEFINITION, small_study(description="Words", limits={"rtf": 0.05}).model_dump_json())
    return study


def tell(study: optuna.Study, point: OperatingPoint, origin: str = "search", **changes: object) -> None:
    """One complete trial. changes: of its attributes; `rtf`: its value."""
    study.enqueue_trial(params_of(point), user_attrs={record.ORIGIN: origin})
    trial = study.ask()
    suggest(trial, small_study().space)
    measured = measurement(point)
    der, size, rtf = record.values_of(measured)
    rtf = float(changes.pop("rtf", rtf))
    for key, value in {**record.attributes_of(measured), **changes}.items():
        trial.set_user_attr(key, value)
    trial.set_constraint("rtf", rtf / 0.05 - 1)
    study.tell(trial, (der, size, rtf))


def notes(study: optuna.Study) -> list[str]:
    trials = study.get_trials()
    rows = {row.trial: row for row in every_row(study, trials)}
    return [trial_note(trial, rows.get(trial.number)) for trial in trials]


def test_a_complete_trial_tells_all_that_was_measured(study: optuna.Study) -> None:
    tell(study, BASELINE, "baseline")
    (told,) = notes(study)
    assert told.startswith("## Trial 0: baseline\n\n**On the front**")
    assert "C 1 s, R 0 s, unpruned, fp32; latency 1 s." in told
    for line in (
        "| DER&emsp; | 15.00 % = 7.50 missed + 3.75 false alarm + 3.75 confusion |",
        "| size&emsp; | 4.000 MiB |",
        "| parameters&emsp; | 1,000,000 |",
        r"| RTF&emsp; | 0.0300 \[0.0270–0.0330\], 1.00 × the FP32 baseline |",
        "| compute of an update&emsp; | median 0.0300 s, 95 % below 0.0390 s, 99 % below 0.0398 s (3 updates) |",
        "| shares of the RTF&emsp; | segmentation 60%, embedding 30%, clustering 6%, other 4% |",
        "- Only 100 s of scored speech in 2 recordings",
    ):
        assert line in told
    assert EMULATED not in told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"execution": "emulated"}, EMULATED),
        ({"reused_from": 7}, "the same operating point as trial 7"),
        ({"rtf": 1.2}, "it cannot keep up"),
        ({"rtf": 0.9}, "RTF near 1"),
        ({"update_latency": {"median": 0.5, "p95": 0.9, "p99": 1.1, "updates": 9}}, "live output would stutter"),
    ],
)
def test_caveats_are_said_where_they_hold_and_nowhere_else(study: optuna.Study, changes: dict, said: str) -> None:
    tell(study, BASELINE, "baseline")
    tell(study, BASELINE, **changes)
    without, with_it = notes(study)
    assert said in with_it
    assert said not in without


def test_how_a_trial_stands(study: optuna.Study) -> None:
    tell(study, OperatingPoint(2.0, 0.0), "fixed:C=2")
    tell(study, BASELINE, "baseline")
    tell(study, OperatingPoint(0.1, 0.0))
    _, dominated, over = notes(study)
    assert "**Dominated** by trial 0." in dominated
    assert "**Infeasible**: over the budget of rtf." in over


def unmeasured(study: optuna.Study, state: TrialState, **attributes: object) -> str:
    """The note of a trial that was not measured to the end."""
    trial = study.ask(fixed_distributions={})
    suggest(trial, small_study().space)
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    if state is TrialState.PRUNED:
        trial.set_constraint("rtf", 1.0 if "over" in attributes else -1.0)
    if state.is_finished():
        study.tell(trial, state=state)
    return notes(study)[-1]


def test_a_failed_trial_tells_why_without_breaking_the_page(study: optuna.Study) -> None:
    told = unmeasured(study, TrialState.FAIL, error="no <script>, no [link](x)\nno | here")
    assert r"**Failed**: no \<script\>, no \[link\](x) no \| here" in told


def test_a_trial_that_a_budget_stopped_is_infeasible(study: optuna.Study) -> None:
    stop = {"kind": "limit", "reason": "RTF is 0.2, over the budget of 0.05"}
    told = unmeasured(study, TrialState.PRUNED, stop=stop, over=True)
    assert "**Infeasible** (over the budget of rtf), and stopped before it was measured to the end: RTF is 0.2" in told
    assert "Operating point: C " in told


def test_a_raced_trial_tells_by_whom_and_how_far_it_came(study: optuna.Study) -> None:
    known = {"a": {"der": 1.0}, "b": {"der": 2.0}}
    told = unmeasured(study, TrialState.PRUNED, stop={"kind": "raced", "reason": "trial 3 wins"}, recordings=known)
    assert "**Stopped** before it was measured to the end: trial 3 wins." in told
    assert "2 recordings were scored" in told


def test_a_running_a_waiting_and_a_half_asked_trial(study: optuna.Study) -> None:
    assert "Was running when this copy was taken." in unmeasured(study, TrialState.RUNNING)
    study.enqueue_trial(params_of(BASELINE), user_attrs={record.ORIGIN: "baseline"})
    study.add_trial(optuna.create_trial(state=TrialState.FAIL))
    _, waiting, half = notes(study)
    assert "Waits for its turn.\n\nOperating point: C 1 s" in waiting
    assert half == "## Trial 2: search\n\n**Failed**: nobody wrote down why"


def told_of(study: optuna.Study, trials: list[FrozenTrial], rows: tuple[FrontRow, ...], left_out: int = 0) -> str:
    look = Look("2026-01-02 03:04:05", "sqlite:///x.db", {"importance": "too few"}, left_out)
    return study_note(study.study_name, stored_definition(study), trials, rows, look)


def test_the_note_of_a_study(study: optuna.Study) -> None:
    tell(study, BASELINE, "baseline")
    tell(study, OperatingPoint(0.1, 0.0), "fixed:C=0.1")
    tell(study, OperatingPoint(2.0, 0.0, precision="fp16"))
    told = told_of(study, study.trials, front(study))
    assert told.startswith("# a\\|b\n\nWords\n\nA copy of `sqlite:///x.db`, taken 2026-01-02 03:04:05: 3 complete.")
    table = [line.replace("&emsp;", "") for line in told.splitlines() if line.startswith("| ")]
    assert (
        r"| 0 | baseline | 1 | 0 | none | fp32 | 15.00 | 2: +2.50 \[+2.50, +2.50\] | 4.00 | 0.0300 \[0.0270–0.0330\] "
        "| 1.00 | dominated by 2 |" in table
    )
    assert any("fixed:C=0.1" in line and line.endswith("| 7.00 | infeasible: over rtf |") for line in table)
    assert any("| fp16 |" in line and "| emulated | front |" in line for line in table)
    assert any("paper:figure1:R=0.5" in line and line.startswith("| – |") for line in table)  # not queued yet
    assert EMULATED in told
    assert "Not drawn: **importance**: too few." in told
    assert "2 recordings, 100 s of scored speech" in told
    assert "| `limits.rtf` | `0.05` |" in table
    assert "| `trials` | `1` |" in table
    assert "| cpu | a formula |" in table


def test_points_that_the_figures_leave_out_are_counted(study: optuna.Study) -> None:
    assert "left out" not in told_of(study, [], front(study))
    assert "- 7 of the earlier dominated or infeasible" in told_of(study, [], front(study), left_out=7)


def test_the_note_of_a_study_without_a_measurement(study: optuna.Study) -> None:
    told = told_of(study, [], front(study))
    assert "no trial yet" in told
    assert "Nothing is measured yet." in told
    assert EMULATED not in told
