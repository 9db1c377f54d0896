"""Data frames of a study: columns, types, and the CSV that is made from them."""

import csv
import dataclasses
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.front import frames
from explorer.front.pareto import whole_front
from explorer.front.recordings import RecordingErrors
from explorer.front.rows import COLUMNS, Comparison, flat
from tests.support.recommendation_study import add, add_baseline, empty_study


@dataclasses.dataclass(frozen=True)
class Line:
    """A field of each kind."""

    whole: int | None
    real: float | None
    yes: bool | None
    text: str | None
    many: tuple[str | int, ...]
    named: Mapping[str, float | None] | None


def by_hand(kind: type[Any], rows: list[Any]) -> str:
    return lines_by_hand([field.name for field in dataclasses.fields(kind)], map(vars, rows))


def lines_by_hand(names: Iterable[str], rows: Iterable[Mapping[str, object]]) -> str:
    """CSV as it was written before there were frames."""

    def text(cell: object) -> object:
        if isinstance(cell, Mapping):
            return " ".join(f"{key}={value}" for key, value in cell.items())
        return " ".join(map(str, cell)) if isinstance(cell, tuple) else cell

    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([text(row[name]) for name in names] for row in rows)
    return sheet.getvalue()


numbers = st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=()))  # lone surrogates, quotes and line ends too
lines = st.builds(
    Line,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | numbers,
    st.none() | st.booleans(),
    st.none() | texts,
    st.lists(texts | st.integers()).map(tuple),
    st.none() | st.dictionaries(texts, st.none() | numbers),
)


@given(st.lists(lines))
def test_csv_is_the_same_as_written_by_hand_to_the_last_byte(rows: list[Line]) -> None:
    frame = frames.frame_of(Line, rows)
    assert [str(dtype) for dtype in frame.dtypes] == ["Int64", "float64", "boolean", "str", "object", "object"]
    assert frames.as_csv(frame) == by_hand(Line, rows)


@pytest.fixture
def study() -> optuna.Study:
    study = empty_study()
    add_baseline(study, [20.0, 22.0], 5.0)
    add(study, [1 / 3, 23.0], 2.5, 0.2)
    add(study, [30.0, 35.0], 6.0, 0.7, excesses={"rtf": 0.1})
    return study


def test_the_front_and_its_pairs_have_a_row_for_each(study: optuna.Study) -> None:
    whole = whole_front(study)
    front, pairs = frames.front(whole.rows), frames.pairs(whole.comparisons)
    assert list(front.origin) == [row.origin for row in whole.rows]
    assert front.trial.dtype == pairs.trial.dtype == "Int64"
    assert front.der.isna().tolist() == [row.measurement is None for row in whole.rows]
    assert list(pairs.kind) == [one.kind for one in whole.comparisons] != []
    assert frames.as_csv(front) == lines_by_hand(COLUMNS, map(flat, whole.rows))
    assert frames.as_csv(pairs) == by_hand(Comparison, list(whole.comparisons))


def test_types_do_not_depend_on_what_is_there() -> None:
    empty, waiting = frames.front([]), frames.front(whole_front(empty_study()).rows)
    assert len(waiting) == 3
    assert list(empty.dtypes) == list(waiting.dtypes)
    assert frames.as_csv(empty) == lines_by_hand(COLUMNS, [])


def test_recordings_of_all_trials_are_told_apart_by_trial(study: optuna.Study) -> None:
    found = frames.recordings(study.trials)
    assert list(found.trial) == [0, 0, 1, 1, 2, 2]
    assert list(found.recording) == ["r1", "r0"] * 3
    assert found.complete.all()
    pooled = found.groupby("trial").confusion_seconds.sum() / found.groupby("trial").total_seconds.sum()
    assert (100 * pooled).tolist() == pytest.approx([trial.values[0] for trial in study.trials])
    assert len(frames.recordings([])) == 0


@pytest.mark.parametrize("made", [frames.front([]), frames.pairs([]), frames.recordings([])])
def test_every_column_is_documented(made: pd.DataFrame) -> None:
    makers = {"dominated_by": frames.front, "versus_point": frames.pairs, "complete": frames.recordings}
    (maker,) = (maker for column, maker in makers.items() if column in made)
    listed = re.findall(r"^        (\w[\w, ]*): ", maker.__doc__ or "", re.MULTILINE)
    assert [name for names in listed for name in names.split(", ")] == list(made)
    assert {field.name for field in dataclasses.fields(RecordingErrors)} <= set(frames.recordings([]))
