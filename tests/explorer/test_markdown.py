"""Markdown from templates: text stays text."""

from explorer.markdown import cell, code


def test_text_stays_text() -> None:
    assert cell("a_b*c|d<e>\nf") == r"a\_b\*c\|d\<e\> f"


def test_code_ends_at_its_own_backtick() -> None:
    assert code("a`b") == "`a'b`"
