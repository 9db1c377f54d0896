"""Which DERs are compared, by hand on two recordings; the same numbers by every door; and what holds of all."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console
from typer.testing import CliRunner

from explorer.cli import app
from explorer.commands.front import print_tables
from explorer.dashboard.notes import trial_note
from explorer.front import comparisons
from explorer.front.comparisons import compare, difference_in_words
from explorer.front.frames import as_csv
from explorer.front.pareto import whole_front as front_of
from explorer.front.rows import Comparison, FrontRow, Kind
from explorer.report.exhibit import Absent
from explorer.report.front import whole_front
from explorer.report.pairs import pairs_exhibit
from explorer.statistics import bootstrap
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from objectives.operating_point import OperatingPoint, Pruning
from tests.support.front_rows import front_row
from tests.support.recommendation_study import add, add_baseline, empty_study

LINEAR = Pruning("linear", 0.4)
ONLINE = {"tau_active": 0.5, "rho_update": 0.3, "delta_new": 1.0}

# Two recordings of 100 s each: a resample holds both (half of them), or one twice (a quarter each). So the difference
# lies between those of the two alone, and these are the ends of the interval.
BEST = (10.0, 20.0)  # DER 15
AHEAD = (12.0, 21.0)  # 16.5: +2 and +1 of the best
EITHER = (30.0, 5.0)  # 17.5: +20 and −15


@pytest.fixture
def study() -> optuna.Study:
    """0, 1, 2 on the front; 3 dominated by all, 4 over a budget; the baseline is 5, dominated by 0 and 1."""
    study = empty_study()
    add(study, BEST, size=4.0)
    add(study, AHEAD, size=3.0)
    add(study, EITHER, size=2.0)
    add(study, (31.0, 31.0), size=4.5, point=OperatingPoint(2.0), origin="fixed:C=2")
    add(study, (9.0, 9.0), size=1.0, point=OperatingPoint(3.0), origin="fixed:C=3", excesses={"latency": 0.5})
    add_baseline(study, (13.0, 22.0), size=3.5)
    return study


def by_kind(found: tuple[Comparison, ...], kind: Kind) -> list[tuple[int, int]]:
    return [(one.trial, one.versus) for one in found if one.kind == kind]


def the(found: tuple[Comparison, ...], kind: Kind, trial: int) -> Comparison:
    (one,) = (one for one in found if (one.kind, one.trial) == (kind, trial))
    return one


def row(trial: int, der: float, precision: str = "fp32", **more: object) -> FrontRow:
    return front_row(trial, precision=precision, der=der, **{"origin": f"fixed:{trial}", **more})


def trial(errors: Mapping[str, float]) -> FrozenTrial:
    """One that was measured, with so many seconds of error in 100 s of each recording."""
    kinds = {"false_alarm_seconds": 0.0, "missed_detection_seconds": 0.0, "total_seconds": 100.0}
    recordings = {uri: {**kinds, "confusion_seconds": seconds} for uri, seconds in errors.items()}
    return create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs={record.RECORDINGS: recordings})


# --- what is compared


def test_each_point_stands_beside_what_it_has_to_beat(study: optuna.Study) -> None:
    found = front_of(study).comparisons
    assert by_kind(found, "front neighbours") == [(1, 0), (2, 1)]
    assert by_kind(found, "lowest DER") == [(1, 0), (2, 0)]
    assert by_kind(found, "dominated") == [(5, 1), (3, 0)]  # 5 is larger than 1 and 2 alone; 0 is the best of 3's
    assert by_kind(found, "over a budget") == [(4, 5)]
    rows = {row.trial: row for row in front_of(study).rows}
    assert {number: row.comparison and row.comparison.versus for number, row in rows.items() if number is not None} == {
        0: None, 1: 0, 2: 1, 3: 0, 4: 5, 5: 1
    }  # fmt: skip
    assert {number: row.tied_with_best for number, row in rows.items()}[2] is True


def test_a_dominated_point_stands_beside_the_best_that_dominates_it_and_not_the_first() -> None:
    study = empty_study()
    add(study, (16.0, 16.0), size=3.0)
    add(study, (15.0, 15.0), size=4.0)
    add(study, (20.0, 20.0), size=5.0, point=OperatingPoint(2.0), origin="fixed:C=2")
    dominated = {row.trial: row for row in front_of(study).rows}[2]
    assert dominated.dominated_by == (0, 1)
    assert dominated.comparison is not None
    assert (dominated.comparison.versus, dominated.comparison.der_difference) == (1, 5.0)


def test_differences_by_hand(study: optuna.Study) -> None:
    found = front_of(study).comparisons
    one = the(found, "front neighbours", 1)
    assert (one.der_difference, one.der_low, one.der_high) == pytest.approx((1.5, 1.0, 2.0))
    assert (one.recordings, one.tied, one.der, one.versus_der) == (2, False, 16.5, 15.0)
    one = the(found, "lowest DER", 2)  # (30 − 10, 5 − 20)
    assert (one.der_difference, one.der_low, one.der_high) == pytest.approx((2.5, -15.0, 20.0))
    assert one.tied is True
    assert difference_in_words(the(found, "over a budget", 4)) == "−8.50 [−13.00, −4.00]"
    assert difference_in_words(the(found, "lowest DER", 2)) == "+2.50 [−15.00, +20.00] tied"


def test_one_point_in_two_rows_is_not_its_own_neighbour() -> None:
    """Fixed points may be the same operating point, measured once: the baseline is one row of Table 1."""
    rows = [row(0, 15.0), row(1, 15.0), row(2, 16.5, "fp16"), row(3, 16.5, "fp16"), row(4, 17.5, "int8_ptq")]
    trials = dict(enumerate(trial({"a": a, "b": b}) for a, b in (BEST, BEST, AHEAD, AHEAD, EITHER)))
    found = compare(rows, trials)
    assert by_kind(found, "front neighbours") == [(2, 1), (3, 1), (4, 3)]
    assert by_kind(found, "lowest DER") == [(2, 0), (3, 0), (4, 0)]
    assert by_kind(found, "lower precision against FP32") == [(2, 0), (4, 0)]
    filled = comparisons.beside(rows, found)
    assert [one.comparison and one.comparison.versus for one in filled] == [None, None, 1, 1, 3]
    low_bit = comparisons.matched(filled, found, "lower precision against FP32")
    assert set(low_bit) == {rows[2].point, rows[4].point}


def test_pairs_differ_in_one_choice_alone() -> None:
    rows = [
        row(0, 10.0),
        row(1, 11.0, "int4_ptq"),
        row(2, 12.0, "int4_qat"),
        row(3, 13.0, "int4_qat", pruning="Linear-40"),
        row(4, 14.0, "int8_ptq", pruning="Linear-40"),  # neither the QAT of 3's bits, nor has it an FP32
        row(5, 15.0, mode="online", online=ONLINE),
        row(6, 16.0, mode="online", online=ONLINE, chunk_length=2.0),  # no chunk-wise one at this C
        row(7, 17.0, "int4_qat", mode="online", online=ONLINE),
        row(8, None, "fp16"),  # type: ignore[arg-type]  # not measured
    ]
    found = compare(rows, {number: trial({"a": 1.0 * number, "b": 2.0}) for number in range(8)})
    pairs = {kind: by_kind(found, kind) for kind in comparisons.MATCHED}
    assert pairs == {
        "QAT against PTQ": [(2, 1)],
        "online against chunk-wise": [(5, 0), (7, 2)],
        "lower precision against FP32": [(1, 0), (2, 0), (7, 5)],
        "pruned against unpruned": [(3, 2)],
    }
    assert the(found, "online against chunk-wise", 7).point == (
        "C 1 s, R 0 s, unpruned, int4_qat, online, tau_active 0.5, rho_update 0.3, delta_new 1"
    )
    assert the(found, "pruned against unpruned", 3).point == "C 1 s, R 0 s, Linear-40, int4_qat"


def test_a_single_recording_has_no_interval_and_no_tie() -> None:
    study = empty_study()
    add(study, (10.0,), size=4.0)
    add(study, (10.0,), size=3.0, rtf=0.2)
    found = front_of(study)
    one = the(found.comparisons, "front neighbours", 1)
    assert (one.der_difference, one.der_low, one.der_high, one.tied, one.recordings) == (0.0, None, None, None, 1)
    assert difference_in_words(one) == "+0.00"
    shown = printed(found.rows, found.comparisons)
    assert "has a single recording: no difference of DER has an interval" in shown
    assert "In brackets" not in shown
    assert "≈" not in shown


def test_a_trial_of_other_recordings_is_named() -> None:
    study = empty_study()
    add(study, {"a": 10.0, "b": 20.0}, size=4.0)
    add(study, {"a": 10.0, "c": 30.0}, size=3.0)
    found = front_of(study)
    assert found.left_out == {1: "it was scored on other recordings than the study's trials (a, c)"}
    assert [row.trial for row in found.rows if row.trial is not None] == [0]


def test_one_set_of_draws_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    study, made = empty_study(), []
    for number in range(20):
        add(study, (10.0 + number, 20.0), size=30.0 - number)
    draw = bootstrap._drawn
    monkeypatch.setattr(bootstrap, "_drawn", lambda *told: made.append(told) or draw(*told))
    assert len(front_of(study).comparisons) == 38
    assert len(made) == 1


# --- what holds of all

seconds = st.floats(0.0, 60.0)
recordings = st.tuples(seconds, seconds, st.sampled_from((0.0, 30.0)))  # of two points, and of the reference
scored = st.dictionaries(st.sampled_from("abcdefgh"), recordings, min_size=1)


@settings(max_examples=30, deadline=None)
@given(scored)
def test_draws_that_are_shared_give_what_two_alone_give(told: dict[str, tuple[float, float, float]]) -> None:
    ours = {uri: (mine, total) for uri, (mine, _, total) in told.items()}
    theirs = {uri: (other, total) for uri, (_, other, total) in told.items()}
    resampler = bootstrap.Resampler(told)
    for _ in range(2):  # in whichever order, and again
        shared = resampler.interval(resampler.rates(ours), resampler.rates(theirs))
        assert shared == bootstrap.difference(ours, theirs)
        ours, theirs = theirs, ours


@settings(max_examples=30, deadline=None)
@given(scored)
def test_a_difference_turns_its_sign_with_its_sides(told: dict[str, tuple[float, float, float]]) -> None:
    trials = {side: trial({uri: pair[side] for uri, pair in told.items()}) for side in (0, 1)}
    ders = [sum(pair[side] for pair in told.values()) / len(told) for side in (0, 1)]
    rows = [row(side, ders[side], precision) for side, precision in ((0, "int4_ptq"), (1, "int4_qat"))]
    forth = the(compare(rows, trials), "QAT against PTQ", 1)
    back = the(compare([row(0, ders[0], "int4_qat"), row(1, ders[1], "int4_ptq")], trials), "QAT against PTQ", 0)
    assert back.der_difference == -forth.der_difference
    assert forth.tied == back.tied
    if forth.der_low is None or forth.der_high is None:
        assert forth.tied is None
        assert len(told) == 1
        return
    assert (back.der_low, back.der_high) == pytest.approx((-forth.der_high, -forth.der_low))
    assert forth.tied == (forth.der_low <= 0 <= forth.der_high)


def test_draws_are_what_they_were() -> None:
    """A seed means the same from version to version: what was told once is told again."""
    ours = {f"u{place}": (float(place * place % 11 + 1), 20.0 + place) for place in range(9)}
    theirs = {f"u{place}": (float(place * 3 % 7), 20.0 + place) for place in range(9)}
    interval = bootstrap.difference(ours, theirs)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((2.8037383177570097, 19.730941704035875), rel=1e-12)


# --- the same numbers by every door


def printed(rows: tuple[FrontRow, ...], found: tuple[Comparison, ...]) -> str:
    sheet = io.StringIO()
    print_tables(rows, Console(file=sheet, width=300), found)
    return sheet.getvalue()


def stored(folder: Path) -> str:
    """URL of a study with a front, and with QAT beside PTQ."""
    url = f"sqlite:///{folder}/studies.db"
    study = empty_study(url=url)
    add_baseline(study, BEST, size=4.0)
    for number, (precision, errors) in enumerate({"int4_ptq": AHEAD, "int4_qat": EITHER}.items()):
        point = OperatingPoint(pruning=LINEAR, precision=precision)  # type: ignore[arg-type]
        add(study, errors, size=3.0 - number, point=point, origin=f"paper:table2:{precision.upper()}")
    return url


def test_the_same_numbers_by_every_door(tmp_path: Path) -> None:
    url = stored(tmp_path)

    def ask(*arguments: str) -> str:
        answer = CliRunner().invoke(app, ["front", "study", "--storage", url, *arguments], catch_exceptions=False)
        assert answer.exit_code == 0
        return answer.stdout

    names = ("versus", "der_difference", "der_low", "der_high", "tied", "tied_with_best")
    as_json = {one["trial"]: one for one in json.loads(ask("--format", "json"))}
    assert [as_json[2][name] for name in names] == [1, *map(pytest.approx, (1.0, -16.0, 18.0)), True, True]
    study = optuna.load_study(study_name="study", storage=url)
    found = front_of(study)
    sheets = (ask("--format", "csv"), as_csv((whole_front(found.rows, found.comparisons).sheets or {})["front"]))
    for sheet in sheets:
        line = next(line for line in csv.DictReader(io.StringIO(sheet)) if line["trial"] == "2")
        assert [line[name] for name in names] == [str(as_json[2][name]) for name in names]
    pairs = json.loads(ask("--pairs", "--format", "json"))
    (qat,) = (one for one in pairs if one["kind"] == "QAT against PTQ")
    assert [qat[name] for name in names[:-1]] == [as_json[2][name] for name in names[:-1]]
    exhibit = pairs_exhibit(found.rows, found.comparisons)
    assert not isinstance(exhibit, Absent)
    assert as_csv((exhibit.sheets or {})["pairs"]) == ask("--pairs", "--format", "csv")
    said = "+1.00 [−16.00, +18.00] tied"
    assert [said in line for line in ask().splitlines() if "int4_qat" in line] == [True, True]  # its row, the pair
    assert said in ask("--pairs")
    assert any(said in cells for cells in (exhibit.grid.rows if exhibit.grid else ()))
    note = trial_note(bulk_sql.read(study, [2])[2], next(one for one in found.rows if one.trial == 2))
    assert "DER beside trial 1, the next better one of the front" in note
    assert said.replace("[", r"\[").replace("]", r"\]") in note
    assert "tied: these recordings cannot tell them apart" in note


def test_the_table_marks_what_is_tied_with_the_best(study: optuna.Study) -> None:
    found = front_of(study)
    shown = printed(found.rows, found.comparisons)
    by_number = {line.split()[0]: line for line in shown.splitlines()[1:7]}
    assert "≈ 17.50" in by_number["2"]
    assert "≈" not in by_number["0"] + by_number["1"]
    assert "0: +1.50 [+1.00, +2.00] " in by_number["1"]
    assert "paired bootstrap over 2 recordings" in shown
    assert "The lowest DER was found by looking at these 2 recordings" in shown
    assert "Pairs" not in shown
    assert "by chance" not in shown


def test_many_comparisons_err_by_chance() -> None:
    study = empty_study()
    for number in range(11):
        add(study, (10.0 + number, 20.0), size=30.0 - number)
    found = front_of(study)
    shown = printed(found.rows, found.comparisons)
    assert "Of 20 comparisons, one in twenty of those that do not differ seems to differ by chance." in shown


def test_a_study_without_pairs_says_what_would_have_them(study: optuna.Study) -> None:
    found = front_of(study)
    exhibit = pairs_exhibit(found.rows, found.comparisons)
    assert isinstance(exhibit, Absent)
    assert exhibit.command == "explorer run quantization"


def test_a_front_of_one_point_says_nothing_of_differences() -> None:
    study = empty_study()
    add_baseline(study, BEST)
    found = front_of(study)
    assert found.comparisons == ()
    assert "Δ DER to a trial" not in printed(found.rows, found.comparisons)
