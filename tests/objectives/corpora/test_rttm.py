from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Segment, Timeline

from objectives.corpora.corpus import is_local_name
from objectives.corpora.rttm import parse_rttm, parse_uem, uncovered_channels
from objectives.errors import CorpusError
from tests.support.corpora import rttm

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
    assert [(s.start, s.end, who) for s, _, who in parsed["a"].content.itertracks(yield_label=True)] == [
        (0.5, 1.75, "ana"),
        (1.0, 3.0, "bea"),
    ]
    assert list(parsed) == ["a", "b"]


def test_two_speakers_may_have_the_very_same_turn() -> None:
    parsed = parse_rttm(rttm("a", [(0, 1, "ana"), (0, 1, "bea")]), HERE)
    assert parsed["a"].content.labels() == ["ana", "bea"]


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
    found = {uri: parts.content for uri, parts in parsed.items()}
    assert found == {"a": Timeline([Segment(0, 12.5)]), "b": Timeline([Segment(3, 4)])}


def test_a_name_on_two_channels_is_two_people() -> None:
    text = (
        "SPEAKER a A 0 1 <NA> <NA> spk1 <NA> <NA>\n"
        "SPEAKER a b 0 1 <NA> <NA> spk1 <NA> <NA>\n"
        "SPEAKER a B 2 1 <NA> <NA> bea <NA> <NA>\n"
        "SPEAKER a b 3 1 <NA> <NA> bea <NA> <NA>\n"
        "SPEAKER b A 0 1 <NA> <NA> spk1 <NA> <NA>\n"
    )
    parsed = parse_rttm(text, HERE)
    assert parsed["a"].content.labels() == ["bea", "spk1 (channel a)", "spk1 (channel b)"]
    assert parsed["a"].remarks == (
        "spk1 speaks on channels a and b of the RTTM and counts as 2 people: write one channel if it is one person",
    )
    assert all(is_local_name(name) for name in parsed["a"].content.labels()[1:])
    assert (parsed["b"].content.labels(), parsed["b"].remarks) == (["spk1"], ())


def test_no_channel_at_all_is_one_channel() -> None:
    parsed = parse_rttm(rttm("<NA>", [(0, 1, "ana"), (2, 1, "ana")]).replace("<NA> 1 ", "<NA> <NA> "), HERE)
    assert (parsed["x"].content.labels(), parsed["x"].remarks) == (["ana"], ())


def test_only_what_all_channels_of_a_uem_have_in_common_is_annotated() -> None:
    #  1   0 ------- 10     20 -- 25
    #  2        5 -------- 15          30 - 31
    #  NA                                      40 - 41, on every channel
    text = "a 1 0 10\na 2 5 15\na 1 20 25\na 2 30 31\na NA 40 41\nb 1 0 5\nb 2 0 3\nb 2 3 5\nc <NA> 0 1\nc na 1 2\n"
    parsed = parse_uem(text, Path("x.uem"))
    assert parsed["a"].content == Timeline([Segment(5, 10), Segment(40, 41)])
    assert parsed["a"].remarks == (
        "channels 1 and 2 of the UEM have other parts: only what they have in common is scored",
    )
    assert (parsed["b"].content, parsed["b"].remarks) == (Timeline([Segment(0, 5)]), ())
    assert (parsed["c"].content, parsed["c"].channels) == (Timeline([Segment(0, 2)]), frozenset())


@pytest.mark.parametrize(
    ("turns_on", "parts_on", "said"),
    [
        ("1", "NA", 0),
        ("12", "NA", 0),
        ("1", "1", 0),
        ("12", "12", 0),
        ("12", "1", 1),
        ("A", "1", 0),  # two ways to write one channel
    ],
)
def test_channels_that_a_uem_passes_over(turns_on: str, parts_on: str, said: int) -> None:
    text = "".join(f"SPEAKER a {channel} 0 1 <NA> <NA> ana{channel} <NA> <NA>\n" for channel in turns_on)
    parts = [parts_on] if parts_on == "NA" else list(parts_on)
    uem = parse_uem("".join(f"a {channel} 0 1\n" for channel in parts), HERE)["a"]
    remarks = uncovered_channels(parse_rttm(text, HERE)["a"], uem)
    assert len(remarks) == said
    assert all("channels 1 and 2 and the UEM parts of 1 only" in remark for remark in remarks)


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
        assert all(0 <= turn.start < turn.end < float("inf") for turn in reference.content.itersegments())


@given(TEXT)
def test_any_text_is_a_uem_or_a_corpus_error(text: str) -> None:
    try:
        parsed = parse_uem(text, Path("x.uem"))
    except CorpusError:
        return
    for parts in parsed.values():
        assert all(0 <= part.start < part.end < float("inf") for part in parts.content)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6), st.sampled_from("abc")), min_size=1, max_size=8)
)
def test_rttm_round_trip(turns: list[tuple[int, int, str]]) -> None:
    wanted = sorted((start / 1000, start / 1000 + length / 1000, who) for start, length, who in turns)
    parsed = parse_rttm(rttm("u", [(start / 1000, length / 1000, who) for start, length, who in turns]), HERE)[
        "u"
    ].content
    assert sorted((s.start, s.end, who) for s, _, who in parsed.itertracks(yield_label=True)) == wanted
