"""Recommendations of hand-made studies: who is chosen, why, how far from what, and with which caveats."""

import math
from collections.abc import Mapping

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from explorer.front.rows import flat
from explorer.recommend.budgets import Budgets, keeps
from explorer.recommend.recommendation import Advice, Recommendation, recommend
from objectives.errors import StudyError
from objectives.operating_point import OperatingPoint, Pruning
from tests.support.analytic_evaluator import small_study
from tests.support.recommendation_study import LINEAR_40_FP16, add, add_baseline, empty_study


@pytest.fixture
def study() -> optuna.Study:
    return empty_study()


def advise(study: optuna.Study, top: int = 3, **budgets: float) -> Advice:
    return recommend(study, Budgets(**budgets), top, test=False)


def roles(advice: Advice) -> dict[int | None, tuple[str, ...]]:
    return {one.row.trial: tuple(role.name for role in one.roles) for one in advice.recommendations}


def of(advice: Advice, trial: int) -> Recommendation:
    return next(one for one in advice.recommendations if one.row.trial == trial)


def test_each_role_falls_to_whom_it_should(study: optuna.Study) -> None:
    add_baseline(study, [20.0, 20.0, 20.0, 20.0], 5.0, 0.1)
    add(study, [25.0, 20.0, 24.0, 15.0], 2.0, 0.05)  # 1: 21 %, by +5 0 +4 −5: tied, and well off in all three
    add(study, [24.0, 24.0, 24.0, 24.0], 1.0, 0.04)  # 2: 24 %, by +4 in each: told apart
    add(study, [60.0, 60.0, 60.0, 60.0], 0.9, 0.039)  # 3: the other end
    add(study, [20.5, 20.5, 20.5, 20.5], 5.0, 0.1)  # 4: dominated by 0
    advice = advise(study, top=2)
    assert roles(advice) == {0: ("lowest DER",), 1: ("2nd lowest DER", "smallest tied with the best"), 2: ("knee",)}
    assert (advice.points, advice.inside, advice.front, advice.recordings) == (5, 5, 4, 4)
    tie = of(advice, 1).roles[1].reason
    assert "+1.00 points, 95 % interval −" in tie
    assert "20.00 % of trial 0" in tie
    assert list(roles(advise(study, top=1))) == [0, 1, 2]
    assert roles(advise(study, top=9))[3] == ("4th lowest DER",)


def test_a_point_may_have_every_role(study: optuna.Study) -> None:
    add(study, [20.0, 21.0], 1.0, 0.1)
    assert roles(advise(study)) == {0: ("lowest DER", "smallest tied with the best")}
    assert "it is the smallest as well" in advise(study).recommendations[0].roles[1].reason


def test_of_points_of_one_size_that_are_tied_with_the_best_the_one_of_lower_der_is_taken(study: optuna.Study) -> None:
    add(study, [20.0, 20.0, 20.0, 20.0], 4.0, 0.3)
    add(study, [25.0, 20.0, 24.0, 15.0], 1.0, 0.2)  # 21 %
    add(study, [26.0, 20.0, 24.0, 15.0], 1.0, 0.1)  # 21.25 %, of as many bytes, and faster
    assert {number for number, names in roles(advise(study, top=1)).items() if "smallest" in names[-1]} == {1}


def test_a_smaller_point_that_is_told_apart_is_no_tie(study: optuna.Study) -> None:
    add(study, [20.0, 21.0, 30.0], 4.0)
    add(study, [20.5, 21.5, 30.5], 1.0)  # half a second more in every recording
    advice = advise(study, top=1)
    assert roles(advice) == {0: ("lowest DER", "smallest tied with the best")}
    assert "every smaller point can be distinguished from it" in advice.recommendations[0].roles[1].reason


def test_one_recording_ties_nobody(study: optuna.Study) -> None:
    add_baseline(study, [20.0])
    add(study, [20.1], 1.0)
    advice = advise(study)
    assert roles(advice) == {0: ("lowest DER",), 1: ("2nd lowest DER",)}
    assert advice.method == "none: a single recording has no interval"
    assert "single recording" in advice.notes[0]
    there = of(advice, 1).baseline
    assert there is not None
    assert there.der.interval is None


def test_a_point_dominated_from_outside_the_budgets_is_recommended_inside(study: optuna.Study) -> None:
    """Latency is no objective: 0 is on the study's front and beyond the budget, and dominates what is within it."""
    add(study, [10.0, 10.0], 1.0, 0.05, point=OperatingPoint(1.0, 2.0))
    add(study, [20.0, 20.0], 2.0, 0.10, point=OperatingPoint(0.5, 0.0))
    assert list(roles(advise(study))) == [0]
    advice = advise(study, latency=1.0)
    assert list(roles(advice)) == [1]
    assert (advice.recommendations[0].row.standing, advice.recommendations[0].row.dominated_by) == ("dominated", (0,))


def test_what_breaks_the_studys_own_limits_is_no_candidate(study: optuna.Study) -> None:
    add(study, [10.0, 10.0], 1.0, 0.01, excesses={"size": 0.5})
    add(study, [20.0, 20.0], 2.0, 0.1, excesses={"size": -0.5})
    advice = advise(study)
    assert list(roles(advice)) == [1]
    assert advice.points == 1
    assert of(advice, 1).dominates == ()


def test_a_reused_measurement_is_one_candidate_with_all_its_origins(study: optuna.Study) -> None:
    first = add_baseline(study, [20.0, 20.0])
    point = OperatingPoint(pruning=Pruning("linear", 0.4))
    second = add(study, [30.0, 30.0], 6.0, point=point, origin="paper:table1:Linear-40")
    for origin, reused in (("paper:figure2:C=1", first), ("search", first), ("paper:table2:FP32", second)):
        add(study, [20.0, 20.0], point=point if reused else None, origin=origin, reuses=reused)
    advice = advise(study, top=5)
    assert list(roles(advice)) == [first]
    assert advice.points == 2
    (one,) = advice.recommendations
    assert one.also == ("paper:figure2:C=1", "search")
    assert [(d.trial, d.origins) for d in one.dominates] == [(1, ("paper:table1:Linear-40", "paper:table2:FP32"))]


def test_the_distance_to_the_baseline(study: optuna.Study) -> None:
    add_baseline(study, [20.0, 10.0], 5.0, 0.12)
    add(study, [22.0, 14.0], 2.0, 0.05)
    there = of(advise(study), 1).baseline
    assert there is not None
    # 36 s against 30 s of 200 s: 18 % and 15 %; the recordings alone differ by 2 and by 4 points
    assert (there.der.theirs, there.der.points, there.der.relative) == pytest.approx((15.0, 3.0, 20.0))
    assert there.der.interval is not None
    assert (there.der.interval.low, there.der.interval.high) == pytest.approx((2.0, 4.0))
    # the ratio is over the baseline of the same breath (0.1), not over the baseline's own trial (0.12)
    assert (there.times_smaller, there.rtf_ratio) == pytest.approx((2.5, 0.5))
    assert there.test is None
    itself = of(advise(study), 0).baseline
    assert itself is not None
    assert (itself.trial, itself.der.points, itself.der.interval, itself.rtf_ratio) == (
        0,
        0.0,
        None,
        pytest.approx(1.2),
    )


def test_the_papers_point_is_ours_where_it_was_measured_and_always_the_published_one(study: optuna.Study) -> None:
    add_baseline(study, [20.0, 20.0])
    assert of(advise(study), 0).paper_point is None
    fp16 = add(study, [25.0, 25.0], 2.5, 0.2, point=LINEAR_40_FP16, origin="paper:table2:FP16", execution="emulated")
    add(study, [22.0, 22.0], 1.25, 0.15)
    told = of(advise(study), 2)
    assert told.paper_point is not None
    assert (told.paper_point.trial, told.paper_point.origin) == (fp16, "paper:table2:FP16")
    assert (told.paper_point.der.points, told.paper_point.times_smaller) == pytest.approx((-3.0, 2.0))
    assert told.paper_point.rtf_ratio is None  # emulated: no RTF to compare with
    published = told.published
    assert (published.size, published.der, published.baseline_size, published.baseline_der) == (
        2.78,
        15.02,
        5.63,
        10.70,
    )
    # "2.0× smaller at a 40% relative DER increase"
    assert (published.times_smaller, published.relative) == pytest.approx((2.0, 40.0), rel=0.02)
    assert "published" in published.source


def test_table_2_of_another_model_is_not_the_papers_point(study: optuna.Study) -> None:
    add_baseline(study, [20.0, 20.0])
    other = OperatingPoint(pruning=Pruning("hidden", 0.2), precision="fp16")
    add(study, [19.0, 25.0], 2.5, point=other, origin="paper:table2:FP16")
    assert of(advise(study), 1).paper_point is None


def test_caveats(study: optuna.Study) -> None:
    add_baseline(study, [20.0] * 12)
    add(study, [19.0] * 12, 9.0, [0.7, 0.8, 1.2], kernel="torch 2.13.0 cuda NVIDIA native")  # 1
    add(study, [20.0] * 11 + [60.0], 2.0, 0.09, execution="emulated")  # 2
    advice = advise(study)
    flattered = "chosen on the split that it is scored on, eval, which flatters it"
    assert of(advice, 0).caveats == (flattered,)
    assert of(advice, 1).caveats == (
        flattered,
        "RTF 0.80 is near 1: a machine 1.2 times as busy falls behind",
        "its slowest repeat had an RTF of 1.20: it does not always keep up",
        "its DER is of windows run by torch 2.13.0 cuda NVIDIA native, its RTF of ONNX Runtime on the CPU",
    )
    _, wide, emulated = of(advice, 2).caveats
    assert wide.startswith("wide interval: its difference to the baseline spans 10.0 points on eval")  # 0 to 3 of 12
    assert emulated == "fp32 is emulated here: neither its RTF nor what it beats by RTF alone is a gain"
    assert [note for note in advice.notes if "few" in note] == []  # twelve are enough
    assert advice.method.startswith("paired bootstrap over 12 recordings: 10,000 resamples, seed 0, percentile")


def test_few_recordings_are_said_to_be_few(study: optuna.Study) -> None:
    add_baseline(study, [20.0] * 9)
    assert "9 recordings are few" in " ".join(advise(study).notes)
    assert "few recordings in eval: 9" in advise(study).recommendations[0].caveats


def test_no_point_inside_is_a_shortfall_with_the_nearest_point(study: optuna.Study) -> None:
    add_baseline(study, [20.0, 20.0], 5.0)
    add(study, [24.0, 24.0], 2.0)
    advice = advise(study, size=1.0, der_increase=0.1)
    assert advice.recommendations == ()
    assert advice.limits == pytest.approx({"size": 1.0, "der": 22.0})
    assert advice.shortfall is not None
    assert advice.nearest is not None
    assert (advice.nearest.trial, advice.nearest.figures.size) == (1, 2.0)
    # without a budget of size the baseline is in; without one of DER nothing is
    assert [(miss.budget, miss.reachable) for miss in advice.shortfall.misses] == [("size", 5.0), ("der", None)]


@pytest.mark.parametrize("excesses", [None, {"size": 0.1}])
def test_a_study_without_a_point_has_nothing_to_recommend(
    study: optuna.Study, excesses: Mapping[str, float] | None
) -> None:
    if excesses:
        add(study, [20.0, 20.0], excesses=excesses)
    with pytest.raises(StudyError, match="no complete trial within its own limits"):
        advise(study)


def test_latency_means_nothing_offline() -> None:
    study = empty_study(small_study(space={"mode": "offline"}, fixed={}))
    add(study, [20.0, 20.0], point=OperatingPoint(mode="offline"), origin="baseline")
    with pytest.raises(StudyError, match=r"--max-latency 1: .* offline"):
        advise(study, latency=1.0)
    (one,) = advise(study, size=9.0).recommendations
    assert (one.row.latency, flat(one.row)["chunk_length"]) == (None, None)


def test_an_increase_over_a_baseline_that_is_not_there_is_refused(study: optuna.Study) -> None:
    add(study, [20.0, 20.0])
    with pytest.raises(StudyError, match=r"--max-der-increase .* not measured yet"):
        advise(study, der_increase=0.1)
    assert advise(study).recommendations[0].baseline is None


def test_the_answer_is_the_same_from_a_database(url: str) -> None:
    studies = [empty_study(), empty_study(url=url)]
    for study in studies:
        add_baseline(study, [20.0, 22.0, 21.0])
        add(study, [20.0, 24.0, 21.0], 2.0, 0.05)
        add(study, [50.0, 54.0, 51.0], 1.0, 0.04)
        add(study, [20.0, 22.0, 21.0], origin="paper:figure2:C=1", reuses=0)
        add(study, [1.0, 1.0, 1.0], 0.1, 0.01, excesses={"rtf": 1.0})
    in_memory, stored = (recommend(study, Budgets(latency=1.0), test=False) for study in studies)
    assert in_memory == stored
    assert len(stored.recommendations) == 3


POINTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([5.0, 10.0, 20.0, 40.0]), min_size=3, max_size=3),
        st.sampled_from([0.5, 1.0, 2.0, 4.0]),
        st.sampled_from([0.05, 0.1, 0.4, 0.9]),
        st.sampled_from([0.0, 0.5, 2.0]),
    ),
    min_size=1,
    max_size=7,
)
LIMIT = st.sampled_from([0.3, 0.7, 1.0, 2.0, 4.0])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(POINTS, st.fixed_dictionaries({}, optional={"latency": LIMIT, "size": LIMIT, "rtf": LIMIT}))
def test_what_is_recommended_keeps_the_budgets_and_is_dominated_by_nothing_that_does(
    told: list[tuple[list[float], float, float, float]], given_budgets: dict[str, float]
) -> None:
    study = empty_study()
    values: dict[int, tuple[float, float, float]] = {}
    latencies: dict[int, float] = {}
    for errors, size, rtf, right_context in told:
        point = OperatingPoint(round(0.2 + 0.01 * len(values), 2), right_context)
        number = add(study, errors, size, rtf, point=point)
        values[number], latencies[number] = (math.fsum(errors) / 3, size, rtf), point.latency
    advice = recommend(study, Budgets(**given_budgets), top=2, test=False)
    inside = {
        number
        for number, (der, size, rtf) in values.items()
        if keeps(given_budgets, {"der": der, "size": size, "rtf": rtf, "latency": latencies[number]})
    }
    chosen = [one.row.trial for one in advice.recommendations]
    assert (advice.shortfall is None) == bool(inside) == bool(chosen)
    for number in chosen:
        assert number in inside
        own = values[number]
        assert not any(
            all(theirs <= ours for theirs, ours in zip(values[other], own, strict=True)) and values[other] != own
            for other in inside
        )
    if inside:
        lowest = min(values[number][0] for number in inside)
        assert advice.recommendations[0].row.figures.der == pytest.approx(lowest)
        assert (
            sum(any(role.name == "smallest tied with the best" for role in one.roles) for one in advice.recommendations)
            == 1
        )
