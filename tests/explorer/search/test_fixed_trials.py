"""Which pruned model Table 2 is about: by DER on calib or eval, once in a study, whatever ends it in between."""

import json

import pytest
from optuna.trial import TrialState

from explorer.front.pareto import front, table_rows
from explorer.front.rows import NOT_CHOSEN, flat
from explorer.search.fixed_trials import Choice, choice_of, enqueue_missing
from explorer.search.observer import Observer
from explorer.search.status import status
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from objectives.measurement import ErrorCounts
from objectives.operating_point import OperatingPoint, Pruning
from studies.definition import StudyDefinition
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study
from tests.support.recommendation_study import empty_study

LINEAR, HIDDEN = Pruning("linear", 0.4), Pruning("hidden", 0.4)
HIDDEN_POINT = OperatingPoint(pruning=HIDDEN)


def tables(on: str = "calib", **changes: object) -> StudyDefinition:
    """Two variants of Table 1, two rows of Table 2."""
    fixed = {"variants": ["Hidden-40", "Linear-40"], "precisions": ["fp32", "fp16"], "table2_variant": on}
    return small_study(**({"trials": 0, "fixed": fixed} | changes))


def origins(url: str) -> list[str]:
    return [record.origin_of(trial) for trial in load_study("study", url).trials]


TABLE1_FIRST = ["baseline", "paper:table1:Hidden-40", "paper:table1:Linear-40"]
THEN_TABLE2 = ["paper:table2:FP32", "paper:table2:FP16"]


def favour(pruning: Pruning) -> AnalyticEvaluator:
    """On calib, and there alone, `pruning` is the best."""
    return AnalyticEvaluator(on_calib=lambda other: 0.5 if other == pruning else 1.0)


def test_calib_decides_and_eval_is_not_asked(url: str) -> None:
    evaluator = favour(HIDDEN)  # on eval Linear-40 has the lower DER
    outcome = run_study("study", tables(trials=1), evaluator, url)
    assert origins(url) == [*TABLE1_FIRST, *THEN_TABLE2, "search"]
    assert [point.pruning for point in evaluator.calibrated] == [HIDDEN, LINEAR]
    fp16 = outcome.study.trials[4]
    assert fp16.params == {
        "chunk_length": 1.0, "look_ahead": "none", "pruning_structure": "hidden", "pruning_ratio": 0.4,
        "precision": "fp16",
    }  # fmt: skip
    # 0.5 × (10 + 5 + 10 × 0.4) and 10 + 5 + 0.4
    choice = choice_of(outcome.study, tables())
    scored = {name: {"c": (pytest.approx(der), 100.0)} for name, der in {"Hidden-40": 9.5, "Linear-40": 15.4}.items()}
    assert choice == Choice("calib", pytest.approx({"Hidden-40": 9.5, "Linear-40": 15.4}), "Hidden-40", scored=scored)
    assert str(choice) == "Hidden-40: DER on calib 9.50 % (Linear-40 15.40, +5.90)"  # a single recording: no interval


def test_the_choice_says_whether_its_recordings_can_tell() -> None:
    scored = {"Linear-40": {"a": (1.0, 10.0), "b": (1.0, 10.0)}, "Hidden-40": {"a": (2.0, 10.0), "b": (0.5, 10.0)}}
    choice = Choice("calib", {"Linear-40": 10.0, "Hidden-40": 12.5}, "Linear-40", scored=scored)
    assert str(choice) == "Linear-40: DER on calib 10.00 % (Hidden-40 12.50, +2.50 [−5.00, +10.00] tied)"
    before = Choice("calib", choice.der, "Linear-40")  # as an earlier version kept it
    assert str(before) == "Linear-40: DER on calib 10.00 % (Hidden-40 12.50)"


def test_the_papers_way_takes_the_trials_of_table_1(url: str) -> None:
    evaluator = favour(HIDDEN)
    outcome = run_study("study", tables("eval"), evaluator, url)
    assert evaluator.calibrated == []
    assert origins(url) == [*TABLE1_FIRST, *THEN_TABLE2]
    choice = choice_of(outcome.study, tables("eval"))
    assert (choice.variant, choice.der) == ("Linear-40", pytest.approx({"Hidden-40": 19.0, "Linear-40": 15.4}))


def test_a_named_variant_needs_no_choice(url: str) -> None:
    evaluator = AnalyticEvaluator()
    outcome = run_study("study", tables("Linear-40"), evaluator, url)
    assert (evaluator.calibrated, choice_of(outcome.study, tables("Linear-40"))) == ([], None)
    assert origins(url) == [*TABLE1_FIRST, *THEN_TABLE2]


def test_the_row_that_both_tables_share_is_measured_once(url: str) -> None:
    evaluator = AnalyticEvaluator()
    outcome = run_study("study", tables(), evaluator, url)
    assert outcome.study.trials[3].user_attrs["reused_from"] == 2
    assert len(evaluator.calls) == 4


def test_a_tie_goes_to_the_smaller_model(url: str) -> None:
    class Tied(AnalyticEvaluator):
        def calibration_errors(self, point, on_progress):
            return {"c": ErrorCounts(confusion=1.0, total=10.0)}

    # neither the first, nor the first by name, nor the fastest, nor the one of fewest errors as published
    definition = tables(fixed={"variants": ["Linear-40", "Hidden-60", "Hidden-40"], "precisions": ["fp16"]})
    outcome = run_study("study", definition, Tied(), url)
    choice = choice_of(outcome.study, definition)
    assert (choice.variant, set(choice.der.values())) == ("Hidden-60", {10.0})


def test_the_der_on_calib_is_pooled_over_its_recordings(url: str) -> None:
    """Linear-40 has the lower DER in the first and on average, Hidden-40 over all seconds of speech."""

    class Uneven(AnalyticEvaluator):
        def calibration_errors(self, point, on_progress):
            short, long = (5.0, 10.0) if point.pruning == HIDDEN else (1.0, 20.0)
            return {"short": ErrorCounts(confusion=short, total=10.0), "long": ErrorCounts(confusion=long, total=100.0)}

    choice = choice_of(run_study("study", tables(), Uneven(), url).study, tables())
    assert choice.der == pytest.approx({"Hidden-40": 100 * 15 / 110, "Linear-40": 100 * 21 / 110})
    assert choice.variant == "Hidden-40"
    assert choice.scored["Linear-40"] == {"short": (1.0, 10.0), "long": (20.0, 100.0)}


def test_fixed_points_are_queued_with_every_parameter_of_the_space() -> None:
    space = {"tracking": ["chunk-wise", "online"], "delta_new": [0.2, 0.6]}
    definition = small_study(space=space, fixed={"right_context": [0.5]})
    study = empty_study(definition)
    assert enqueue_missing(study, definition) == 4
    queued = {record.origin_of(trial): trial.system_attrs["fixed_params"] for trial in study.trials}
    plain = {"chunk_length": 1.0, "look_ahead": "none", "pruning_structure": "none", "precision": "fp32"}
    assert queued["baseline"] == plain | {"tracking": "chunk-wise"}
    assert queued["online:figure1:R=0.5"] == plain | {
        "tracking": "online", "thresholds": "tuned", "look_ahead": "some", "right_context": 0.5
    }  # fmt: skip
    assert enqueue_missing(study, definition) == 0


def test_a_resumed_study_does_not_choose_again(url: str) -> None:
    run_study("study", tables(), favour(HIDDEN), url)
    other = favour(LINEAR)
    assert run_study("study", tables(trials=1), other, url).trials == 1
    assert other.calibrated == []


def test_what_was_measured_on_calib_before_a_kill_is_kept(url: str) -> None:
    def killed(point: OperatingPoint) -> None:
        if point.pruning == LINEAR and len(evaluator.calls) == 3:  # Table 1 is through: this is calib
            raise KeyboardInterrupt

    evaluator = AnalyticEvaluator(before=killed)
    with pytest.raises(KeyboardInterrupt):
        run_study("study", tables(), evaluator, url)
    half = Choice(
        "calib", {"Hidden-40": pytest.approx(19.0)}, scored={"Hidden-40": {"c": (pytest.approx(19.0), 100.0)}}
    )
    assert choice_of(load_study("study", url), tables()) == half
    after = AnalyticEvaluator()
    run_study("study", tables(), after, url)
    assert [point.pruning for point in after.calibrated] == [LINEAR]
    assert origins(url) == [*TABLE1_FIRST, *THEN_TABLE2]


@pytest.mark.parametrize("on", ["calib", "eval"])
def test_nothing_is_chosen_while_a_candidate_has_no_der(url: str, on: str) -> None:
    outcome = run_study("study", tables(on, trials=1), AnalyticEvaluator(fails=frozenset({HIDDEN_POINT})), url)
    assert (outcome.stopped, outcome.failed) == ("done", 1)
    assert origins(url) == [*TABLE1_FIRST, "search"]
    told = status(outcome.study)
    assert told.table2_variant.variant is None
    assert told.table2_variant.error.startswith("Hidden-40: ")
    assert told.remaining == 3  # the variant that failed, and Table 2
    waiting = [row for row in front(outcome.study) if row.origin.startswith("paper:table2:")]
    assert [(row.origin, row.pruning, row.standing) for row in waiting] == [
        (origin, NOT_CHOSEN, "waiting") for origin in THEN_TABLE2
    ]

    outcome = run_study("study", tables(on, trials=1), AnalyticEvaluator(), url)
    assert (outcome.trials, outcome.failed) == (3, 0)
    assert choice_of(outcome.study, tables(on)).variant == "Linear-40"
    assert status(outcome.study).remaining == 0


def test_a_timeout_comes_before_the_choice(url: str) -> None:
    evaluator = AnalyticEvaluator(seconds=0.01)
    assert run_study("study", tables(timeout=0.001), evaluator, url).stopped == "timeout"
    assert evaluator.calibrated == []


def test_a_choice_is_told_while_it_is_made(url: str) -> None:
    heard: list[str] = []

    class Ear(Observer):
        def begin(self, trials, total):
            heard.append(f"{total} trials")

        def choice_started(self, on):
            heard.append(f"choice on {on}")

        def choice_progress(self, stage, fraction):
            if "of 2" in stage:
                heard.append(f"{stage} {fraction}")

        def choice_finished(self, choice):
            heard.append(str(choice.variant))

    run_study("study", tables(), AnalyticEvaluator(), url, Ear())
    assert heard == [
        "5 trials",
        "choice on calib",
        "Hidden-40, 1 of 2: recovering Hidden-40, 1 of 4 0.25",
        "Linear-40, 2 of 2: recovering Linear-40, 1 of 4 0.25",
        "Linear-40",
    ]


# --- offline studies


def test_an_offline_study_has_no_latency(url: str) -> None:
    definition = tables(space={"mode": "offline"}, trials=2)
    outcome = run_study("study", definition, AnalyticEvaluator(), url)
    trials = outcome.study.trials
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert all("chunk_length" not in trial.params and trial.user_attrs["latency"] is None for trial in trials)
    assert {
        flat(row)[name] for row in front(outcome.study) for name in ("chunk_length", "right_context", "latency")
    } == {None}
    json.dumps([trial.user_attrs for trial in trials], allow_nan=False)


def test_rows_of_a_table_come_in_the_papers_order_with_its_figures(url: str) -> None:
    rows = front(run_study("study", tables(), favour(HIDDEN), url).study)
    first, second = table_rows(rows, "table1")
    assert (first.origin, first.figures.der) == ("paper:table1:Hidden-40", pytest.approx(19.0))
    assert flat(first)["paper_der"] == 27.71
    assert [flat(second)[f"paper_{name}"] for name in ("size", "params", "rtf")] == [5.55, 1.45, 0.0223]
    assert [flat(row)["paper_size"] for row in table_rows(rows, "table2")] == [5.55, 2.78]
    assert [row.pruning for row in table_rows(rows, "table2")] == ["Hidden-40", "Hidden-40"]
    assert {flat(row)["paper_der"] for row in rows if row.origin == "baseline"} == {None}
