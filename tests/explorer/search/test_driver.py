"""The driver against a formula: order, resumption after every kind of end, reuse, budgets, refusals."""

import functools
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from explorer.search.driver import _create_or_resume
from explorer.search.fixed_trials import enqueue_missing
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study, open_storage
from explorer.storage.driver_lock import sole_driver
from explorer.storage.study_record import stored_definition
from objectives.errors import StudyError
from objectives.measurement import ErrorCounts
from objectives.operating_point import BASELINE, OperatingPoint
from studies.definition import SAMPLERS, StudyDefinition
from studies.search_space import recall
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, drive, measurement, run_study, small_study
from tests.support.forked_processes import start, wait_for_running

HALF_SECOND_AHEAD = OperatingPoint(1.0, 0.5)


def trials_of(url: str, *states: TrialState) -> list[FrozenTrial]:
    return reader(url).get_trials(states=states or None)


@functools.cache
def reader(url: str) -> optuna.Study:
    """A look at the study from outside the driver, opened once a test."""
    return load_study("study", url)


def origins(trials: list[FrozenTrial]) -> list[str]:
    return [record.origin_of(trial) for trial in trials]


def complete_fixed(url: str) -> list[str]:
    return [origin for origin in origins(trials_of(url, TrialState.COMPLETE)) if origin != "search"]


def test_fixed_points_come_first_then_the_search(url: str) -> None:
    outcome = run_study("study", small_study(trials=2), AnalyticEvaluator(), url)
    trials = trials_of(url)
    assert origins(trials) == [*ORIGINS, "search", "search"]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert (outcome.trials, outcome.failed, outcome.stopped) == (5, 0, "done")
    assert outcome.study.metric_names == ["DER (%)", "size (MiB)", "RTF"]


def test_a_trial_carries_its_measurement(url: str) -> None:
    began = time.monotonic()
    run_study("study", small_study(trials=0), AnalyticEvaluator(seconds=0.05), url)
    elapsed = time.monotonic() - began
    trial = trials_of(url)[1]  # C = 1, R = 0.5: DER = 10 + 5 / 1.5
    assert trial.values == pytest.approx([40 / 3, 4.0, 0.03])
    attributes = trial.user_attrs
    assert attributes["latency"] == 1.5
    assert attributes["der"]["missed_detection"] == pytest.approx(20 / 3)
    assert attributes["der"]["confusion_seconds"] == pytest.approx(10 / 3)
    assert attributes["recordings"]["a"]["der"] == pytest.approx(40 / 3)
    assert attributes["rtf_spread"] == pytest.approx([0.027, 0.033])
    assert attributes["rtf_ratio"] == pytest.approx(1.0)
    assert attributes["machine"] == {"cpu": "a formula", "threads": "1"}
    assert (attributes["execution"], attributes["model_key"], attributes["params"]) == ("native", "model-fp32", 10**6)
    assert attributes["size_bytes"] == 4 * 2**20
    assert (attributes["pruning"], attributes["kept_units"]["hidden"]) == ("none", 128)
    assert attributes["story"] == {"seconds": 1.5}
    assert 0.05 <= attributes["seconds"] <= elapsed


def test_the_same_command_again_has_nothing_left_to_do(url: str) -> None:
    run_study("study", small_study(), AnalyticEvaluator(), url)
    evaluator = AnalyticEvaluator()
    assert run_study("study", small_study(), evaluator, url).trials == 0
    assert evaluator.calls == []


def test_a_larger_budget_goes_on_with_fresh_draws(url: str) -> None:
    run_study("study", small_study(trials=2), AnalyticEvaluator(), url)
    assert run_study("study", small_study(trials=4), AnalyticEvaluator(), url).trials == 2
    drawn = [trial.params["chunk_length"] for trial in trials_of(url) if record.origin_of(trial) == "search"]
    assert len(set(drawn)) == 4
    assert stored_definition(load_study("study", url)).trials == 4


def test_a_seed_repeats_a_study(url: str, tmp_path: Path) -> None:
    again = f"sqlite:///{tmp_path}/again.db"
    for place in (url, again):
        run_study("study", small_study(seed=5), AnalyticEvaluator(), place)
    assert [trial.params for trial in trials_of(url)] == [trial.params for trial in trials_of(again)]


def test_a_timeout_stops_between_trials_and_the_next_run_goes_on(url: str) -> None:
    outcome = run_study("study", small_study(timeout=0.001), AnalyticEvaluator(seconds=0.01), url)
    assert (outcome.stopped, outcome.trials < 4) == ("timeout", True)
    run_study("study", small_study(), AnalyticEvaluator(), url)
    assert len(trials_of(url, TrialState.COMPLETE)) == 4


# --- failures


def test_a_fixed_point_that_failed_is_queued_again_by_the_next_run(url: str) -> None:
    broken = AnalyticEvaluator(fails=frozenset({BASELINE, HALF_SECOND_AHEAD}))
    assert run_study("study", small_study(), broken, url).failed == 2
    failed = trials_of(url, TrialState.FAIL)
    assert origins(failed) == ["baseline", "paper:figure1:R=0.5"]
    assert "a fault made for a test" in failed[0].user_attrs["error"]

    assert run_study("study", small_study(), AnalyticEvaluator(), url).trials == 2
    assert sorted(complete_fixed(url)) == sorted(ORIGINS)
    assert run_study("study", small_study(), AnalyticEvaluator(), url).trials == 0


def test_failed_search_trials_count_so_that_no_study_is_endless(url: str) -> None:
    def refuse(point: OperatingPoint) -> None:
        raise record.EvaluationError("nothing works")

    endless = small_study(trials=4, stop_after_failures=0)
    assert run_study("study", endless, AnalyticEvaluator(before=refuse), url).failed == 7
    assert origins(trials_of(url)).count("search") == 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: replace(told, timing=replace(told.timing, rtf=(float("inf"),) * 3)),
        lambda told: replace(told, timing=replace(told.timing, rtf=(float("nan"),) * 3)),
        lambda told: replace(told, counts={"a": ErrorCounts(confusion=float("nan"), total=1.0)}),
        lambda told: replace(told, counts={"a": ErrorCounts()}),
    ],
    ids=["infinite RTF", "NaN RTF", "NaN DER", "nothing scored"],
)
def test_no_sampler_hears_of_a_value_that_is_not_finite(url: str, spoil) -> None:
    class Spoilt(AnalyticEvaluator):
        def __call__(self, point, on_progress, judge):
            told = measurement(point)
            return spoil(told) if point == BASELINE else told

    run_study("study", small_study(trials=0), Spoilt(), url)
    baseline, *others = trials_of(url)
    assert (baseline.state, baseline.values) == (TrialState.FAIL, None)
    assert baseline.user_attrs["error"]
    assert {trial.state for trial in others} == {TrialState.COMPLETE}


def test_a_bug_stops_the_study_and_leaves_no_running_trial(url: str) -> None:
    def trip(point: OperatingPoint) -> None:
        if point == HALF_SECOND_AHEAD:
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_study("study", small_study(), AnalyticEvaluator(before=trip), url)
    states = [trial.state for trial in trials_of(url)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
    assert trials_of(url)[1].user_attrs["error"] == "KeyError: 'a bug'"


def test_an_interrupted_trial_is_failed_and_its_fixed_point_comes_back(url: str) -> None:
    def interrupt(point: OperatingPoint) -> None:
        if point == HALF_SECOND_AHEAD:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study("study", small_study(), AnalyticEvaluator(before=interrupt), url)
    assert trials_of(url)[1].user_attrs["error"] == "interrupted"
    run_study("study", small_study(), AnalyticEvaluator(), url)
    assert sorted(complete_fixed(url)) == sorted(ORIGINS)


def test_an_interrupt_while_asking_leaves_nothing_running(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = optuna.Study.ask

    def interrupted(study: optuna.Study) -> optuna.Trial:
        ask(study)  # the trial is in the storage by now
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna.Study, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study("study", small_study(), AnalyticEvaluator(), url)
    assert (trials_of(url)[0].state, trials_of(url)[0].user_attrs["error"]) == (TrialState.FAIL, "interrupted")


# --- death


def test_kill_9_in_mid_trial_loses_nothing_but_that_trial(url: str) -> None:
    process = start(drive, url, 2.0)
    try:
        wait_for_running(url, 1, process)
        # two drivers at once: the second one is refused while the first one lives
        with pytest.raises(
            StudyError, match=rf"run by process {process.pid} on .*, since 20.* UTC: wait for it, or stop"
        ):
            run_study("study", small_study(), AnalyticEvaluator(), url)
    finally:
        process.kill()  # SIGKILL
        process.join()
    assert trials_of(url)[1].state is TrialState.RUNNING

    evaluator = AnalyticEvaluator()
    run_study("study", small_study(), evaluator, url)
    trials = trials_of(url)
    assert (record.origin_of(trials[0]), trials[0].state) == ("baseline", TrialState.COMPLETE)
    assert (trials[1].state, trials[1].user_attrs["error"]) == (
        TrialState.FAIL,
        "its driver ended before the trial did",
    )
    assert sorted(complete_fixed(url)) == sorted(ORIGINS)
    assert BASELINE not in evaluator.calls
    assert not trials_of(url, TrialState.RUNNING, TrialState.WAITING)


@pytest.mark.parametrize("queued", range(len(ORIGINS) + 1))
def test_death_between_creation_and_any_fixed_point_is_mended(url: str, queued: int) -> None:
    definition = small_study()
    study = _create_or_resume("study", definition, AnalyticEvaluator().identity, open_storage(url))

    class Dead(BaseException):
        pass

    enqueue, done = study.enqueue_trial, 0

    def enqueue_until_death(*args, **kwargs):
        nonlocal done
        if done == queued:
            raise Dead
        enqueue(*args, **kwargs)
        done += 1

    study.enqueue_trial = enqueue_until_death
    if queued < len(ORIGINS):
        with pytest.raises(Dead):
            enqueue_missing(study, definition)
    else:
        enqueue_missing(study, definition)
    run_study("study", definition, AnalyticEvaluator(), url)
    assert origins(trials_of(url))[: len(ORIGINS)] == ORIGINS
    assert complete_fixed(url) == ORIGINS


def test_death_while_the_database_was_made_is_mended(url: str, tmp_path: Path) -> None:
    (tmp_path / "studies.db").touch()
    (tmp_path / ".studies.db.new").write_bytes(b"half of a database")
    run_study("study", small_study(trials=0), AnalyticEvaluator(), url)
    assert complete_fixed(url) == ORIGINS
    assert not (tmp_path / ".studies.db.new").exists()


def test_death_before_the_definition_was_written_is_mended(url: str) -> None:
    optuna.create_study(study_name="study", storage=open_storage(url), directions=["minimize"] * 3)
    run_study("study", small_study(), AnalyticEvaluator(), url)
    assert complete_fixed(url) == ORIGINS


def test_death_while_asking_leaves_a_nameless_trial_that_counts_as_search(url: str) -> None:
    run_study("study", small_study(trials=0), AnalyticEvaluator(), url)
    load_study("study", url).ask()
    run_study("study", small_study(trials=2), AnalyticEvaluator(), url)
    searched = [trial for trial in trials_of(url) if record.origin_of(trial) == "search"]
    assert [trial.state for trial in searched] == [TrialState.FAIL, TrialState.COMPLETE]


def test_the_lock_is_free_once_a_run_ends(url: str, tmp_path: Path) -> None:
    with sole_driver("study", url), pytest.raises(StudyError, match="--name"), sole_driver("study", url):
        pass
    with sole_driver("study", url), sole_driver("another study", url):
        pass


# --- reuse


def test_a_measured_operating_point_is_told_again_and_not_measured(url: str) -> None:
    evaluator = AnalyticEvaluator()
    run_study("study", small_study(trials=0, fixed={"chunk_length": [0.5, 1.0]}), evaluator, url)
    trials = {record.origin_of(trial): trial for trial in trials_of(url)}
    again, baseline = trials["paper:figure2:C=1"], trials["baseline"]
    assert (again.state, again.values) == (TrialState.COMPLETE, baseline.values)
    assert again.user_attrs["reused_from"] == baseline.number
    assert again.user_attrs["recordings"] == baseline.user_attrs["recordings"]
    assert "reused_from" not in baseline.user_attrs
    assert evaluator.calls.count(BASELINE) == 1


# --- budgets


def test_budgets_are_constraints_in_both_forms(url: str) -> None:
    run_study("study", small_study(limits={"latency": 1.25, "size": 4.0}), AnalyticEvaluator(), url)
    baseline, ahead, *_ = trials_of(url)
    # baseline: 1 s of 1.25 s; 4 MiB of 4 MiB. R = 0.5: 1.5 s of 1.25 s.
    assert baseline.constraints["latency"] == pytest.approx(-0.2)
    assert baseline.constraints["size"] == 0.0
    assert ahead.constraints["latency"] == pytest.approx(0.2)
    # what optuna-dashboard reads
    assert baseline.system_attrs["constraints"] == pytest.approx([-0.2, 0.0])
    assert ahead.system_attrs["constraints"] == pytest.approx([0.2, 0.0])
    assert record.exceeded(baseline) == ()
    assert record.exceeded(ahead) == ("latency",)
    assert ahead.number not in [trial.number for trial in reader(url).best_trials]


def test_reused_points_carry_constraints_too(url: str) -> None:
    definition = small_study(trials=0, limits={"der": 12.0}, fixed={"chunk_length": [0.5, 1.0]})
    run_study("study", definition, AnalyticEvaluator(), url)
    assert all(record.exceeded(trial) == (("der",) if trial.values[0] > 12 else ()) for trial in trials_of(url))
    assert any(record.exceeded(trial) for trial in trials_of(url) if "reused_from" in trial.user_attrs)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_a_constrained_study(url: str, sampler: str) -> None:
    definition = small_study(sampler=sampler, trials=8, limits={"latency": 1.0})
    run_study("study", definition, AnalyticEvaluator(), url)
    over = (TrialState.COMPLETE, TrialState.PRUNED)
    searched = [trial for trial in trials_of(url, *over) if record.origin_of(trial) == "search"]
    assert len(searched) == 8
    assert all(record.why_stopped(trial) for trial in searched if trial.state is TrialState.PRUNED)
    points = {recall(trial, definition.space) for trial in searched}
    assert None not in points
    assert len(points) > 5


# --- refusals


def refused(url: str, definition: StudyDefinition, evaluator: AnalyticEvaluator | None = None) -> str:
    with pytest.raises(StudyError) as caught:
        run_study("study", definition, evaluator or AnalyticEvaluator(), url)
    return str(caught.value)


def test_another_definition_is_refused_with_the_difference(url: str) -> None:
    run_study("study", small_study(trials=0, fixed={}), AnalyticEvaluator(), url)
    told = refused(url, small_study(trials=0, fixed={}, seed=9, space={"chunk_length": [0.1, 5.0]}))
    assert "seed: 0 → 9" in told
    assert "space.chunk_length: [0.02, 5.0] → [0.1, 5.0]" in told
    assert "sampler" not in told
    assert "--name" in told


def test_another_evaluator_is_refused_with_the_difference(url: str) -> None:
    run_study("study", small_study(trials=0, fixed={}), AnalyticEvaluator(), url)
    other = AnalyticEvaluator(identity={"corpus": "analytic", "machine": "another", "threads": "2"})
    told = refused(url, small_study(trials=0, fixed={}), other)
    assert "evaluator.machine: a formula → another" in told
    assert "evaluator.threads: (absent) → 2" in told


def test_description_and_budget_are_no_difference(url: str) -> None:
    run_study("study", small_study(trials=0), AnalyticEvaluator(), url)
    changed = small_study(trials=1, timeout=60.0, description="words")
    assert run_study("study", changed, AnalyticEvaluator(), url).trials == 1


def test_a_study_of_another_program_is_left_alone(url: str) -> None:
    study = optuna.create_study(study_name="study", storage=open_storage(url), directions=["minimize"] * 3)
    study.add_trial(optuna.trial.create_trial(values=[1, 2, 3]))
    assert "not made by `explorer run`" in refused(url, small_study())
    assert len(trials_of(url)) == 1


@pytest.mark.parametrize(
    ("url", "needle"),
    [
        ("nonsense", "not a database URL"),
        ("sqlite:////no/such/folder/x.db", "does not exist"),
        ("nosuchdb://host/x", "cannot be used as a study storage"),
    ],
)
def test_a_storage_that_cannot_be_used(url: str, needle: str) -> None:
    with pytest.raises(StudyError, match=needle):
        open_storage(url)


def test_a_run_in_a_folder_that_is_not_there() -> None:
    assert "does not exist: create it" in refused("sqlite:////no/such/folder/x.db", small_study())


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are notes, and no database at all\n" * 50)
    with pytest.raises(StudyError, match="the file is not an SQLite database"):
        open_storage(f"sqlite:///{tmp_path}/notes.db")


def test_a_reader_creates_no_database(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="run `explorer run STUDY` first"):
        load_study("study", f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_study_names_those_that_exist(url: str) -> None:
    run_study("present", small_study(trials=0, fixed={}), AnalyticEvaluator(), url)
    with pytest.raises(StudyError, match="it holds: present"):
        load_study("absent", url)
