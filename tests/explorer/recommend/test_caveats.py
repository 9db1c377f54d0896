"""What is said before a point is believed: each remark on either side of where it begins."""

from dataclasses import replace

import pytest

from explorer.front import comparisons
from explorer.front.rows import Comparison, FrontRow
from explorer.recommend import caveats
from explorer.recommend.distance import BASELINE, DerDistance, Distance, Side, distance
from explorer.recommend.test_split import TestScore
from explorer.statistics.bootstrap import Interval
from tests.support.front_rows import front_row, vary

ROW = front_row(
    chunk_length=0.5, right_context=0.25, precision="fp16", size=2.0, rtf_low=0.1, rtf_high=0.1, rtf_ratio=0.5,
    kernel="a kernel",
)  # fmt: skip
ENOUGH = 10  # recordings


def score(recordings: int) -> TestScore:
    rates = {"der": 20.0, "false_alarm": 0.0, "missed_detection": 0.0, "confusion": 20.0}
    return TestScore.read(rates, recordings={f"{place}": {} for place in range(recordings)}, machine={})


TESTED = score(ENOUGH)


def apart(low: float, high: float) -> DerDistance:
    return DerDistance(theirs=20.0, points=1.0, relative=5.0, interval=Interval(low, high, ENOUGH, 10_000))


def said(
    row: FrontRow = ROW,
    baseline: Distance | None = None,
    test: TestScore | None = TESTED,
    recordings: int = ENOUGH,
    moved: bool = False,
) -> tuple[str, ...]:
    return caveats.caveats(row, baseline, test, "eval", recordings, moved)


def test_nothing_is_said_of_what_is_sound() -> None:
    assert said() == ()


@pytest.mark.parametrize(
    ("rtf", "high", "expected"),
    [
        (0.5, 0.9, []),
        (0.51, 1.0, ["RTF 0.51 is near 1: a machine 2.0 times as busy falls behind"]),
        (0.4, 1.01, ["its slowest repeat had an RTF of 1.01: it does not always keep up"]),
    ],
)
def test_from_where_a_machine_may_fall_behind(rtf: float, high: float, expected: list[str]) -> None:
    assert list(said(vary(ROW, rtf=rtf, rtf_high=high))) == expected


@pytest.mark.parametrize(("low", "high", "wide"), [(-2.0, 2.0, False), (-2.0, 2.1, True), (5.0, 9.1, True)])
def test_an_interval_is_wide_from_a_fifth_of_the_baselines_der_on(low: float, high: float, wide: bool) -> None:
    told = Distance(BASELINE, 0, apart(low, high), None, 2.0, 0.5)
    assert [caveat.partition(":")[0] for caveat in said(baseline=told)] == (["wide interval"] if wide else [])
    # that on test counts where there is one
    sound = replace(told, test=apart(0.0, 1.0))
    assert said(baseline=sound) == ()
    assert "points on test" in said(baseline=replace(told, der=apart(0.0, 1.0), test=apart(-4.0, 4.0)))[0]


def test_few_recordings_are_those_of_the_split_that_is_believed() -> None:
    assert said(test=score(9)) == ("few recordings in test: 9",)
    assert said(recordings=9) == ()
    flattered = "chosen on the split that it is scored on, eval, which flatters it"
    assert said(test=None) == (flattered,)
    assert said(test=None, recordings=9) == (flattered, "few recordings in eval: 9")


def test_what_ran_elsewhere_or_was_emulated_is_told() -> None:
    (emulated,) = said(vary(ROW, execution="emulated"))
    assert emulated.startswith("fp16 is emulated here")
    (by,) = said(vary(ROW, kernel="torch 2.13.0 cuda"))
    assert by.startswith("its DER is of windows run by torch 2.13.0 cuda")
    (moved,) = said(moved=True)
    assert "another machine than the study's" in moved


def test_only_what_every_point_has_is_common() -> None:
    assert caveats.common([("a", "b", "c"), ("c", "a"), ("a", "c", "d")]) == ("a", "c")
    assert caveats.common([("a", "b")]) == ("a", "b")


@pytest.mark.parametrize(
    ("recordings", "few"), [(1, "single recording"), (2, "2 recordings are few"), (9, "9 recordings are few"), (10, "")]
)
def test_how_much_recordings_can_tell(recordings: int, few: str) -> None:
    notes = " ".join(comparisons.notes(recordings, "eval"))
    assert few in notes
    assert ("are few" in notes) == (1 < recordings < 10)
    assert ("no interval" in comparisons.method(recordings)) == (recordings == 1)
    assert "10,000 resamples, seed 0, percentile interval of 95 %" in comparisons.method(10)


@pytest.mark.parametrize(("count", "by_chance"), [(19, False), (20, True)])
def test_many_comparisons_err_by_chance(count: int, by_chance: bool) -> None:
    one = Comparison("front neighbours", 1, 0, "a", "b", 20.0, 19.0, 1.0, 0.5, 1.5, ENOUGH, False)
    lines = comparisons.of_differences([ROW], [one] * count)
    assert any("seems to differ by chance" in line for line in lines) == by_chance
    assert comparisons.of_differences([ROW], []) == ()
    assert "≈" not in " ".join(lines)
    assert "≈" in " ".join(comparisons.of_differences([vary(ROW, tied_with_best=True)], [one]))
    single = replace(one, recordings=1, der_low=None, der_high=None, tied=None)
    assert "In brackets" not in " ".join(comparisons.of_differences([ROW], [single] * 20))


# --- how far two points are from each other

OURS, THEIRS = {"a": (30.0, 100.0), "b": (3.0, 20.0)}, {"a": (20.0, 100.0), "b": (4.0, 20.0)}  # 27.5 and 20 %
ON_TEST = {"x": (1.0, 10.0)}, {"x": (2.0, 10.0)}  # 10 and 20 %


def test_a_distance_is_from_one_to_the_other() -> None:
    baseline = vary(ROW, trial=7, size=5.0, rtf_ratio=1.25)
    told = distance(Side(ROW, OURS, ON_TEST[0]), Side(baseline, THEIRS, ON_TEST[1]), "paper:table2:FP16")
    assert (told.origin, told.trial, told.times_smaller, told.rtf_ratio) == ("paper:table2:FP16", 7, 2.5, 0.4)
    assert (told.der.theirs, told.der.points, told.der.relative) == pytest.approx((20.0, 7.5, 37.5))
    assert told.der.interval is not None
    assert (told.der.interval.low, told.der.interval.high) == pytest.approx((-5.0, 10.0))  # b twice, a twice
    assert told.test is not None
    assert (told.test.theirs, told.test.points, told.test.relative) == pytest.approx((20.0, -10.0, -50.0))
    assert distance(Side(ROW, OURS, None), Side(baseline, THEIRS, ON_TEST[1]), "x").test is None
    assert distance(Side(ROW, OURS, ON_TEST[0]), Side(baseline, THEIRS, None), "x").test is None


def test_the_ratio_to_the_baseline_is_that_of_the_same_breath_but_online() -> None:
    """What is timed beside a point is the chunk-wise baseline, whatever the study's own one is."""
    baseline = vary(ROW, trial=7, rtf_ratio=1.25)
    assert distance(Side(ROW, OURS, None), Side(baseline, THEIRS, None), BASELINE).rtf_ratio == 0.5
    online = vary(baseline, mode="online")
    assert distance(Side(ROW, OURS, None), Side(online, THEIRS, None), BASELINE).rtf_ratio == 0.4


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (vary(ROW, execution="emulated"), ROW),
        (ROW, vary(ROW, execution="emulated")),
        (vary(ROW, rtf_ratio=None), ROW),
        (ROW, vary(ROW, rtf_ratio=None)),
    ],
)
def test_no_ratio_of_what_was_emulated_or_not_told(ours: FrontRow, theirs: FrontRow) -> None:
    other = replace(theirs, trial=7)
    assert distance(Side(ours, OURS, None), Side(other, THEIRS, None), "paper:table2:FP16").rtf_ratio is None


def test_a_point_has_no_interval_to_itself_and_nothing_is_relative_to_no_errors() -> None:
    assert distance(Side(ROW, OURS, None), Side(ROW, OURS, None), BASELINE).der.interval is None
    perfect = {"a": (0.0, 100.0), "b": (0.0, 20.0)}
    told = distance(Side(ROW, OURS, None), Side(vary(ROW, trial=7), perfect, None), BASELINE)
    assert (told.der.relative, told.der.points) == (None, pytest.approx(27.5))
