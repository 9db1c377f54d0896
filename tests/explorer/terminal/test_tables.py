"""How a table gives way to a narrow screen: never in a figure."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from explorer.terminal.line_breaks import broken, folded
from explorer.terminal.screen import say
from explorer.terminal.table_layout import middle_out
from explorer.terminal.tables import Table, names, print_fields, print_table, sentences, words

FIGURES = st.floats(0, 1e6).map("{:.2f}".format)
LETTERS = st.text(st.sampled_from("ab1é会[]"), min_size=1, max_size=60)


def shown(table: Table, columns: int, encoding: str = "utf-8") -> list[str]:
    """Lines on a terminal."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding)
    print_table(
        table, Console(file=file, width=columns, height=25, force_terminal=True, no_color=True, color_system=None)
    )
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


def calls() -> Table:
    table = Table(names("recording"), "DER %", "scored s", sentences("standing"))
    table.add("a-call-of-many-letters-1", "12.50", "1234.00", "dominated by 13, 14")
    table.add("a-call-of-many-letters-2", "7.25", "30.00", "front")
    return table


def test_a_table_that_fits_is_whole() -> None:
    assert shown(calls(), 66) == [
        "recording                 DER %  scored s  standing",
        "a-call-of-many-letters-1  12.50   1234.00  dominated by 13, 14",
        "a-call-of-many-letters-2   7.25     30.00  front",
    ]


def test_first_the_widest_column_of_names_and_sentences_gives_way() -> None:
    assert shown(calls(), 56) == [
        "recording           DER %  scored s  standing",
        "a-call-of…etters-1  12.50   1234.00  dominated by 13, 14",
        "a-call-of…etters-2   7.25     30.00  front",
    ]
    assert shown(calls(), 50) == [
        "recording         DER %  scored s  standing",
        "a-call-o…tters-1  12.50   1234.00  dominated by",
        "                                   13, 14",
        "a-call-o…tters-2   7.25     30.00  front",
    ]


def test_then_columns_are_stacked_beside_the_name() -> None:
    assert shown(calls(), 34) == [
        "recording         DER %  scored s",
        "a-call-o…tters-1  12.50   1234.00",
        "a-call-o…tters-2   7.25     30.00",
        "",
        "recording         standing",
        "a-call-o…tters-1  dominated by 13,",
        "                  14",
        "a-call-o…tters-2  front",
    ]


def test_then_each_field_has_a_line() -> None:
    assert shown(calls(), 20) == [
        "recording",
        "  a-call-of-many-letters-1",
        "DER %      12.50",
        "scored s   1234.00",
        "standing   dominated",
        "           by 13, 14",
        "",
        "recording",
        "  a-call-of-many-letters-2",
        "DER %      7.25",
        "scored s   30.00",
        "standing   front",
    ]


def test_names_that_differ_in_their_middle_alone_are_shortened_no_further() -> None:
    table = Table(names("recording"), "DER %")
    pair = ["x" * 20 + digit + "y" * 20 for digit in "12"]
    for one in pair:
        table.add(one, "1.00")
    assert shown(table, 80)[1].startswith(pair[0])
    assert shown(table, 40)[:2] == ["recording", f"  {pair[0]}"]


def test_an_encoding_without_the_signs_has_them_replaced_before_columns_are_laid_out() -> None:
    table = Table(words("Δ DER"), "≈ MiB")
    table.add("−1.00 … é会", "2.00")
    assert shown(table, 40, "ascii") == [
        "delta DER             ~ MiB",
        "-1.00 ... \\xe9\\u4f1a   2.00",
    ]


def test_names_are_no_markup_no_emoji_and_nothing_that_a_terminal_obeys() -> None:
    table = Table(names("recording"), "DER %")
    table.add("[b]call:fire:\x1b[31m\n", "1.00")
    assert shown(table, 80)[1] == "[b]call:fire:\\x1b[31m    1.00"


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(LETTERS, FIGURES, FIGURES, LETTERS), min_size=1, max_size=4), st.integers(12, 120))
def test_no_figure_is_ever_cut(rows: list[tuple[str, str, str, str]], columns: int) -> None:
    table = Table(names("recording"), "DER %", "false alarm %", sentences("standing"))
    for row in rows:
        table.add(*row)
    lines = shown(table, columns)
    found = " ".join(lines).split()
    for _, *figures, _ in rows:
        assert set(figures) <= set(found), lines
    if "DER %" in lines[0]:  # columns beside each other, not a line for each field
        assert max(map(cell_len, lines)) <= columns


@given(st.text(st.sampled_from("ab1 %.é会"), max_size=80), st.integers(1, 40))
def test_sentences_lose_nothing_and_lines_are_as_wide_as_they_may_be(told: str, width: int) -> None:
    lines = broken(told, width)
    assert "".join("".join(lines).split()) == "".join(told.split())
    assert all(cell_len(line) <= width or " " not in line.strip() or "%" in line for line in lines)
    assert "".join("".join(folded(told, width)).split()) == "".join(told.split())


def test_a_figure_stays_with_its_unit() -> None:
    assert broken("the DER is 12.50 % and more", 14) == ["the DER is", "12.50 % and", "more"]
    assert broken("it takes 3 s, 5.6 MiB", 11) == ["it takes", "3 s,", "5.6 MiB"]


@given(LETTERS, st.integers(5, 40))
def test_a_shortened_name_keeps_both_ends(name: str, width: int) -> None:
    short = middle_out(name, width, "…")
    assert cell_len(short) <= width
    assert short == name or (short[0], short[-1]) == (name[0], name[-1])


def test_fields_of_a_pipe_are_a_line_each_and_of_a_terminal_broken_between_words() -> None:
    fields = [("study", "quickstart"), ("best DER (%)", "12.5 (trial 4) of all that were measured")]
    pipe, terminal = io.StringIO(), io.StringIO()
    print_fields(fields, Console(file=pipe))
    print_fields(fields, Console(file=terminal, width=40, height=25, force_terminal=True, color_system=None))
    assert pipe.getvalue() == "study         quickstart\nbest DER (%)  12.5 (trial 4) of all that were measured\n"
    assert terminal.getvalue().splitlines()[1:] == [
        "best DER (%)  12.5 (trial 4) of all that",
        "              were measured",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_sentence_keeps_its_paragraphs(terminal: bool) -> None:
    file = io.StringIO()
    say("one\n  two of them\n", Console(file=file, width=8, height=25, force_terminal=terminal, color_system=None))
    assert file.getvalue() == ("one\n  two of\nthem\n\n" if terminal else "one\n  two of them\n\n")
