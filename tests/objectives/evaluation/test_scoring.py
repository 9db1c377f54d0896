import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Annotation, Segment, Timeline

from objectives.evaluation.scoring import score
from objectives.measurement import ErrorCounts, pool

Turns = list[tuple[float, float, str]]


def annotation(turns: Turns) -> Annotation:
    made = Annotation(uri="call")
    for start, end, speaker in turns:
        made[Segment(start, end), speaker] = speaker
    return made


def scored(*parts: tuple[float, float]) -> Timeline:
    return Timeline([Segment(*part) for part in parts], uri="call")


# Reference boundaries lie at 0, 8, 10 and 14: the collar takes 0.25 s on either side of each.
#   A  0 ------------------- 10          scored: 0.25-7.75, 8.25-9.75           = 9.0
#   B               8 ------------ 14    scored: 8.25-9.75, 10.25-13.75         = 5.0
REFERENCE = annotation([(0.0, 10.0, "A"), (8.0, 14.0, "B")])


def test_names_do_not_matter() -> None:
    swapped = annotation([(0.0, 10.0, "B"), (8.0, 14.0, "A")])
    assert score(REFERENCE, swapped, scored((0.0, 20.0))) == ErrorCounts(0.0, 0.0, 0.0, 14.0)


def test_each_error_is_counted_outside_the_collar_and_inside_the_uem() -> None:
    #   p  0 ------------- 9      12 -- 14
    #   q                  9 ---- 12           16 ---- 17
    hypothesis = annotation([(0.0, 9.0, "p"), (9.0, 12.0, "q"), (12.0, 14.0, "p"), (16.0, 17.0, "q")])
    counts = score(REFERENCE, hypothesis, scored((0.0, 16.5)))
    assert counts.missed_detection == pytest.approx(1.5)  # one of two, 8.25-9.75
    assert counts.confusion == pytest.approx(1.75)  # p speaks for B, 12-13.75
    assert counts.false_alarm == pytest.approx(0.5)  # 16-16.5, where the UEM ends
    assert counts.total == pytest.approx(14.0)
    assert counts.der == pytest.approx(100 * 3.75 / 14)
    assert counts.percent(counts.confusion) == pytest.approx(12.5)


def test_an_error_within_the_collar_is_forgiven_and_one_beyond_it_counts_from_there() -> None:
    reference = annotation([(2.0, 6.0, "A")])
    assert score(reference, annotation([(2.2, 6.2, "p")]), scored((0.0, 10.0))).der == 0.0
    late = score(reference, annotation([(2.5, 6.0, "p")]), scored((0.0, 10.0)))
    assert late.missed_detection == pytest.approx(0.25)
    assert late.total == pytest.approx(3.5)


def test_what_the_uem_leaves_out_counts_nowhere() -> None:
    counts = score(REFERENCE, annotation([(0.0, 4.0, "p")]), scored((1.0, 3.0), (4.0, 5.0)))
    assert counts.total == pytest.approx(3.0)
    assert counts.missed_detection == pytest.approx(1.0)
    assert (counts.false_alarm, counts.confusion) == (0.0, 0.0)


def test_silence_misses_everything() -> None:
    counts = score(REFERENCE, Annotation(uri="call"), scored((0.0, 20.0)))
    assert counts.missed_detection == counts.total == pytest.approx(14.0)
    assert counts.der == pytest.approx(100.0)


def test_pooling_weighs_recordings_by_their_speech() -> None:
    long, short = ErrorCounts(missed_detection=9.0, total=90.0), ErrorCounts(false_alarm=5.0, total=10.0)
    pooled = pool([long, short])
    assert pooled == ErrorCounts(false_alarm=5.0, missed_detection=9.0, confusion=0.0, total=100.0)
    assert pooled.der == pytest.approx(14.0)
    assert (long.der + short.der) / 2 == pytest.approx(30.0)  # what an average of rates would have said


def test_nothing_scored_has_no_rate() -> None:
    assert pool([]) == ErrorCounts()
    with pytest.raises(ZeroDivisionError):
        _ = ErrorCounts().der


seconds = st.floats(0.0, 1e4)
counts_of_recordings = st.lists(st.builds(ErrorCounts, seconds, seconds, seconds, seconds), max_size=6)


@given(counts_of_recordings, counts_of_recordings)
def test_pools_add_up(first: list[ErrorCounts], second: list[ErrorCounts]) -> None:
    both, apart = pool([*first, *second]), pool(first) + pool(second)
    assert both.total == pytest.approx(apart.total)
    assert both.confusion == pytest.approx(apart.confusion)
    assert both.false_alarm == pytest.approx(apart.false_alarm)
    assert both.missed_detection == pytest.approx(apart.missed_detection)
