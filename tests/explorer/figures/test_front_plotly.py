"""Figures to hover over: where each row is drawn, as what, and what is said of it."""

import itertools
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.figures.front_plotly import (
    CARD,
    FAINT,
    PAGE,
    RTF,
    SIZE,
    _axis,
    _labels,
    der_against_latency,
    front_figure,
    hover,
)
from explorer.figures.style import PRECISION_COLOURS
from explorer.front.rows import FrontRow
from objectives.errors import StudyError
from tests.support.front_rows import front_row

OFFLINE = {"mode": "offline", "right_context": 0.0}


def row(trial: int, der: float | None = 20.0, size: float = 4.0, rtf: float = 0.1, **changes: Any) -> FrontRow:
    parts = {} if der is None else {"missed_detection": der / 2, "false_alarm": der / 4, "confusion": der / 4}
    timed = {"rtf_low": rtf * 0.9, "rtf_high": rtf * 1.2, "rtf_ratio": rtf / 0.1}
    known = {"right_context": 0.5, "der": der, "size": size, "rtf": rtf, **parts, **timed}
    return front_row(trial, **known | changes)


def points(figure: go.Figure, panel: str) -> list[tuple[float, float, str, str, float, float]]:
    """(x, y, colour, symbol, size, opacity) of each point with a hover text in a panel, `x` or `x2`."""
    return [
        (x, y, trace.marker.color, *look)
        for trace in figure.data
        if trace.hovertext is not None and (trace.xaxis or "x") == panel
        for x, y, *look in zip(
            trace.x, trace.y, trace.marker.symbol, trace.marker.size, trace.marker.opacity, strict=True
        )
    ]


def test_each_row_is_drawn_by_size_and_by_rtf_at_one_height() -> None:
    dominated = row(1, 30.0, 2.0, 0.2, standing="dominated", dominated_by=(0,), pruning="Linear-40")
    over = row(2, 25.0, 3.0, 0.3, standing="infeasible", exceeded=("rtf",), precision="int8_ptq")
    emulated = row(3, 22.0, 1.0, 0.05, execution="emulated", precision="int4_ptq", pruning="Hidden-40")
    figure = front_figure([row(0), dominated, over, emulated, row(4, None, standing="waiting")])
    black, orange, blue = (PRECISION_COLOURS[name] for name in ("fp32", "int8_ptq", "int4_ptq"))
    large, small = PAGE.large, PAGE.small
    expected = {
        (4.0, 0.1, 20.0, black, "circle", large, 1.0),
        (2.0, 0.2, 30.0, black, "diamond", small, FAINT),
        (3.0, 0.3, 25.0, orange, "x", small, FAINT),
        (1.0, 0.05, 22.0, blue, "square-open", large, 1.0),
    }
    assert set(points(figure, "x")) == {(size, *rest) for size, _, *rest in expected}
    assert set(points(figure, "x2")) == {(rtf, *rest) for _, rtf, *rest in expected}
    assert "2 on the front, 4 shown. 1 not measured (yet). Hollow: emulated" in figure.layout.title.text
    names = {trace.name for trace in figure.data}
    assert {"x: over a budget", "hollow: RTF emulated", "pruning: hidden"} <= names
    assert "pruning: both" not in names


def test_fixed_points_have_a_ring_and_their_name() -> None:
    figure = front_figure(
        [row(0, origin="baseline"), row(1, 30.0, 2.0, origin="paper:table1:Linear-40"), row(2, 25.0, 1.0)]
    )
    rings = [list(trace.x) for trace in figure.data if trace.legendgroup == "fixed" and trace.x[0] is not None]
    assert rings == [[4.0, 2.0], [0.1, 0.1]]
    assert [label.text for label in figure.layout.annotations if label.xref == "x"] == ["baseline", "Linear-40"]


def test_an_axis_with_much_between_its_ends_is_logarithmic_and_says_so() -> None:
    near = front_figure([row(0, 20.0, 1.0, 0.10), row(1, 30.0, 4.0, 0.12)]).layout
    far = front_figure([row(0, 20.0, 1.0, 0.01), row(1, 90.0, 4.0, 0.12)]).layout
    assert [near.xaxis.type, near.xaxis2.type, near.yaxis.type] == ["log", None, None]
    assert [far.xaxis.type, far.xaxis2.type, far.yaxis.type] == ["log", "log", "log"]
    assert (near.yaxis.title.text, far.yaxis.title.text) == ("DER (%)", "DER (%), log")
    assert list(far.yaxis.ticktext) == ["20", "30", "40", "50", "70", "100"]


def test_the_hover_text_has_all_that_one_chooses_by() -> None:
    latency = {"median": 0.03, "p95": 0.039, "p99": 0.04, "updates": 3}
    told = hover(row(7, origin="paper:figure1:R=0.5", update_latency=latency, pruning="Linear-40")).split("<br>")
    assert told == [
        "<b>trial 7</b>, paper:figure1:R=0.5",
        "<b>front</b>",
        "C 1 s, R 0.5 s, Linear-40, fp32",
        "latency 1.5 s",
        "1.45 million parameters, kept hidden 84",
        "DER 20.00 % = 5.0 false alarm + 10.0 missed + 5.0 confusion",
        "size 4.00 MiB",
        "RTF 0.1000 [0.0900–0.1200], 1.00 × the FP32 baseline",
        "update 0.030 s, 95 % of them below 0.039 s",
    ]


def test_the_hover_text_of_an_emulated_offline_infeasible_reused_point() -> None:
    one = row(7, standing="infeasible", exceeded=("rtf", "size"), execution="emulated", reused_from=3, **OFFLINE)
    told = hover(one)
    assert "infeasible: over rtf, size" in told
    assert "emulated: no gain" in told
    assert "× the FP32 baseline" not in told
    assert "latency" not in told
    assert told.endswith("measured in trial 3")


def test_der_against_latency_draws_the_sweeps() -> None:
    sweep = [
        row(n, 30.0 - n, origin=f"fixed:{n}", chunk_length=1.0, right_context=r) for n, r in enumerate((2.0, 0.0, 0.5))
    ]
    figure = der_against_latency([*sweep, row(9, chunk_length=0.4, right_context=0.0)])
    (curve,) = [trace for trace in figure.data if trace.mode == "lines"]
    assert (curve.name, list(curve.x), list(curve.y)) == ("R at C = 1 s", [1.0, 1.5, 3.0], [29.0, 28.0, 30.0])
    assert sorted(x for x, *_ in points(figure, "x")) == [0.4, 1.0, 1.5, 3.0]


def test_what_cannot_be_drawn_says_why() -> None:
    with pytest.raises(StudyError, match="no trial is complete"):
        front_figure([row(0, None, standing="waiting")])
    with pytest.raises(StudyError, match="offline"):
        der_against_latency([row(0, **OFFLINE)])


values = st.tuples(st.floats(1.0, 200.0), st.floats(0.1, 6.0), st.floats(0.001, 2.0))


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=1, max_size=30), st.sampled_from([PAGE, CARD]), st.sampled_from([SIZE, RTF]))
def test_labels_lie_inside_the_panel_and_cover_neither_points_nor_each_other(places, form, name) -> None:
    rows = [row(n, *place, origin=f"paper:table1:Linear-{n}") for n, place in enumerate(places)]
    across, heights = _axis(name, rows), _axis("der", rows)
    labels = _labels(rows, across, heights, form)

    def box(label: Any) -> tuple[float, float, float, float]:
        low, high = across.coordinate(0.0), across.coordinate(1.0)
        x = (label["x"] - low) / (high - low)
        low, high = heights.coordinate(0.0), heights.coordinate(1.0)
        y = (label["y"] - low) / (high - low)
        half = 0.25 * form.font * len(label["text"]) / form.width
        return x - half, x + half, y - 0.5 * form.font / form.height, y + 0.5 * form.font / form.height

    boxes = [box(label) for label in labels]
    assert all(left >= 0 and right <= 1 for left, right, _, _ in boxes)
    for one, other in itertools.combinations(boxes, 2):
        assert one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
    for point in rows:
        x, y = across.place(getattr(point.figures, name)), heights.place(point.figures.der)
        assert not any(left < x < right and bottom < y < top for left, right, bottom, top in boxes)
