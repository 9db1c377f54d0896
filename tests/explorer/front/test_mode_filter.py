"""What `--tracking` leaves of a study of both modes, and how a recommendation names the mode."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest
from typer.testing import CliRunner

from explorer.cli import app
from explorer.commands.recommend import columns, title
from explorer.figures.data import OtherTrial, other_trials
from explorer.front.pareto import whole_front
from explorer.recommend.budgets import Budgets
from explorer.recommend.recommendation import recommend
from explorer.storage.connection import load_study
from objectives.measurement import UNHURRIED, Judge, Measurement, Stopped
from objectives.operating_point import OperatingPoint, describe
from tests.support.analytic_evaluator import AnalyticEvaluator, judged, measurement, run_study, small_study
from tests.support.front_rows import vary
from tests.support.recommendation_study import add, empty_study

# 10 + 5 / latency, and RTF 0.01 + 0.02 / C; all of the same size
CHUNKWISE, ONLINE = [5.0, 2.0], [(4.0, 0.0), (2.0, 0.0), (0.5, 0.5), (1.0, 0.0)]


class WorseOnline(AnalyticEvaluator):
    """4 points more online."""

    def __call__(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None], judge: Judge = UNHURRIED
    ) -> Measurement | Stopped:
        made = measurement(point)
        if point.mode == "online":
            counts = {uri: replace(one, confusion=one.confusion + 2.0) for uri, one in made.counts.items()}
            made = replace(made, counts=counts)
        return judged(made, judge)


@pytest.fixture
def both(url: str) -> optuna.Study:
    """Baselines of both modes, then CHUNKWISE, then ONLINE: (C, min_duration_off) in seconds."""
    space: dict[str, Any] = {
        "tracking": ["chunk-wise", "online"], "min_duration_off": [0.0, 0.5], "precision": ["fp32"],
        "pruning_structure": ["none"],
    }  # fmt: skip
    free = {"enabled": False}
    study = run_study("both", small_study(trials=0, fixed={}, space=space, racing=free), WorseOnline(), url).study
    still = {"look_ahead": "none", "pruning_structure": "none", "precision": "fp32"}
    asked: list[dict[str, float | str]] = [{"tracking": "chunk-wise", "chunk_length": each} for each in CHUNKWISE]
    asked += [{"tracking": "online", "chunk_length": c, "min_duration_off": pauses} for c, pauses in ONLINE]
    for one in asked:
        study.enqueue_trial(one | still)
    run_study("both", small_study(trials=len(asked), fixed={}, space=space, racing=free), WorseOnline(), url)
    return load_study("both", url)


def in_memory(study: optuna.Study) -> optuna.Study:
    """A storage that is no database is read another way."""
    copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    copy.add_trials(study.trials)
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    return copy


def test_the_front_of_a_mode_is_decided_among_its_points(both: optuna.Study) -> None:
    standings = {row.trial: row.standing for row in whole_front(both).rows}
    assert standings == {0: "dominated", 1: "dominated", 2: "front"}  # C = 5 s beats everything, and all else is search
    rows = {row.trial: row for row in whole_front(both, "online").rows}
    assert {number: (row.standing, row.dominated_by) for number, row in rows.items()} == {
        1: ("dominated", (4,)),
        4: ("front", ()),
    }
    assert {row.trial for row in whole_front(both, "chunk-wise").rows} == {0, 2}
    assert [one.trial for one in other_trials(both, tuple(rows.values()), "online")] == [5, 6, 7]
    assert whole_front(in_memory(both), "online") == whole_front(both, "online")


def test_only_points_of_the_mode_are_recommended(both: optuna.Study) -> None:
    everything, online = (
        recommend(both, Budgets(), test=False),
        recommend(both, Budgets(), test=False, tracking="online"),
    )
    assert (everything.points, [one.row.trial for one in everything.recommendations]) == (7, [2])
    assert (online.points, online.inside, online.front) == (4, 4, 1)
    (best,) = online.recommendations
    assert (best.row.trial, best.row.standing, best.row.figures.der) == (4, "front", pytest.approx(15.25))
    assert {one.trial for one in best.dominates} == {1, 5, 6}
    assert best.baseline is not None
    assert best.baseline.trial == 0  # the study's baseline, whatever its mode


def test_budgets_are_kept_among_points_of_the_mode(both: optuna.Study) -> None:
    """Trial 6 has C = 0.5 s and waits 0.5 s for pauses."""
    one = recommend(both, Budgets(latency=1.0), test=False, tracking="online")
    assert (one.inside, [each.row.trial for each in one.recommendations]) == (2, [1])
    none = recommend(both, Budgets(latency=0.9), test=False, tracking="online")
    assert none.shortfall is not None
    assert none.shortfall.misses[0].reachable == 1.0


def test_the_mode_and_what_is_not_as_tuned_are_named(both: optuna.Study) -> None:
    rows = {row.trial: row for row in whole_front(both, "online").rows}
    row = rows[4]
    assert describe(row.point) == "C 4 s, R 0 s, unpruned, fp32, online"
    assert describe(vary(row, online={"delta_new": 0.6, "min_duration_off": 0.5}).point) == (
        "C 4 s, R 0 s, unpruned, fp32, online, delta_new 0.6, min_duration_off 0.5"
    )
    assert describe(vary(row, mode="chunk-wise", online={}).point) == "C 4 s, R 0 s, unpruned, fp32"
    assert describe(OperatingPoint(mode="offline")) == "unpruned, fp32, offline"
    assert "tracking" in columns(recommend(both, Budgets(), test=False, tracking="online"))
    chunkwise = recommend(both, Budgets(), test=False)
    assert "tracking" not in columns(chunkwise)
    assert title(chunkwise.recommendations[0]) == "Trial 2 (search): C 5 s, R 0 s, unpruned, fp32"


def typed(url: str, *words: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, [*words, "--storage", url])
    return ran.exit_code, str(ran.exception or "") if ran.exit_code and not ran.stdout else ran.stdout


def test_both_commands_take_the_mode(both: optuna.Study, url: str) -> None:
    code, told = typed(url, "recommend", "both", "--no-test", "--tracking", "online")
    assert code == 0, told
    assert told.startswith("Without budgets: 4 of 4 online points, 1 of them dominated by none of these.")
    (line,) = [line for line in told.splitlines() if line.split()[:2] == ["4", "search"]]
    assert "online" in line
    code, told = typed(url, "recommend", "both", "--no-test", "--tracking", "online", "--max-latency", "0.1")
    assert code == 1
    assert "none of 4 online points" in told
    assert "Nearest is trial 1 (C 1 s, R 0 s, unpruned, fp32, online)" in told
    code, told = typed(url, "front", "both", "--tracking", "online", "--format", "json")
    assert [(row["trial"], row["mode"]) for row in json.loads(told)] == [(4, "online"), (1, "online")]
    assert typed(url, "front", "both", "--tracking", "online")[1].startswith("Only online points, and the front among")


@pytest.mark.parametrize("command", ["recommend", "front"])
@pytest.mark.parametrize(
    ("space", "asked", "why"),
    [
        ({}, "online", "has no point of that mode, all of them are chunk-wise"),
        ({"tracking": "online"}, "chunk-wise", "has no point of that mode, all of them are online"),
        ({"mode": "offline"}, "online", "is of the offline mode"),
        ({"mode": "offline"}, "chunk-wise", "is of the offline mode"),
    ],
)
def test_a_mode_that_the_study_does_not_have_is_refused(
    url: str, command: str, space: dict[str, str], asked: str, why: str
) -> None:
    run_study("study", small_study(trials=0, fixed={}, space=space), AnalyticEvaluator(), url)
    code, told = typed(url, command, "study", "--tracking", asked)
    assert code == 1
    assert told.startswith(f"--tracking {asked}: the study 'study' ")
    assert why in told


def test_the_rest_of_a_search_is_told_by_its_three_objectives_and_latency() -> None:
    study = empty_study()
    add(study, [10.0, 12.0], 1.0, 0.05)
    add(study, [30.0, 32.0], 4.0, 0.2, point=OperatingPoint(0.5, 0.25))
    add(study, [50.0, 52.0], 3.0, 0.3, excesses={"latency": 1.0})
    told = other_trials(study, whole_front(study).rows)
    assert told == (
        OtherTrial(1, 31.0, 4.0, 0.2, 0.75, "model-fp32"),
        OtherTrial(2, 51.0, 3.0, 0.3, pytest.approx(0.22), "model-fp32"),
    )
