"""Racing: bets by hand, their fairness over every order, the certain bound, and who races whom."""

import itertools
import json
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from random import Random

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, create_trial

from explorer.search.racing import (
    BETTING_FROM,
    EVEN,
    Race,
    Rival,
    Verdict,
    densest_first,
    race,
    random_order,
    strongest_rival,
)
from explorer.storage import trial_record as record
from objectives.operating_point import BASELINE
from tests.support.analytic_evaluator import measurement

SECONDS = st.floats(0.0, 30.0).map(lambda value: round(value, 3))
PAIRS = st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=12)


def named(errors: Sequence[float]) -> dict[str, float]:
    return {f"{number:02d}": error for number, error in enumerate(errors)}


def against(errors: Sequence[float], alpha: float = 0.01) -> Race:
    """A race in the order given against trial 7, which made these errors."""
    rival = Rival(7, named(errors))
    return Race(tuple(rival.errors), rival, alpha)


def so_far(race: Race, errors: Mapping[str, float], recordings: int) -> dict[str, float]:
    return {uri: errors[uri] for uri in race.order[:recordings]}


def first_stop(race: Race, errors: Mapping[str, float]) -> Verdict | None:
    looks = (race.verdict(so_far(race, errors, recordings)) for recordings in range(len(race.order)))
    return next((verdict for verdict in looks if verdict is not None), None)


# --- the bet


def test_wealth_by_hand() -> None:
    # Four equal recordings, so that each is worth a quarter of the rival's 40 s.
    # a: nothing is known, nothing is staked. It brings 16 s: 24 s of budget are left for three recordings, and from
    #    (2 recordings' worth of 10 s + 16 s) / 3 their errors are expected to be 3 · 12 = 36 s, so edge = 0.5; the
    #    surprise was (16 / 10 - 1)² = 0.36, the spread (4 · 0.3 + 0.36) / 5 = 0.312, and the stake
    #    0.5 / (0.312 · 1.5² - 0.5²) = 0.5 / 0.452, more than all: 0.9 of the wealth.
    # b: 10 s are 1.25 times a third of the budget.
    # c: 14 s of budget for two, expected (36 + 10) / 4 · 2 = 23, so edge = 9 / 14; the surprise was
    #    (10 / 12 - 1)² = 1 / 36, the spread (5 · 0.312 + 1 / 36) / 6. Without errors the stake is lost.
    after_b = 1 + 0.9 * 0.25
    spread = (5 * 0.312 + 1 / 36) / 6
    stake = (9 / 14) / (spread * (23 / 14) ** 2 - (9 / 14) ** 2)
    assert stake > 0.9
    wealth = against([10.0] * 4).wealth(named([16.0, 10.0, 0.0]))
    assert wealth == pytest.approx((1.0, after_b, after_b * 0.1), rel=1e-6)


def test_a_small_edge_risks_little() -> None:
    # 11 s of 40: 29 s are left for three, expected 31, so edge = 2 / 29; spread (4 · 0.3 + 0.01) / 5 = 0.242
    stake = (2 / 29) / (0.242 * (31 / 29) ** 2 - (2 / 29) ** 2)
    wealth = against([10.0] * 4).wealth(named([11.0, 0.0]))
    assert stake < 0.3
    assert wealth == pytest.approx((1.0, 1 - stake), rel=1e-5)


def test_a_stake_never_takes_all() -> None:
    race = against([1.0] * 200)
    wealth = race.wealth(named([1.3] * 80 + [0.0]))
    assert wealth[80] == pytest.approx(wealth[79] * 0.1)  # the largest stake is 0.9


def orders(errors: Sequence[float]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every order and its probability: each next in proportion to the rival's errors, evened out."""
    mean = sum(errors) / len(errors)
    weights = {uri: value + EVEN * mean for uri, value in named(errors).items()}
    for order in itertools.permutations(weights):
        left, probability = sum(weights.values()), 1.0
        for uri in order:
            probability *= weights[uri] / left
            left -= weights[uri]
        yield order, probability


FOUR = st.lists(st.floats(0.5, 20.0), min_size=4, max_size=4)


@given(FOUR, FOUR)
def test_no_bet_wins_on_average_against_a_newcomer_as_good_as_its_rival(
    rival: list[float], newcomer: list[float]
) -> None:
    scale = sum(rival) / sum(newcomer)  # equal sums: the least favourable of those that are no worse
    errors = named([value * scale for value in newcomer])
    mean = [0.0] * 4
    stopped = 0.0
    for order, probability in orders(rival):
        contest = Race(order, Rival(0, named(rival)), alpha=0.7)
        for place, wealth in enumerate(contest.wealth(errors)):
            mean[place] += probability * wealth
        stopped += probability * (first_stop(contest, errors) is not None)
    assert mean == pytest.approx([1.0] * 4, rel=1e-3)
    assert stopped <= 0.7  # Ville


@pytest.mark.parametrize(
    "newcomer",
    [
        lambda errors: errors,
        lambda errors: list(reversed(errors)),
        lambda errors: [2.0 * value if number % 2 else 0.0 for number, value in enumerate(errors)],
        lambda errors: [0.0] * 5 + [value + 1.0 for value in errors[5:]],  # worse on all but the five largest
    ],
)
def test_false_stops_stay_below_alpha(newcomer) -> None:
    errors = [0.5 * 1.2**number for number in range(20, 0, -1)]
    made = newcomer(errors)
    made = named([value * 0.9999 * sum(errors) / sum(made) for value in made])
    rival = Rival(0, named(errors))
    draws = 400
    false = sum(first_stop(Race(random_order(rival, 5, n), rival, 0.1), made) is not None for n in range(draws))
    assert false <= 0.1 * draws + 3 * math.sqrt(0.1 * 0.9 * draws)


def test_an_obviously_worse_trial_stops_before_half() -> None:
    random = Random(1)
    rival = Rival(0, named([random.expovariate(0.3) for _ in range(30)]))
    worse = {uri: 2.5 * value * random.uniform(0.7, 1.3) for uri, value in rival.errors.items()}
    stops = [first_stop(Race(random_order(rival, 0, trial), rival), worse) for trial in range(20)]
    assert all(stop is not None and stop.recordings <= 15 for stop in stops)


def test_betting_stops_earlier_than_certainty() -> None:
    random = Random(2)
    rival = Rival(0, named([random.uniform(1.0, 3.0) for _ in range(60)]))
    worse = {uri: 1.3 * value * random.uniform(0.8, 1.2) for uri, value in rival.errors.items()}
    order = random_order(rival, 0, 1)
    bet, certain = first_stop(Race(order, rival), worse), first_stop(Race(order, rival, alpha=0), worse)
    assert not bet.certain
    assert bet.evidence >= 100
    assert certain.certain
    assert certain.evidence is None
    assert bet.recordings < certain.recordings < 60


# --- the certain bound


@pytest.mark.parametrize(
    ("made", "beaten"),
    [
        ([], False),
        ([5.9], False),
        ([6.0], False),  # the rest may bring nothing: a tie
        ([6.1], True),
        ([3.0, 3.0], False),
        ([3.0, 3.1], True),
        ([2.0, 2.0, 2.0], False),  # equal DERs are not worse
        ([0.0, 0.0, 6.1], True),
    ],
)
def test_certainty(made: list[float], beaten: bool) -> None:
    verdict = against([3.0, 2.0, 1.0], alpha=0).verdict(named(made))
    assert verdict == (Verdict(7, True, None, len(made), 3) if beaten else None)


@given(PAIRS, st.sampled_from([0.0, 0.01, 0.5]))
def test_with_all_recordings_the_verdict_is_that_of_the_sums(pairs: list[tuple[float, float]], alpha: float) -> None:
    rival, newcomer = zip(*pairs, strict=True)
    verdict = against(rival, alpha).verdict(named(newcomer))
    assert (verdict is not None) == (sum(newcomer) > sum(rival) + 1e-4 / 2)  # they are whole milliseconds


@given(PAIRS, st.sampled_from([0.0, 0.01, 0.5]))
def test_who_is_beaten_stays_so_and_certainty_is_never_wrong(pairs: list[tuple[float, float]], alpha: float) -> None:
    rival, newcomer = zip(*pairs, strict=True)
    contest = against(rival, alpha)
    verdicts = [contest.verdict(so_far(contest, named(newcomer), n)) for n in range(len(pairs))]
    beaten = [verdict is not None for verdict in verdicts]
    assert beaten == sorted(beaten)
    if any(verdict is not None and verdict.certain for verdict in verdicts):
        assert sum(newcomer) > sum(rival)


def test_a_rival_without_errors() -> None:
    contest = against([0.0, 0.0])
    assert contest.verdict(named([0.0])) is None
    assert contest.verdict(named([0.001])).certain


# --- the order


def test_recordings_with_most_errors_per_second_come_first() -> None:
    rival = Rival(0, {"long": 10.0, "dense": 8.0, "clean": 0.0, "clean too": 0.0})
    durations = {"clean": 5.0, "clean too": 5.0, "dense": 10.0, "long": 20.0}
    assert densest_first(rival, durations) == ("dense", "long", "clean", "clean too")
    assert densest_first(rival, {**durations, "long": 12.0})[0] == "long"
    # the fewer seconds for the same hope of errors: 0.1 · 4.5 s in 1 s beats 10.45 s in 40 s
    assert densest_first(rival, {**durations, "long": 40.0, "clean": 1.0}) == ("dense", "clean", "long", "clean too")


def test_an_order_is_a_permutation_that_depends_on_seed_and_trial_alone() -> None:
    errors = named([float(number % 7) for number in range(30)])
    order = random_order(Rival(3, errors), 1, 2)
    assert sorted(order) == sorted(errors)
    assert order == random_order(Rival(4, dict(reversed(errors.items()))), 1, 2)
    assert len({order, random_order(Rival(3, errors), 1, 3), random_order(Rival(3, errors), 2, 2)}) == 3


def test_orders_have_the_probabilities_that_the_bets_count_on() -> None:
    rival = [8.0, 1.0, 0.0]
    draws = 5000
    drawn = [random_order(Rival(0, named(rival)), 0, trial) for trial in range(draws)]
    for order, probability in orders(rival):
        slack = 4 * math.sqrt(probability * (1 - probability) / draws)
        assert drawn.count(order) / draws == pytest.approx(probability, abs=slack)


# --- who races whom


def complete(number: int, values: tuple[float, float, float], uris: Sequence[str] = ("a", "b")) -> FrozenTrial:
    """A complete trial that made a tenth of its DER, in seconds, of each kind of error on each recording."""
    kinds = ("false_alarm_seconds", "missed_detection_seconds", "confusion_seconds")
    errors = {**dict.fromkeys(kinds, values[0] / 10), "total_seconds": 100.0}
    trial = create_trial(values=list(values), user_attrs={"recordings": dict.fromkeys(uris, errors)})
    trial.number = number
    return trial


def members(*trials: FrozenTrial) -> tuple[Rival, ...]:
    return tuple(map(Rival.of, trials))


def test_the_rival_is_the_one_of_lowest_der_that_is_no_larger_and_no_slower() -> None:
    known = members(
        complete(0, (30.0, 4.0, 0.10)),
        complete(1, (20.0, 4.0, 0.10)),  # the one
        complete(2, (10.0, 4.1, 0.01)),  # larger
        complete(3, (10.0, 0.1, 0.11)),  # slower
        complete(5, (25.0, 0.1, 0.01)),
        complete(6, (20.0, 4.0, 0.10)),  # the same again
    )
    rival = strongest_rival(known, size=4.0, rtf=0.10)
    assert rival == Rival(1, {"a": pytest.approx(6.0), "b": pytest.approx(6.0)}, (20.0, 4.0, 0.10))
    assert strongest_rival(known, size=3.9, rtf=0.10).trial == 5
    assert strongest_rival(known, size=4.0, rtf=0.009) is None
    assert strongest_rival([], size=4.0, rtf=0.1) is None


LEVELS = st.sampled_from([1.0, 2.0, 3.0])


@given(st.lists(st.tuples(LEVELS, LEVELS, LEVELS), min_size=1, max_size=8), LEVELS, LEVELS)
def test_the_strongest_rival_decides_for_all(values: list[tuple[float, float, float]], size: float, rtf: float) -> None:
    study = optuna.create_study(directions=["minimize"] * 3)
    study.add_trials([complete(number, trial) for number, trial in enumerate(values)])
    rival = strongest_rival(members(*study.get_trials()), size, rtf)
    for der in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5):
        beaten = rival is not None and der > values[rival.trial][0]
        newcomer = complete(len(values), (der, size, rtf))
        beside = optuna.create_study(directions=["minimize"] * 3)
        beside.add_trials([*study.get_trials(), newcomer])
        on_front = len(values) in {trial.number for trial in beside.best_trials}
        if beaten:
            assert not on_front
        elif rival is None or der < values[rival.trial][0]:
            assert on_front  # and in a tie it depends on size and RTF: it is measured to its end
    if rival is not None:
        assert rival.trial in {trial.number for trial in study.best_trials}


def test_errors_are_read_as_they_were_recorded() -> None:
    trial = create_trial(values=[1.0, 1.0, 1.0], user_attrs=record.attributes_of(measurement(BASELINE)))
    assert record.error_seconds(trial) == pytest.approx({"a": 7.5, "b": 7.5})  # DER 15 % of twice 50 s


def test_few_recordings_race_to_certainty() -> None:
    known = members(complete(0, (30.0, 4.0, 0.10)))
    contest = race(known, 5.0, 0.2, {"a": 20.0, "b": 10.0}, seed=3, trial=12, alpha=0.05)
    assert contest == Race(("b", "a"), strongest_rival(known, 5.0, 0.2), alpha=0.0)
    assert race(known, 3.0, 0.2, {"a": 20.0, "b": 10.0}, seed=3, trial=12) is None


def test_many_recordings_bet_and_the_race_travels() -> None:
    uris = [f"{number:03d}" for number in range(BETTING_FROM)]
    known = members(complete(0, (30.0, 4.0, 0.10), uris=uris))
    contest = race(known, 5.0, 0.2, dict.fromkeys(uris, 10.0), seed=3, trial=12, alpha=0.05)
    assert contest == Race(random_order(contest.rival, 3, 12), strongest_rival(known, 5.0, 0.2), 0.05)
    assert pickle.loads(pickle.dumps(contest)) == contest
    assert race(known, 5.0, 0.2, dict.fromkeys(uris, 10.0), seed=3, trial=12, alpha=0.0).alpha == 0.0
    fewer = race(members(complete(0, (30.0, 4.0, 0.10), uris=uris[1:])), 5.0, 0.2, dict.fromkeys(uris[1:], 10.0), 3, 12)
    assert fewer.alpha == 0.0


@pytest.mark.parametrize("uris", ["ac", "abc", "a"])
def test_trials_on_other_recordings_do_not_race(uris: str) -> None:
    with pytest.raises(ValueError, match="trial 0 was scored on 2 recordings"):
        race(members(complete(0, (30.0, 4.0, 0.10))), 5.0, 0.2, dict.fromkeys(uris, 10.0), seed=3, trial=12)


# --- what is told and what is refused


def test_a_stopped_trial_says_by_whom_when_and_how_surely() -> None:
    told = str(Verdict(7, False, 140.2, 9, 29))
    assert "beaten by trial 7" in told
    assert "after 9 of 29 recordings" in told
    assert "1 in 140" in told
    assert "whatever the others bring" in str(Verdict(7, True, None, 9, 29))
    json.dumps(asdict(Verdict(7, True, None, 9, 29)), allow_nan=False)


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({"01": 1.0}, "in its order"),
        ({"00": 1.0, "02": 1.0}, "in its order"),
        ({"00": 1.0, "01": 1.0, "02": 1.0, "03": 1.0}, "in its order"),
        ({"00": -0.1}, "not negative"),
        ({"00": math.nan}, "finite"),
        ({"00": math.inf}, "finite"),
    ],
)
def test_errors_that_are_none_are_refused(errors: dict[str, float], message: str) -> None:
    contest = against([3.0, 2.0, 1.0])
    with pytest.raises(ValueError, match=message):
        contest.verdict(errors)
    with pytest.raises(ValueError, match=message):
        contest.wealth(errors)


@pytest.mark.parametrize(
    ("order", "alpha", "message"),
    [
        (("00",), 0.01, "scored on the same"),
        (("00", "00"), 0.01, "scored on the same"),
        (("00", "x"), 0.01, "scored on the same"),
        (("00", "01"), 1.0, "alpha is 1"),
        (("00", "01"), -0.1, "alpha is -0.1"),
        (("00", "01"), math.nan, "alpha is nan"),
    ],
)
def test_races_that_are_none_are_refused(order: tuple[str, ...], alpha: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Race(order, Rival(0, named([1.0, 2.0])), alpha)
