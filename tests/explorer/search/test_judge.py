"""What a search trial is stopped for: budgets that it breaks, and races that it has lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from explorer.search.judge import FrontJudge
from explorer.search.known_points import KnownPoints
from explorer.search.racing import BETTING_FROM, Rival
from explorer.search.status import status
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from objectives.measurement import UNHURRIED, ErrorCounts, Judge, Measurement, Stopped
from objectives.operating_point import BASELINE, OperatingPoint
from studies.definition import StudyDefinition
from studies.search_space import SearchSpace, params_of
from tests.explorer.search.test_driver import trials_of
from tests.support.analytic_evaluator import AnalyticEvaluator, judged, measurement, run_study, small_study

SAME_SIZE = {"precision": ["fp32"], "pruning_structure": ["none"]}


FRONT = (Rival(3, {"a": 15.0, "b": 25.0}, (20.0, 4.0, 0.1)),)


def judge(limits: Mapping[str, float] | None = None, reference: float | None = 200.0, **more: object) -> FrontJudge:
    return FrontJudge(12, 0, limits or {}, FRONT, reference, **more)  # type: ignore[arg-type]


def errors(**seconds: float) -> dict[str, ErrorCounts]:
    """A third of each kind. Of less speech than its recording has, since a half was scored: that decides nothing."""
    return {uri: ErrorCounts(told / 3, told / 3, told / 3, total=50.0) for uri, told in seconds.items()}


@pytest.mark.parametrize(
    ("limits", "size", "rtf", "scored", "stops"),
    [
        ({"size": 4.0}, 4.0, None, {}, None),  # what is just reached is kept
        ({"size": 4.0}, 4.1, None, {}, "size (MiB) is 4.1, over the budget of 4"),
        ({"rtf": 0.1}, 4.0, 0.1, {}, None),
        ({"rtf": 0.1}, 4.0, 0.11, {}, "RTF is 0.11, over the budget of 0.1"),
        ({"rtf": 0.1}, 4.0, None, {}, None),  # not known yet
        ({"der": 10.0}, 4.0, 0.1, {"a": 20.0}, None),  # of 200 s of speech in all recordings
        ({"der": 10.0}, 4.0, 0.1, {"a": 15.0, "b": 6.0}, "DER (%), the recordings left out for free, is 10.5"),
        ({"latency": 0.1}, 4.0, 0.1, {"a": 20.0}, None),
        ({}, 9.0, 9.0, {"a": 60.0}, None),
    ],
)
def test_what_a_budget_stops(
    limits: dict[str, float], size: float, rtf: float | None, scored: dict[str, float], stops: str | None
) -> None:
    stop = judge(limits).look(size, rtf, errors(**scored))
    assert (stop is None) == (stops is None)
    if stop is not None and stops is not None:
        assert (stop.kind, stops in stop.reason) == ("limit", True)
        assert stop.details == ({"least_der": pytest.approx(10.5)} if "der" in limits else {})


def test_without_a_trial_that_was_scored_nobody_knows_of_how_much_speech_errors_are() -> None:
    assert judge({"der": 1.0}, reference=None).look(4.0, 0.1, errors(a=100.0)) is None


def test_a_race_begins_once_size_and_rtf_are_known() -> None:
    one = judge()
    assert one.look(4.0, 0.1, errors(a=15.0, b=30.0)) is None
    assert one.order(4.0, 0.1, {"a": 10.0, "b": 100.0}) == ("a", "b")  # densest first
    assert one.look(4.0, 0.1, errors(a=40.0)) is None  # it may still be as good
    stop = one.look(4.0, 0.1, errors(a=40.1))
    assert stop is not None
    assert (stop.kind, stop.details["beaten_by"], stop.details["recordings"], stop.details["of"]) == ("raced", 3, 1, 2)
    assert one.order(3.9, 0.1, {"a": 10.0, "b": 100.0}) == ()  # smaller than the rival: it reaches the front anyway
    assert one.look(3.9, 0.1, errors(a=99.0)) is None


def test_a_judge_is_made_of_the_study_and_the_front_of_the_mode() -> None:
    told = {"seed": 3, "limits": {"rtf": 0.5}, "racing": {"alpha": 0.05}}
    known = KnownPoints.of(SearchSpace(), [complete(0, uris=[f"{place:02d}" for place in range(BETTING_FROM)])])
    made = FrontJudge.of(12, "chunk-wise", small_study(**told), known)
    assert made == FrontJudge(12, 3, {"rtf": 0.5}, known.members("chunk-wise"), 100.0 * BETTING_FROM, 0.05)
    assert len(made.front) == 1
    assert FrontJudge.of(12, "online", small_study(**told), known).front == ()
    assert FrontJudge.of(12, "chunk-wise", small_study(racing={"enabled": False}), known).front == ()
    # both the study's seed and the trial's number draw the order, and with an alpha of 0 the densest come first
    durations = dict.fromkeys(made.front[0].errors, 10.0)
    orders = {
        FrontJudge(trial, seed, {}, made.front, None, alpha).order(4.0, 0.1, durations)
        for trial, seed, alpha in ((12, 3, 0.05), (13, 3, 0.05), (12, 4, 0.05), (12, 3, 0.0))
    }
    assert len(orders) == 4


def complete(number: int, uris: Sequence[str]) -> FrozenTrial:
    """The baseline with as many recordings, each of 100 s of speech."""
    told = replace(measurement(BASELINE), counts=dict.fromkeys(uris, ErrorCounts(confusion=20.0, total=100.0)))
    trial = create_trial(
        values=record.values_of(told),
        user_attrs=record.attributes_of(told),
        system_attrs={"fixed_params": params_of(BASELINE)},
    )
    trial.number = number
    return trial


# --- in a run


def test_a_point_over_its_latency_is_neither_made_nor_measured(url: str) -> None:
    evaluator = AnalyticEvaluator()
    definition = small_study(trials=1, fixed={}, space={"chunk_length": [1.0, 5.0]}, limits={"latency": 0.9})
    run_study("study", definition, evaluator, url)
    baseline, searched = trials_of(url)
    assert (baseline.state, record.exceeded(baseline)) == (TrialState.COMPLETE, ("latency",))  # a fixed point is
    assert (searched.state, record.exceeded(searched)) == (TrialState.PRUNED, ("latency",))
    assert evaluator.calls == [BASELINE]
    assert "over the budget of 0.9 s" in record.why_stopped(searched)
    assert load_study("study", url).best_trials == []


def test_pauses_that_are_waited_for_count_in_the_latency_that_is_told(url: str) -> None:
    space = {"tracking": "online", "min_duration_off": 0.5, "chunk_length": [1.0, 1.0], "look_ahead": ["none"]}
    run_study("study", small_study(fixed={}, space=space, limits={"latency": 1.2}), AnalyticEvaluator(), url)
    _, searched = trials_of(url)
    assert record.why_stopped(searched) == "latency is 1.5 s, over the budget of 1.2 s"


@pytest.mark.parametrize(
    ("limits", "exceeded", "timed", "scored"),
    [
        ({"size": 3.0}, ("size",), False, 0),
        ({"rtf": 0.001}, ("rtf",), True, 0),
        ({"der": 4.0}, ("der",), True, 1),  # half of more than 10 % of errors in the first of two recordings
    ],
)
def test_a_broken_budget_ends_a_search_trial(
    url: str, limits: dict[str, float], exceeded: tuple[str, ...], timed: bool, scored: int
) -> None:
    run_study("study", small_study(fixed={}, space=SAME_SIZE, limits=limits), AnalyticEvaluator(), url)
    baseline, searched = trials_of(url)
    assert (baseline.state, record.exceeded(baseline)) == (TrialState.COMPLETE, exceeded)
    assert (searched.state, record.exceeded(searched)) == (TrialState.PRUNED, exceeded)
    assert searched.user_attrs["stop"]["kind"] == "limit"
    assert ("rtf_repeats" in searched.user_attrs) == timed
    assert len(searched.user_attrs["recordings"]) == scored
    assert "der" not in searched.user_attrs


@pytest.mark.parametrize(("name", "limit"), [("size", 3.0), ("rtf", 0.02), ("der", 4.0)])
def test_by_how_much_a_stopped_trial_passes_its_budget(url: str, name: str, limit: float) -> None:
    """As a share of the budget, of what was reached in the budget's unit: MiB of size, percent of DER."""
    definition = small_study(trials=0, fixed={}, limits={name: limit})
    study = run_study("study", definition, AnalyticEvaluator(), url).study
    study.enqueue_trial({"chunk_length": 0.5, "look_ahead": "none", "pruning_structure": "none", "precision": "fp32"})
    run_study("study", small_study(fixed={}, limits={name: limit}), AnalyticEvaluator(), url)
    _, searched = trials_of(url)
    assert searched.state is TrialState.PRUNED
    reached = {"size": 4.0, "rtf": 0.05, "der": 10.0}  # of a DER of 20 % one of two recordings, the other for free
    assert record.excesses_of(searched) == {name: pytest.approx(reached[name] / limit - 1)}


def beaten(**changes: object) -> StudyDefinition:
    """Search trials of smaller C than the baseline's: slower, of the same size, and worse."""
    space = SAME_SIZE | {"chunk_length": [0.1, 1.0], "look_ahead": ["none"]}
    return small_study(fixed={}, space=space, **changes)


def test_a_trial_that_is_beaten_is_stopped(url: str) -> None:
    run_study("study", beaten(trials=5), AnalyticEvaluator(), url)
    baseline, *searched = trials_of(url)
    stopped = [trial for trial in searched if trial.state is TrialState.PRUNED]
    # half of its errors, those of the first recording, are already more than the baseline's 15 %
    assert {trial.number for trial in stopped} == {
        trial.number for trial in searched if 10 + 5 / trial.params["chunk_length"] > 2 * 15
    }
    assert stopped
    assert status(load_study("study", url)).stopped == {"raced": len(stopped)}
    for trial in stopped:
        told = trial.user_attrs["stop"]
        assert (told["kind"], told["beaten_by"], told["certain"]) == ("raced", baseline.number, True)
        assert (told["recordings"], told["of"], len(trial.user_attrs["recordings"])) == (1, 2, 1)
        assert "beaten by trial 0" in record.why_stopped(trial)
        assert record.exceeded(trial) == ()


def test_a_trial_over_a_budget_is_nobodys_rival(url: str) -> None:
    """It is on no front, so what is worse than it may be on one."""
    run_study("study", beaten(trials=6, limits={"latency": 0.9}), AnalyticEvaluator(), url)
    baseline, *searched = trials_of(url)
    assert record.exceeded(baseline) == ("latency",)
    lost = [trial for trial in searched if 10 + 5 / trial.params["chunk_length"] > 2 * 15]  # to it, in a race
    assert lost
    assert [trial for trial in searched if trial.user_attrs.get("stop", {}).get("beaten_by") == baseline.number] == []


class WorseOnline(AnalyticEvaluator):
    """Online 20 points more, and below C = 1 s all of it wrong."""

    def __call__(
        self, point: OperatingPoint, on_progress: Callable[[str, float], None], judge: Judge = UNHURRIED
    ) -> Measurement | Stopped:
        made = measurement(point)
        if point.mode == "online":
            more = 10.0 if point.chunk_length >= 1 else 40.0  # in each of two recordings of 50 s
            counts = {uri: replace(one, confusion=one.confusion + more) for uri, one in made.counts.items()}
            made = replace(made, counts=counts)
        return judged(made, judge)


def test_a_race_is_against_the_same_mode_alone(url: str) -> None:
    def definition(trials: int) -> StudyDefinition:
        return small_study(trials=trials, fixed={}, space=SAME_SIZE | {"tracking": ["chunk-wise", "online"]})

    study = run_study("study", definition(0), WorseOnline(), url).study
    asked = [("chunk-wise", 5.0), ("online", 2.0), ("online", 0.5), ("chunk-wise", 0.1)]
    for mode, chunk_length in asked:
        still = {"look_ahead": "none", "pruning_structure": "none", "precision": "fp32"}
        study.enqueue_trial({"tracking": mode, "chunk_length": chunk_length} | still)
    run_study("study", definition(len(asked)), WorseOnline(), url)
    _, _, chunkwise, online, hopeless, worse = trials_of(url)
    # 32.5 % at an RTF of 0.02, where the chunk-wise one has 11 % at 0.014: a recording of 16.25 s would have ended it
    assert [trial.values for trial in (chunkwise, online)] == [
        pytest.approx([11.0, 4.0, 0.014]),
        pytest.approx([32.5, 4.0, 0.02]),
    ]
    assert [trial.state for trial in (hopeless, worse)] == [TrialState.PRUNED] * 2
    assert hopeless.user_attrs["stop"]["beaten_by"] == online.number
    assert worse.user_attrs["stop"]["beaten_by"] == chunkwise.number


def test_racing_changes_no_front_and_can_be_switched_off(url: str) -> None:
    raced = run_study("study", beaten(trials=6), AnalyticEvaluator(), url).study
    whole = run_study("whole", beaten(trials=6, racing={"enabled": False}), AnalyticEvaluator(), url).study
    assert {trial.state for trial in whole.trials} == {TrialState.COMPLETE}
    assert len(raced.get_trials(states=[TrialState.PRUNED])) > 0
    assert [trial.params for trial in raced.best_trials] == [trial.params for trial in whole.best_trials]


def test_fixed_points_are_never_stopped_and_measured_where_a_search_trial_was(url: str) -> None:
    point = {"chunk_length": 0.2, "look_ahead": "none", "pruning_structure": "none", "precision": "fp32"}
    definition = small_study(trials=2)
    study = run_study("study", small_study(trials=0), AnalyticEvaluator(), url).study
    study.enqueue_trial(point)
    study.enqueue_trial(point)
    evaluator = AnalyticEvaluator()
    run_study("study", definition, evaluator, url)
    first, again = trials_of(url, TrialState.PRUNED)
    assert again.user_attrs["reused_from"] == first.number
    assert again.user_attrs["stop"] == first.user_attrs["stop"]
    assert len(evaluator.calls) == 1
    study.enqueue_trial(point, user_attrs={"origin": "paper:figure2:C=0.2"})
    run_study("study", definition, evaluator, url)
    assert trials_of(url)[-1].state is TrialState.COMPLETE
    assert len(evaluator.calls) == 2
