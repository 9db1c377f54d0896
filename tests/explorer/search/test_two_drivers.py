"""Two drivers on one study: together in PostgreSQL, one of them killed or not; one refused in an SQLite file."""

import os
import re
import socket
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from explorer.search import shared_study as drivers
from explorer.search.fixed_trials import choice_of
from explorer.search.shared_study import DRIVER, claim
from explorer.storage import driver_lock
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study, open_storage
from explorer.storage.driver_lock import _lock_file, sole_driver
from objectives.errors import StudyError
from objectives.operating_point import OperatingPoint
from studies.definition import StudyDefinition
from studies.search_space import recall
from tests.support.analytic_evaluator import ORIGINS, AnalyticEvaluator, run_study, small_study
from tests.support.forked_processes import PATIENCE, start, wait_for_running


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "LOOK", 0.05)


def few_points(trials: int, *precisions: str) -> StudyDefinition:
    """As many points as precisions."""
    offline = {"mode": "offline", "pruning_structure": ["none"], "precision": list(precisions)}
    return small_study(trials=trials, space=offline, fixed={}, racing={"enabled": False})


def drive(url: str, definition: StudyDefinition, paid: Path, seconds: float, gate: Path | None = None) -> None:
    """Run a study to its end, writing down each point that was measured; wait for `gate` to be there first."""
    while gate is not None and not gate.exists():
        time.sleep(0.01)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_study("study", definition, Paying(paid, seconds), url)


class Paying(AnalyticEvaluator):
    def __init__(self, paid: Path, seconds: float):
        super().__init__(seconds=seconds)
        self._paid = paid

    def __call__(self, point, *others):
        told = super().__call__(point, *others)
        with self._paid.open("a") as file:
            file.write(f"{os.getpid()} {point}\n")
        return told

    def calibration_errors(self, point, *others):
        with self._paid.open("a") as file:
            file.write(f"{os.getpid()} calib {point}\n")
        time.sleep(self.seconds)
        return super().calibration_errors(point, *others)


def paid_points(paid: Path) -> Counter[str]:
    return Counter(line.partition(" ")[2] for line in paid.read_text().splitlines())


def join(*processes) -> None:
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0


def check_ended(url: str, definition: StudyDefinition, fixed: int) -> list[FrozenTrial]:
    """What holds of every study that was run to its end, whoever ran it. fixed: how many fixed points it has."""
    trials = load_study("study", url).trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert all(trial.state.is_finished() for trial in trials)
    origins = Counter(record.origin_of(trial) for trial in trials if trial.state is TrialState.COMPLETE)
    del origins["search"]
    assert (len(origins), set(origins.values())) == (fixed, {1})
    assert sum(record.origin_of(trial) == "search" for trial in trials) == definition.trials
    measured = Counter(recall(trial, definition.space) for trial in trials if record.is_measured(trial))
    assert set(measured.values()) == {1}
    return trials


# --- PostgreSQL: together


def test_two_drivers_share_a_study(postgres_url: str, tmp_path: Path) -> None:
    """Started at the same moment on a database without tables."""
    paid, gate, definition = tmp_path / "paid", tmp_path / "gate", small_study(trials=8, seed=3)
    both = [start(drive, postgres_url, definition, paid, 0.1, gate) for _ in range(2)]
    gate.touch()
    join(*both)
    trials = check_ended(postgres_url, definition, len(ORIGINS))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(trials) == 8 + len(ORIGINS)
    assert len({trial.system_attrs[DRIVER] for trial in trials}) == 2  # both had their share
    assert set(paid_points(paid).values()) == {1}
    drawn = [trial.params["chunk_length"] for trial in trials if record.origin_of(trial) == "search"]
    assert len(set(drawn)) == 8  # no two samplers draw the same numbers
    assert run_study("study", definition, AnalyticEvaluator(), postgres_url).trials == 0


def test_a_point_that_another_driver_measures_is_waited_for(postgres_url: str, tmp_path: Path) -> None:
    """Three points for thirteen trials."""
    paid, gate, definition = tmp_path / "paid", tmp_path / "gate", few_points(12, "fp32", "fp16", "int8_ptq")
    both = [start(drive, postgres_url, definition, paid, 0.4, gate) for _ in range(2)]
    gate.touch()
    join(*both)
    trials = check_ended(postgres_url, definition, 1)
    assert len(trials) == 13
    assert set(paid_points(paid).values()) == {1}
    assert sum(record.REUSED_FROM in trial.user_attrs for trial in trials) == 13 - len(paid_points(paid))


def test_table_2_is_chosen_once(postgres_url: str, tmp_path: Path) -> None:
    fixed = {"variants": ["Linear-40", "Hidden-20"], "precisions": ["fp16"]}
    paid, gate, definition = tmp_path / "paid", tmp_path / "gate", small_study(trials=2, fixed=fixed)
    both = [start(drive, postgres_url, definition, paid, 0.3, gate) for _ in range(2)]
    gate.touch()
    join(*both)
    trials = check_ended(postgres_url, definition, 4)
    choice = choice_of(load_study("study", postgres_url), definition)
    assert choice is not None
    assert choice.variant == "Linear-40"
    assert "paper:table2:FP16" in [record.origin_of(trial) for trial in trials]
    assert set(paid_points(paid).values()) == {1}
    assert sum("calib" in point for point in paid_points(paid)) == 2


def test_kill_9_of_one_driver_leaves_the_other_at_work(postgres_url: str, tmp_path: Path) -> None:
    paid, definition = tmp_path / "paid", small_study(trials=3)
    victim = start(drive, postgres_url, definition, paid, 3600.0)
    wait_for_running(postgres_url, 0, victim)
    other = start(drive, postgres_url, definition, paid, 0.05)
    try:
        wait_for_trials(
            postgres_url, 4, TrialState.COMPLETE, TrialState.PRUNED
        )  # it does not touch the baseline, which the victim measures
        assert load_study("study", postgres_url).trials[0].state is TrialState.RUNNING
    finally:
        victim.kill()  # SIGKILL
        victim.join()
    join(other)
    run_study("study", definition, AnalyticEvaluator(), postgres_url)
    trials = check_ended(postgres_url, definition, len(ORIGINS))
    assert [trial.state for trial in trials].count(TrialState.FAIL) == 1
    assert trials[0].user_attrs["error"] == "its driver ended before the trial did"
    assert set(paid_points(paid).values()) == {1}


def test_who_waits_for_a_driver_that_is_killed_goes_on_by_itself(postgres_url: str, tmp_path: Path) -> None:
    """Every trial is at the point that the victim measures."""
    paid, definition = tmp_path / "paid", few_points(3, "fp32")
    victim = start(drive, postgres_url, definition, paid, 3600.0)
    wait_for_running(postgres_url, 0, victim)
    other = start(drive, postgres_url, definition, paid, 0.05)
    try:
        wait_for_trials(postgres_url, 4)
        assert not paid.exists()  # it waits
    finally:
        victim.kill()
        victim.join()
    join(other)
    trials = load_study("study", postgres_url).trials
    states = [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE, TrialState.COMPLETE]
    assert [trial.state for trial in trials] == states
    # the baseline is a fixed point, which the next run repeats; it costs nothing now
    run_study("study", definition, Paying(paid, 0.0), postgres_url)
    check_ended(postgres_url, definition, 1)
    assert set(paid_points(paid).values()) == {1}


def wait_for_trials(url: str, number: int, *states: TrialState) -> None:
    """Return once so many trials are there, in one of these states where given."""
    deadline = time.monotonic() + PATIENCE
    study = load_study("study", url)
    while len(study.get_trials(deepcopy=False, states=states or None)) < number:
        assert time.monotonic() < deadline, "the other driver did not get on"
        time.sleep(0.05)


def test_a_trial_that_its_driver_died_over_before_it_signed_is_mended(postgres_url: str) -> None:
    run_study("study", small_study(trials=0), AnalyticEvaluator(), postgres_url)
    load_study("study", postgres_url).ask()
    run_study("study", small_study(trials=2), AnalyticEvaluator(), postgres_url)
    searched = load_study("study", postgres_url).trials[len(ORIGINS) :]
    assert [trial.state for trial in searched] == [TrialState.FAIL, TrialState.COMPLETE]


def test_what_the_dead_had_sent_lands_before_the_next_turn(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's locks are free at once; a commit that it had sent may come later, and must be seen."""
    run_study("study", small_study(trials=0), AnalyticEvaluator(), postgres_url)
    monkeypatch.setattr(drivers, "PATIENCE", 0.1)
    storage = open_storage(postgres_url)
    with claim("study", postgres_url, storage) as held:
        study = load_study("study", postgres_url)
        trial = study.ask()
        with storage.engine.connect() as dead:
            dead.execute(text("SELECT trial_id FROM trials WHERE trial_id = :id FOR UPDATE"), {"id": trial._trial_id})
            with pytest.raises(StudyError, match="has held its turn"), held.turn():
                pytest.fail("it did not wait")
        with held.turn():
            pass


def test_nothing_is_made_mended_or_asked_out_of_turn(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "PATIENCE", 0.1)
    with ExitStack() as stack:
        other = stack.enter_context(claim("study", postgres_url, open_storage(postgres_url)))
        with other.turn(), pytest.raises(StudyError, match="has held its turn"):
            run_study("study", small_study(), AnalyticEvaluator(), postgres_url)
        with pytest.raises(StudyError, match="it holds: none yet"):
            load_study("study", postgres_url)

        def keep_the_turn(point: OperatingPoint) -> None:
            stack.enter_context(other.turn())

        with pytest.raises(StudyError, match="has held its turn"):
            run_study("study", small_study(), AnalyticEvaluator(before=keep_the_turn), postgres_url)
    states = [trial.state for trial in load_study("study", postgres_url).trials]
    assert states == [TrialState.COMPLETE, TrialState.WAITING, TrialState.WAITING]


def test_a_driver_that_lost_its_claim_says_so_and_loses_nothing_else(postgres_url: str) -> None:
    def cut(point: OperatingPoint) -> None:
        if point == OperatingPoint(1.0, 0.5):
            terminate_drivers(postgres_url)

    with pytest.raises(StudyError, match=r"was lost .*run the same command again"):
        run_study("study", small_study(), AnalyticEvaluator(before=cut), postgres_url)
    trials = load_study("study", postgres_url).trials
    # what was being measured when it happened was told, and nothing was asked any more
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.WAITING]
    run_study("study", small_study(), AnalyticEvaluator(), postgres_url)
    check_ended(postgres_url, small_study(), len(ORIGINS))


def test_a_driver_that_was_taken_for_dead_does_not_tell_what_others_failed(postgres_url: str) -> None:
    other = AnalyticEvaluator()

    def cut(point: OperatingPoint) -> None:
        if point == OperatingPoint(1.0, 0.5):
            terminate_drivers(postgres_url)
            run_study("study", small_study(), other, postgres_url)

    with pytest.raises(StudyError, match="trial 1 was ended by another program"):
        run_study("study", small_study(), AnalyticEvaluator(before=cut), postgres_url)
    trials = check_ended(postgres_url, small_study(), len(ORIGINS))
    assert trials[1].state is TrialState.FAIL
    assert len(other.calls) == 3


def terminate_drivers(url: str) -> None:
    """End the connections by which drivers hold their claims, as a firewall or an administrator would."""
    drivers = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE 'explorer run%'"
    )
    with open_storage(url).engine.begin() as connection:
        ended = connection.execute(text(drivers))
        assert ended.all() == [(True,)]


def test_drivers_of_two_studies_do_not_see_each_other(postgres_url: str) -> None:
    storage = open_storage(postgres_url)
    with claim("a", postgres_url, storage) as one, claim("b", postgres_url, storage) as other:
        with one.turn(), other.turn(), one.choice() as first, other.choice() as second:
            assert (first, second) == (True, True)
        assert one.living() == {one.key}
        with claim("a", postgres_url, storage) as third:
            assert one.living() == third.living() == {one.key, third.key}
            with one.choice() as first, third.choice() as second:
                assert (first, second) == (True, False)
        assert one.living() == {one.key}


# --- an SQLite file: one refused, and told by whom


def refusal(url: str) -> str:
    with sole_driver("study", url), pytest.raises(StudyError) as caught, sole_driver("study", url):
        pytest.fail("a second driver came in")
    return str(caught.value)


def test_the_second_is_told_who_holds_the_study(url: str) -> None:
    told = refusal(url)
    assert re.search(
        rf"run by process {os.getpid()} on \S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC: wait for it", told
    )
    assert f"`kill {os.getpid()}` on {socket.gethostname()}" in told
    assert "--name" in told
    assert not list(tmp_of(url).glob(".*.holder*"))  # gone with the lock


@pytest.mark.parametrize(
    "note",
    [
        None,
        b"",
        b"process 1 on h, si",
        b"\xff\xfe",
        b"process x on h, since 2026-01-01 00:00:00 UTC",
        b"process 1 on \x1b[2J, since 2026-01-01 00:00:00 UTC",
        b"process 1 on h, since \x1b[2J",
        b"process -1 on h, since 2026-01-01 00:00:00 UTC",
        b"process 1 on h, since 2026-01-01 00:00:00 UTC" + b" " * 9999,
        b"process 999999999 on " + socket.gethostname().encode() + b", since 2026-01-01 00:00:00 UTC",
    ],
    ids=["none", "empty", "half", "no text", "word", "escape", "no date", "negative", "long", "dead"],
)
def test_a_note_that_cannot_be_right_only_makes_the_message_say_less(
    url: str, note: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(lock: Path) -> None:
        if note is not None:
            lock.with_suffix(".holder").write_bytes(note)

    monkeypatch.setattr(driver_lock, "leave_note", leave)
    told = refusal(url)
    assert "is being run by another process: wait for it" in told
    assert "\x1b" not in told


def test_the_note_of_another_host_is_passed_on(tmp_path: Path) -> None:
    lock, words = tmp_path / "x.lock", "process 7 on far-away, since 2026-01-01 00:00:00 UTC"
    (tmp_path / "x.holder").write_text(words)
    far = driver_lock.read_note(lock)
    assert far is not None
    assert far[0] == words
    driver_lock.leave_note(lock)  # the next holder's replaces it
    here = driver_lock.read_note(lock)
    assert here is not None
    assert int(here[1]) == os.getpid()
    (tmp_path / "x.holder").unlink()
    assert driver_lock.read_note(lock) is None


def test_a_note_that_cannot_be_written_stops_nobody(url: str) -> None:
    (tmp_of(url) / f"{_lock_file('study', url).stem}.holder").mkdir()
    assert "is being run by another process: wait for it" in refusal(url)
    run_study("study", small_study(trials=0, fixed={}), AnalyticEvaluator(), url)


def tmp_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///")).parent
