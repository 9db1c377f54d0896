"""How the front's figure marks an operating point: standing, cost, fixed or found, cut off or not, emulated or not."""

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.text import Annotation

from explorer.figures.data import joint_front, stage_shares, sweep_curve
from explorer.figures.front import draw_front
from explorer.figures.style import PRECISION_COLOURS
from explorer.front.rows import FrontRow
from tests.explorer.figures.test_data import row

BLACK, WHITE, FP32 = to_rgba("black"), to_rgba("white"), to_rgba(PRECISION_COLOURS["fp32"])
FIXED_DOT = 7.0  # square points


def drawn(*rows: FrontRow) -> Axes:
    """The axes of the panel over size."""
    return next(axes for axes in draw_front(joint_front(rows), "size").axes if axes.get_ylabel())


def marks(axes: Axes, size: float) -> list[PathCollection]:
    """What is drawn at one size: the marker of the point, then its dot if it has one."""
    found = [each for each in axes.collections if isinstance(each, PathCollection)]
    return [each for each in found if each.get_offsets().tolist() == [[size, 20.0 * size]]]


def colours(mark: PathCollection) -> tuple[Sequence[float], Sequence[float]]:
    """Of the face and of the edge, without the alpha."""
    return tuple(mark.get_facecolor()[0][:3]), tuple(mark.get_edgecolor()[0][:3])


def point(trial: int, size: float, **changes: object) -> FrontRow:
    """A point of a size that no other has, with a DER of 20 times that."""
    return row(trial, der=20.0 * size, size=size, chunk_length=size / 2, **changes)


def test_points_of_the_front_are_filled_and_all_others_hollow() -> None:
    axes = drawn(point(0, 1.0), point(1, 2.0, standing="dominated"), point(2, 3.0, standing="infeasible"))
    (on_front,), (dominated,), (infeasible,) = (marks(axes, size) for size in (1.0, 2.0, 3.0))
    assert colours(on_front) == (FP32[:3], BLACK[:3])
    assert colours(dominated) == colours(infeasible) == (WHITE[:3], FP32[:3])
    # only what is over a budget has a dotted edge
    dashes = [mark.get_linestyle()[0][1] for mark in (on_front, dominated, infeasible)]
    assert dashes[:2] == [None, None]
    assert dashes[2] is not None


def test_the_area_of_a_marker_grows_with_the_logarithm_of_the_rtf() -> None:
    """From 40 square points at an RTF of 0.01 to 190 at 1: 0.1 lies in the middle, and beyond the ends it stays."""
    rtfs = (0.001, 0.01, 0.1, 1.0, 3.0)
    axes = drawn(*(point(place, 1.0 + place, rtf=rtf) for place, rtf in enumerate(rtfs)))
    areas = [float(marks(axes, 1.0 + place)[0].get_sizes()[0]) for place in range(len(rtfs))]
    assert areas == pytest.approx([40.0, 40.0, 115.0, 190.0, 190.0])


def test_fixed_points_have_a_dot_and_found_ones_have_none() -> None:
    axes = drawn(point(0, 1.0, origin="baseline"), point(1, 2.0), point(2, 3.0, origin="fixed:x", standing="dominated"))
    sizes = [[float(mark.get_sizes()[0]) for mark in marks(axes, size)][1:] for size in (1.0, 2.0, 3.0)]
    assert sizes == [[FIXED_DOT], [], [FIXED_DOT]]
    # the dot is seen on its marker: white on a filled one, coloured on a hollow one
    assert [colours(marks(axes, size)[1])[0] for size in (1.0, 3.0)] == [WHITE[:3], FP32[:3]]


def test_an_arrow_points_up_where_the_scale_cuts_a_der_off() -> None:
    axes = drawn(point(0, 1.0), point(1, 9.0))  # 20 and 180 %: the scale ends at 22
    arrows = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch is not None]
    arrows = [text for text in arrows if text.anncoords == "offset points"]  # not the lines to the names
    assert [tuple(np.round(text.xy, 6)) for text in arrows] == [(9.0, 22.0)]


def test_a_label_has_the_rtf_of_what_runs_natively_and_says_what_is_emulated() -> None:
    front = joint_front([point(0, 1.0, rtf=0.125), point(1, 2.0, execution="emulated", precision="fp16")])
    assert [one.emulated for one in front.points] == [False, True]
    names = [text for axes in draw_front(front, "size").axes if not axes.get_ylabel() for text in axes.texts]
    said = {text.get_text()[0]: text for text in names if "RTF" in text.get_text()}
    assert said["0"].get_text().endswith("· 20.0 % · RTF 0.125")
    assert said["1"].get_text().endswith("· 40.0 % · RTF emulated")


def test_names_of_the_front_are_bold() -> None:
    front = joint_front([point(0, 1.0), point(1, 2.0, standing="dominated")])
    names = [text for axes in draw_front(front, "size").axes if not axes.get_ylabel() for text in axes.texts]
    assert {text.get_text()[0]: text.get_weight() for text in names if "RTF" in text.get_text()} == {
        "0": "bold",
        "1": "normal",
    }


def test_a_bar_of_stages_says_whether_its_point_is_emulated() -> None:
    shares = stage_shares(joint_front([point(0, 1.0), point(1, 2.0, execution="emulated")]).points)
    assert shares is not None
    assert [(bar.trial, bar.emulated) for bar in shares.bars] == [(0, False), (1, True)]


def test_a_point_keeps_whether_it_is_tied_with_the_best() -> None:
    rows = [point(0, 1.0), point(1, 2.0, tied_with_best=True), point(2, 3.0, tied_with_best=False)]
    assert [one.tied_with_best for one in joint_front(rows).points] == [None, True, False]


def test_a_point_of_a_sweep_has_each_kind_of_error_and_both_ends_of_its_spread() -> None:
    told = {"false_alarm": 1.5, "missed_detection": 2.5, "confusion": 35.5, "rtf": 0.2, "rtf_low": 0.1, "rtf_high": 0.5}
    curve = sweep_curve([row(0, "baseline", der=39.5, **told), row(1, "fixed:R=1", right_context=1.0)], "figure1")
    assert curve is not None
    assert curve.zero is not None
    assert {name: getattr(curve.zero, name) for name in told} == told
    assert curve.zero.der == 39.5
