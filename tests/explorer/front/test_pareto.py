"""The front as data: a truth table of standings, fixed points in every state, and what is printed of them."""

import csv
import io
from collections.abc import Mapping
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from explorer.commands.front import print_front, print_tables
from explorer.front import frames
from explorer.front.pareto import front
from explorer.front.rows import FrontRow
from explorer.search.status import status
from explorer.storage import trial_record as record
from explorer.storage.study_record import DEFINITION
from objectives.errors import StudyError
from objectives.measurement import ErrorCounts
from objectives.operating_point import BASELINE, OperatingPoint, Pruning
from studies.search_space import params_of, suggest
from tests.support.analytic_evaluator import ORIGINS, measurement, small_study
from tests.support.front_rows import vary
from tests.support.recommendation_study import measured

Values = tuple[float, float, float]
FREE = OperatingPoint(0.3, 0.0)


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study(directions=["minimize"] * 3)
    study.set_user_attr(DEFINITION, small_study().model_dump_json())
    return study


def tell(
    study: optuna.Study,
    values: Values | None,
    origin: str = "search",
    point: OperatingPoint = FREE,
    excesses: Mapping[str, float] | None = None,
    without: str | None = None,
) -> None:
    """One finished trial with the values given, failed with None. without: an attribute that it does not have."""
    study.enqueue_trial(params_of(point), user_attrs={record.ORIGIN: origin})
    trial = study.ask()
    suggest(trial, small_study().space)
    for key, value in record.attributes_of(measurement(point)).items():
        if key != without:
            trial.set_user_attr(key, value)
    for name, excess in (excesses or {}).items():
        trial.set_constraint(name, excess)
    if values is None:
        trial.set_user_attr(record.ERROR, "a fault")
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, values)


def standings(study: optuna.Study) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {row.origin: (row.standing, row.dominated_by) for row in front(study)}


# trial 0 is always (DER 20, size 4, RTF 0.1); what does a second one do to it, and it to the second?
@pytest.mark.parametrize(
    ("second", "first_stands", "second_stands"),
    [
        #   DER  size  RTF
        ((19.0, 4.0, 0.1), ("dominated", (1,)), ("front", ())),
        ((20.0, 3.0, 0.1), ("dominated", (1,)), ("front", ())),
        ((20.0, 4.0, 0.05), ("dominated", (1,)), ("front", ())),
        ((19.0, 3.0, 0.05), ("dominated", (1,)), ("front", ())),
        ((21.0, 4.0, 0.1), ("front", ()), ("dominated", (0,))),
        ((21.0, 5.0, 0.2), ("front", ()), ("dominated", (0,))),
        ((19.0, 5.0, 0.1), ("front", ()), ("front", ())),
        ((19.0, 3.0, 0.2), ("front", ()), ("front", ())),
        ((20.0, 4.0, 0.1), ("front", ()), ("front", ())),  # equals do not dominate each other
    ],
)
def test_dominance(
    study: optuna.Study, second: Values, first_stands: tuple[str, tuple], second_stands: tuple[str, tuple]
) -> None:
    tell(study, (20.0, 4.0, 0.1), ORIGINS[0], BASELINE)
    tell(study, second, ORIGINS[1], OperatingPoint(1.0, 0.5))
    told = standings(study)
    assert (told[ORIGINS[0]], told[ORIGINS[1]]) == (first_stands, second_stands)


def test_a_dominated_point_names_those_on_the_front_that_dominate_it(study: optuna.Study) -> None:
    tell(study, (30.0, 4.0, 0.3), ORIGINS[0], BASELINE)
    tell(study, (20.0, 4.0, 0.1))  # 1: dominates 0, dominated by 2
    tell(study, (19.0, 4.0, 0.1))  # 2: on the front
    tell(study, (25.0, 3.0, 0.1))  # 3: on the front, dominates 0
    assert standings(study)["baseline"] == ("dominated", (2, 3))
    assert [row.trial for row in front(study) if row.standing == "front"] == [2, 3]


def test_search_trials_off_the_front_are_left_out_and_fixed_points_are_not(study: optuna.Study) -> None:
    tell(study, (20.0, 4.0, 0.1))
    tell(study, (30.0, 4.0, 0.1))
    tell(study, (31.0, 4.0, 0.1), ORIGINS[0], BASELINE)
    assert [row.trial for row in front(study) if row.trial is not None] == [0, 2]


def test_an_infeasible_trial_dominates_nobody_and_names_its_limits(study: optuna.Study) -> None:
    limits = {"latency": 0.2, "size": -0.5, "rtf": 0.1}
    tell(study, (10.0, 1.0, 0.01), ORIGINS[0], BASELINE, limits)
    tell(study, (20.0, 4.0, 0.1), ORIGINS[1], OperatingPoint(1.0, 0.5), {"latency": -0.1, "size": 0.0, "rtf": 0.0})
    best, other, *_ = front(study)
    assert (best.standing, best.exceeded, best.dominated_by) == ("infeasible", ("latency", "rtf"), ())
    assert (other.standing, other.exceeded) == ("front", ())


def test_fixed_points_in_every_state(study: optuna.Study) -> None:
    tell(study, None, ORIGINS[0], BASELINE)
    study.enqueue_trial(params_of(OperatingPoint(1.0, 0.5)), user_attrs={record.ORIGIN: ORIGINS[1]})
    rows = {row.origin: row for row in front(study)}
    assert list(rows) == [ORIGINS[2], ORIGINS[0], ORIGINS[1]]  # by latency: nothing is measured
    failed, waiting, unknown = (rows[origin] for origin in ORIGINS)
    assert (failed.standing, failed.error, failed.measurement) == ("failed", "a fault", None)
    assert (waiting.standing, waiting.trial, waiting.latency) == ("waiting", 1, 1.5)
    assert (unknown.standing, unknown.trial, unknown.point.chunk_length) == ("waiting", None, 0.5)
    suggest(study.ask(), small_study().space)
    assert {row.origin: row for row in front(study)}[ORIGINS[1]].standing == "running"


def test_a_point_that_failed_and_then_came_through_is_one_row(study: optuna.Study) -> None:
    tell(study, None, ORIGINS[0], BASELINE)
    tell(study, (20.0, 4.0, 0.1), ORIGINS[0], BASELINE)
    tell(study, None, ORIGINS[0], BASELINE)
    assert [(row.trial, row.standing) for row in front(study) if row.origin == "baseline"] == [(1, "front")]


def test_a_row_carries_the_measurement(study: optuna.Study) -> None:
    tell(study, record.values_of(measurement(BASELINE)), ORIGINS[0], BASELINE)
    row = front(study)[0]  # DER = 10 + 5 / 1 in two halves of speech: 7.5 missed, 3.75 false alarm, 3.75 confused
    assert (
        row.figures.der,
        row.figures.missed_detection,
        row.figures.false_alarm,
        row.figures.confusion,
    ) == pytest.approx((15.0, 7.5, 3.75, 3.75))
    assert (row.figures.rtf, row.figures.rtf_low, row.figures.rtf_high) == pytest.approx((0.03, 0.027, 0.033))
    assert (row.figures.rtf_ratio, row.figures.size, row.figures.execution) == (pytest.approx(1.0), 4.0, "native")
    assert row.figures.update_latency == pytest.approx({"median": 0.03, "p95": 0.039, "p99": 0.0398, "updates": 3})
    assert row.figures.stage_shares == pytest.approx(
        {"segmentation": 0.6, "embedding": 0.3, "clustering": 0.06, "other": 0.04}
    )
    assert row.figures.peak_memory_mib == 400.0


def test_a_row_has_each_kind_of_error_under_its_own_name(study: optuna.Study) -> None:
    counts = {"a": ErrorCounts(false_alarm=1.0, missed_detection=2.0, confusion=17.0, total=100.0)}
    told = replace(measurement(BASELINE), counts=counts)
    measured(study, told, ORIGINS[0])
    study.tell(0, record.values_of(told))
    row = front(study)[0]
    assert (row.figures.false_alarm, row.figures.missed_detection, row.figures.confusion) == (1.0, 2.0, 17.0)


def test_of_a_point_that_failed_twice_the_last_failure_is_told(study: optuna.Study) -> None:
    tell(study, None, ORIGINS[0], BASELINE)
    tell(study, None, ORIGINS[0], BASELINE)
    assert [(row.trial, row.standing) for row in front(study) if row.origin == "baseline"] == [(1, "failed")]


@pytest.mark.parametrize("name", ["update_latency", "stage_shares", "peak_memory_mib"])
def test_a_trial_of_an_earlier_version_is_still_a_row(study: optuna.Study, name: str) -> None:
    tell(study, (15.0, 4.0, 0.03), ORIGINS[0], BASELINE, without=name)
    row = front(study)[0]
    assert (row.standing, getattr(row.figures, name), row.figures.rtf_ratio) == ("front", None, pytest.approx(1.0))
    assert "baseline" in printed((row,))
    (line,) = csv.DictReader(io.StringIO(frames.as_csv(frames.front((row,)))))
    assert line[name] == ""


def test_a_study_of_another_program_has_no_front() -> None:
    with pytest.raises(StudyError, match="not made by `explorer run`"):
        front(optuna.create_study(directions=["minimize"] * 3))


# --- what is printed


def printed(rows: tuple[FrontRow, ...]) -> str:
    sheet = io.StringIO()
    print_front(rows, Console(file=sheet))
    return sheet.getvalue()


def test_the_table_says_how_each_row_stands(study: optuna.Study) -> None:
    tell(study, (20.0, 4.0, 0.03), ORIGINS[0], BASELINE)
    tell(study, (21.0, 4.0, 0.04), ORIGINS[1], OperatingPoint(1.0, 0.5))
    tell(study, (22.0, 2.0, 0.05), point=OperatingPoint(0.4, 0.0, precision="fp16"))
    lines = {line.split()[1]: line for line in printed(front(study)).splitlines()[1:5]}
    assert lines["baseline"].rstrip().endswith("front")
    assert "0.0300 [0.0270–0.0330]" in lines["baseline"]
    assert "dominated by 0" in lines["paper:figure1:R=0.5"]
    assert "emulated" in lines["search"]  # in the place of a ratio: an emulated RTF is not a gain
    assert lines["paper:figure2:C=0.5"].rstrip().endswith("waiting")


def test_brackets_in_an_error_are_printed_as_they_are(study: optuna.Study) -> None:
    tell(study, None, ORIGINS[0], BASELINE)
    row = replace(front(study)[1], error="no [model] there")
    assert "failed: no [model] there" in printed((row,))


def test_csv_and_rows_say_the_same(study: optuna.Study) -> None:
    tell(study, (20.0, 4.0, 0.03), ORIGINS[0], BASELINE)
    tell(study, (19.0, 4.0, 0.03))
    rows = front(study)
    read = list(csv.DictReader(io.StringIO(frames.as_csv(frames.front(rows)))))
    assert [line["origin"] for line in read] == [row.origin for row in rows]
    baseline = next(line for line in read if line["origin"] == "baseline")
    assert (baseline["standing"], baseline["dominated_by"], float(baseline["der"])) == ("dominated", "1", 20.0)
    assert read[-1]["der"] == ""


def test_both_tables_of_the_paper_are_printed_beside_it() -> None:
    fixed = {"variants": ["Hidden-40"], "precisions": ["int8_ptq"], "table2_variant": "Hidden-40"}
    study = optuna.create_study(directions=["minimize"] * 3)
    study.set_user_attr(DEFINITION, small_study(fixed=fixed).model_dump_json())
    point = OperatingPoint(pruning=Pruning("hidden", 0.4))
    tell(study, record.values_of(measurement(point)), "paper:table1:Hidden-40", point)
    sheet = io.StringIO()
    print_tables(front(study), Console(file=sheet))
    _, first, second = sheet.getvalue().split("\n\n")
    assert first.splitlines()[0].rstrip() == "Table 1: pruning in FP32"
    assert " ".join(first.splitlines()[2].split()) == (
        "Hidden-40 hidden 128, linear 128 1.00 / 0.69 4.00 / 2.65 19.00 / 27.71 0.0300 / 0.0221"
    )
    assert second.splitlines()[0].rstrip() == "Table 2: precision of Hidden-40 (paper: Linear-40)"
    assert " ".join(second.splitlines()[2].split()) == "INT8_PTQ – – / 1.45 – / 1.54 – / 23.67 – / 0.0227"
    assert "SIMSAMU" in second


def test_errors_that_a_gpu_found_are_told_apart_from_the_time_of_the_cpu(study: optuna.Study) -> None:
    tell(study, (20.0, 4.0, 0.03), ORIGINS[0], BASELINE)
    (row, *_) = front(study)
    assert row.figures.kernel == "a formula"
    sheet = io.StringIO()
    print_tables([row], Console(file=sheet, width=200))
    assert "windows run by" not in sheet.getvalue()
    print_tables([vary(row, kernel="torch 2.13.0 cuda GPU emulated")], Console(file=sheet, width=200))
    assert "DER: windows run by torch 2.13.0 cuda GPU emulated; RTF is the CPU's." in sheet.getvalue()


def test_csv_flattens_what_is_kept(study: optuna.Study) -> None:
    tell(study, (20.0, 4.0, 0.03), ORIGINS[0], BASELINE)
    line = next(csv.DictReader(io.StringIO(frames.as_csv(frames.front(front(study))))))
    assert (line["pruning"], line["kept"], line["params"]) == ("none", "hidden=128 linear=128", "1000000")
    assert (line["paper_der"], line["error"]) == ("", "")


# --- status


def test_status_counts_and_names_the_best(study: optuna.Study) -> None:
    tell(study, (20.0, 4.0, 0.03), ORIGINS[0], BASELINE)
    tell(study, (5.0, 1.0, 0.01), excesses={"latency": 0.5})  # infeasible: the best of nothing
    tell(study, (21.0, 4.0, 0.02))
    tell(study, None, ORIGINS[1], OperatingPoint(1.0, 0.5))
    told = status(study)
    assert told.states == {"complete": 3, "fail": 1}
    assert told.origins == {"baseline": 1, "search": 2, "paper": 1}
    assert [(best.value, best.trial) for best in told.best] == [(20.0, 0), (4.0, 0), (0.02, 2)]
    assert [(failure.trial, failure.origin, failure.error) for failure in told.failures] == [(3, ORIGINS[1], "a fault")]
    # one search trial was asked for and two are there; of the fixed points one failed and one was never queued
    assert told.remaining == 2
    assert told.machine == {"cpu": "a formula", "threads": "1"}
    assert told.definition["sampler"] == "random"


def test_an_emulated_precision_has_no_best_rtf(study: optuna.Study) -> None:
    tell(study, (20.0, 4.0, 0.03))
    tell(study, (19.0, 2.0, 0.01), point=OperatingPoint(0.4, 0.0, precision="fp16"))
    assert [(best.metric, best.trial) for best in status(study).best] == [("DER (%)", 1), ("size (MiB)", 1), ("RTF", 0)]


def test_status_of_an_empty_study(study: optuna.Study) -> None:
    told = status(study)
    assert (told.states, told.best, told.seconds, told.remaining) == ({}, (), None, 4)
