"""What a driver remembers of its study: whom a point was measured by, whom a newcomer races, how much is searched."""

from collections.abc import Mapping
from dataclasses import replace

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from explorer.search.known_points import KnownPoints
from explorer.storage import trial_record as record
from objectives.measurement import ErrorCounts
from objectives.operating_point import OnlineTracking, OperatingPoint, Pruning
from studies.search_space import SearchSpace, params_of, suggest
from tests.support.analytic_evaluator import measurement

SPACE = SearchSpace(tracking=("chunk-wise", "online"), tau_active=(0.1, 0.9), min_duration_off=(0.0, 2.0))
ONLINE = OnlineTracking(tau_active=0.5)
POINT = OperatingPoint(0.5, 0.25, Pruning("hidden", 0.4), "fp16", "online", ONLINE)


def ended(
    number: int,
    point: OperatingPoint = POINT,
    values: tuple[float, float, float] = (20.0, 4.0, 0.1),
    state: TrialState = TrialState.COMPLETE,
    excesses: Mapping[str, float] | None = None,
    **more: object,
) -> FrozenTrial:
    """A trial at a point; its errors in the one recording are its DER in percent of 100 s."""
    trial = optuna.trial.FixedTrial(dict(params_of(point, SPACE)))
    assert suggest(trial, SPACE) == point
    told = replace(measurement(point), counts={"a": ErrorCounts(confusion=values[0], total=100.0)})
    found = create_trial(
        state=state,
        values=list(values) if state is TrialState.COMPLETE else None,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=record.attributes_of(told) | more,
        system_attrs=record.constraints(excesses or {}),
    )
    found.number = number
    return found


def known_after(*trials: FrozenTrial) -> KnownPoints:
    return KnownPoints.of(SPACE, trials)


@pytest.mark.parametrize(
    "other",
    [
        replace(POINT, chunk_length=0.6),
        replace(POINT, right_context=0.0),
        replace(POINT, pruning=Pruning("linear", 0.4)),
        replace(POINT, pruning=Pruning("hidden", 0.45)),
        replace(POINT, precision="fp32"),
        replace(POINT, mode="chunk-wise", online=OnlineTracking()),
        replace(POINT, online=OnlineTracking(tau_active=0.6)),
        replace(POINT, online=OnlineTracking()),
        replace(POINT, online=replace(ONLINE, min_duration_off=0.5)),
    ],
    ids=str,
)
def test_a_point_is_known_by_all_that_makes_it(other: OperatingPoint) -> None:
    known = known_after(ended(3))
    assert known.find(POINT, stopped_too=True).number == 3
    assert known.find(other, stopped_too=True) is None


def test_the_first_that_measured_a_point_is_the_one_that_is_taken_over() -> None:
    known = known_after(ended(0, state=TrialState.FAIL), ended(1), ended(2, reused_from=1), ended(3))
    assert known.find(POINT, stopped_too=False).number == 1


def test_one_that_was_stopped_is_known_to_those_who_take_it() -> None:
    known = known_after(ended(0, state=TrialState.PRUNED))
    assert known.find(POINT, stopped_too=True).number == 0
    assert known.find(POINT, stopped_too=False) is None
    known.add(ended(1))
    assert known.find(POINT, stopped_too=True).number == 1  # measured to the end says more


def test_one_that_took_over_another_measured_nothing() -> None:
    """Its source may be gone; it is nobody's twin, nobody's rival and searched all the same."""
    known = known_after(ended(5, reused_from=0))
    assert (known.find(POINT, stopped_too=True), known.members("online"), known.searched) == (None, (), 1)


def test_every_search_trial_that_ended_counts_and_no_fixed_point_does() -> None:
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    trials = [ended(number, state=state, error="its evaluation failed") for number, state in enumerate(states)]
    trials += [ended(3, origin="baseline"), ended(4, state=TrialState.RUNNING), ended(5, state=TrialState.WAITING)]
    known = known_after(*trials)
    assert known.searched == 3
    assert not known.add(trials[0])  # no news
    assert known.searched == 3


def numbers(known: KnownPoints, mode: str = "online") -> set[int]:
    return {member.trial for member in known.members(mode)}  # type: ignore[arg-type]


def test_a_newcomer_races_the_front_of_its_own_mode() -> None:
    points = [replace(POINT, chunk_length=0.1 * place) for place in range(1, 8)]
    known = known_after(
        ended(0, points[0], (20.0, 4.0, 0.1)),
        ended(1, points[1], (21.0, 4.0, 0.1)),  # dominated from the first
        ended(2, points[2], (25.0, 3.0, 0.1)),
        ended(3, points[3], (20.0, 4.0, 0.05)),  # dominates 0
        ended(4, points[4], (1.0, 1.0, 0.01), excesses={"latency": 0.5}),  # over a budget
        ended(5, points[5], (2.0, 1.0, 0.01), state=TrialState.PRUNED),
        ended(6, replace(points[6], mode="chunk-wise", online=OnlineTracking()), (3.0, 1.0, 0.01)),
    )
    assert numbers(known) == {2, 3}
    assert numbers(known, "chunk-wise") == {6}
    assert numbers(known, "offline") == set()
    known.add(ended(7, replace(POINT, chunk_length=1.0), (25.0, 3.0, 0.1), excesses={"latency": 0.0}))
    assert numbers(known) == {2, 3, 7}  # equals do not dominate each other, and a budget that is reached is kept
    (member,) = known.members("chunk-wise")
    assert (member.values, member.errors) == ((3.0, 1.0, 0.01), {"a": 3.0})


def test_what_all_trials_were_scored_on_is_known_from_the_first_complete_one() -> None:
    assert (known_after().reference, known_after().recordings) == (None, ())
    stopped = ended(0, state=TrialState.PRUNED)
    assert (known_after(stopped).reference, known_after(stopped).recordings) == (None, ())
    known = known_after(stopped, ended(1, replace(POINT, chunk_length=0.7), excesses={"der": 1.0}))
    assert (known.reference, known.recordings) == (100.0, ("a",))
