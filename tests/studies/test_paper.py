"""The paper's sweeps: what is fixed stays fixed, what varies spans its range on a log scale."""

import itertools
import math

import pytest

from objectives.errors import OperatingPointError
from objectives.operating_point import OperatingPoint
from studies.paper import chunk_length_point, right_context_point, sweep


def test_figure_1_fixes_the_chunk() -> None:
    points = [fixed.point for fixed in sweep("figure1")]
    assert {point.chunk_length for point in points} == {1.0}
    assert (points[0].right_context, points[-1].right_context) == (0.01, 5.0)


def test_figure_2_looks_nowhere_ahead() -> None:
    points = [fixed.point for fixed in sweep("figure2")]
    assert {point.right_context for point in points} == {0.0}
    assert (points[0].chunk_length, points[-1].chunk_length) == (0.02, 5.0)


@pytest.mark.parametrize(("name", "axis"), [("figure1", "right_context"), ("figure2", "chunk_length")])
def test_sweeps_are_log_spaced(name: str, axis: str) -> None:
    values = [getattr(fixed.point, axis) for fixed in sweep(name)]
    steps = [math.log10(high / low) for low, high in itertools.pairwise(values)]
    assert min(steps) == pytest.approx(0.301, abs=0.001)  # a factor of 2
    assert max(steps) == pytest.approx(0.398, abs=0.001)  # a factor of 2.5


def test_origins_say_where_from() -> None:
    assert right_context_point(0.5).origin == "paper:figure1:R=0.5"
    assert chunk_length_point(0.02).origin == "paper:figure2:C=0.02"
    assert chunk_length_point(0.3).origin == "fixed:C=0.3"
    assert chunk_length_point(0.3).point == OperatingPoint(0.3, 0.0)
    assert right_context_point(0.3).point == OperatingPoint(1.0, 0.3)


def test_a_point_outside_the_design_space() -> None:
    with pytest.raises(OperatingPointError, match="right context R = 7 s"):
        right_context_point(7.0)
