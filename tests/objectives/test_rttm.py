from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Segment, Timeline

from objectives._rttm import parse_rttm, parse_uem
from objectives.errors import CorpusError
from tests.objectives.corpora import rttm

HERE = Path("x.rttm")


def test_rttm_turns() -> None:
    text = (
        ";; a comment\n\n"
        "SPKR-INFO a 1 <NA> <NA> <NA> unknown ana <NA> <NA>\n"
        "SPEAKER a 1 0.5 1.25 <NA> <NA> ana <NA> <NA>\r\n"
        "SPEAKER a 1 1 2e0 <NA> <NA> bea <NA>\n"
        "SPEAKER b 1 0.5 1.25 <NA> <NA> ana <NA> <NA>"
    )
    parsed = parse_rttm(text, HERE)
    assert [(s.start, s.end, who) for s, _, who in parsed["a"].itertracks(yield_label=True)] == [
        (0.5, 1.75, "ana"),
        (1.0, 3.0, "bea"),
    ]
    assert list(parsed) == ["a", "b"]


def test_two_speakers_may_have_the_very_same_turn() -> None:
    parsed = parse_rttm(rttm("a", [(0, 1, "ana"), (0, 1, "bea")]), HERE)
    assert parsed["a"].labels() == ["ana", "bea"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("SPEAKER a 1 0 1 <NA> <NA> ana", "8 fields instead of 9 or 10"),
        ("SPEAKER a 1 0 1 <NA> <NA> ana maria <NA> <NA>", "11 fields instead of 9 or 10"),
        ("SPEAKER", "1 fields instead of 9 or 10"),
        ("speaker a 1 0 1 <NA> <NA> ana <NA> <NA>", "unknown RTTM type 'speaker'"),
        ("SPEAKER a 1 zero 1 <NA> <NA> ana <NA> <NA>", "start 'zero' is not a number"),
        ("SPEAKER a 1 nan 1 <NA> <NA> ana <NA> <NA>", "start 'nan' is not a number"),
        ("SPEAKER a 1 0 inf <NA> <NA> ana <NA> <NA>", "duration 'inf' is not a number"),
        ("SPEAKER a 1 0 1_000 <NA> <NA> ana <NA> <NA>", "duration '1_000' is not a number"),
        ("SPEAKER a 1 0 1,5 <NA> <NA> ana <NA> <NA>", "duration '1,5' is not a number"),
        ("SPEAKER a 1 -0.5 1 <NA> <NA> ana <NA> <NA>", "start -0.5 s is negative"),
        ("SPEAKER a 1 0 -1 <NA> <NA> ana <NA> <NA>", "duration -1 s is negative"),
        ("SPEAKER a 1 0 0.000 <NA> <NA> ana <NA> <NA>", "has no length"),
        ("SPEAKER a 1 1e308 1e308 <NA> <NA> ana <NA> <NA>", "has no length"),
        ("SPEAKER a 1 0 1 <NA> <NA> <NA> <NA> <NA>", "no speaker name"),
    ],
)
def test_malformed_rttm_line(line: str, complaint: str) -> None:
    with pytest.raises(CorpusError) as caught:
        parse_rttm(f"{rttm('a', [(0, 1, 'ana')])};; a comment\n{line}\n", HERE)
    assert str(caught.value).startswith("x.rttm, line 3: ")
    assert complaint in str(caught.value)


def test_uem_parts_are_merged() -> None:
    parsed = parse_uem(";; parts\na NA 0.000 10.0\na NA 9.0 12.5\nb 1 3 4\n", Path("x.uem"))
    assert parsed == {"a": Timeline([Segment(0, 12.5)]), "b": Timeline([Segment(3, 4)])}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a NA 0", "3 fields instead of 4"),
        ("a NA 0 1 2", "5 fields instead of 4"),
        ("a NA 0 x", "end 'x' is not a number"),
        ("a NA -1 3", "start -1 s is negative"),
        ("a NA 3 3", "from 3 s to 3 s has no length"),
        ("a NA 4 3", "from 4 s to 3 s has no length"),
        ("a NA 4 1e400", "from 4 s to 1e400 s has no length"),
    ],
)
def test_malformed_uem_line(line: str, complaint: str) -> None:
    with pytest.raises(CorpusError) as caught:
        parse_uem(f"a NA 0 1\n{line}\n", Path("x.uem"))
    assert str(caught.value).startswith("x.uem, line 2: ")
    assert complaint in str(caught.value)


FIELD = st.sampled_from(["SPEAKER", "LEXEME", "<NA>", "a", "1", "0.5", "1e400", "-0", "1e-9", "nan", "٣", ";;", "\x0c"])
LIKE_A_LINE = st.lists(FIELD, max_size=11).map(" ".join)
TEXT = st.one_of(st.text(), st.lists(st.one_of(LIKE_A_LINE, st.text(max_size=10)), max_size=5).map("\n".join))


@given(TEXT)
def test_any_text_is_an_rttm_or_a_corpus_error(text: str) -> None:
    try:
        parsed = parse_rttm(text, HERE)
    except CorpusError:
        return
    for uri, reference in parsed.items():
        assert uri
        assert all(0 <= turn.start < turn.end < float("inf") for turn in reference.itersegments())


@given(TEXT)
def test_any_text_is_a_uem_or_a_corpus_error(text: str) -> None:
    try:
        parsed = parse_uem(text, Path("x.uem"))
    except CorpusError:
        return
    for parts in parsed.values():
        assert all(0 <= part.start < part.end < float("inf") for part in parts)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6), st.sampled_from("abc")), min_size=1, max_size=8)
)
def test_rttm_round_trip(turns: list[tuple[int, int, str]]) -> None:
    wanted = sorted((start / 1000, start / 1000 + length / 1000, who) for start, length, who in turns)
    parsed = parse_rttm(rttm("u", [(start / 1000, length / 1000, who) for start, length, who in turns]), HERE)["u"]
    assert sorted((s.start, s.end, who) for s, _, who in parsed.itertracks(yield_label=True)) == wanted
