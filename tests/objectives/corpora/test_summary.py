"""What of a corpus is not used, in brief."""

from types import SimpleNamespace

import pytest

from objectives.corpora.corpus import Remark
from objectives.corpora.summary import SHOWN, in_brief

LISTS_ALL = "`explorer corpus calls --check` lists all"


def brief(used: int, *remarks: Remark) -> tuple[str, ...]:
    """Of a corpus with so many recordings in use."""
    corpus = SimpleNamespace(splits={"eval": ("a",) * used, "train": ()}, remarks=remarks)
    return in_brief(corpus, "calls")


def test_a_recording_of_which_two_things_are_said_is_counted_once_among_all() -> None:
    twice = [Remark("recording", "x.wav", "no reference"), Remark("recording", "x.wav", "no split")]
    (said,) = brief(4, *twice)
    assert said == "2 of 5 recordings are not used: x.wav (no reference), x.wav (no split)"


@pytest.mark.parametrize("kind", ["recording", "file", "used"])
def test_all_are_listed_elsewhere_only_where_some_are_left_out_here(kind: str) -> None:
    remarks = [Remark(kind, f"{number}.wav", "why") for number in range(SHOWN + 1)]
    whole, cut = brief(9, *remarks[:SHOWN]), brief(9, *remarks)
    assert len(whole) == 1
    assert "2.wav (why)" in whole[0]
    assert "more" not in whole[0]
    assert cut[0].endswith("2.wav (why), … 1 more")
    assert cut[1] == LISTS_ALL


def test_a_corpus_that_is_used_as_it_is_written_needs_no_word() -> None:
    assert brief(3) == brief(3, Remark("merged", "a", "2 turns")) == ()
