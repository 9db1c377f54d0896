"""The paper's sweeps: what is fixed stays fixed, what varies spans its range on a log scale."""

import itertools
import math

import pytest

from objectives.errors import OperatingPointError
from objectives.operating_point import OFFLINE_BASELINE, PRECISIONS, UNPRUNED, OperatingPoint, Pruning
from studies.paper import (
    baseline_point,
    chunk_length_point,
    precision_point,
    pruning_of,
    right_context_point,
    sweep,
    variant_point,
)
from studies.published import TABLE1, TABLE2, TABLE2_VARIANT, place, published


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


def test_variants_are_named_as_in_table_1() -> None:
    assert pruning_of("Baseline") == UNPRUNED
    assert pruning_of("Hidden-40") == Pruning("hidden", 0.4)
    assert pruning_of("Both-60") == Pruning("both", 0.6)
    assert [str(pruning_of(variant)) for variant in TABLE1] == ["none", *list(TABLE1)[1:]]


@pytest.mark.parametrize("name", ["hidden-40", "Hidden", "Hidden-", "Hidden-4.5", "None-40", "Hidden-96", "Hidden-0"])
def test_a_variant_that_there_is_not(name: str) -> None:
    with pytest.raises(OperatingPointError):
        pruning_of(name)


def test_points_of_the_tables() -> None:
    linear = Pruning("linear", 0.4)
    assert variant_point("Linear-40").origin == "paper:table1:Linear-40"
    assert variant_point("Linear-40").point == OperatingPoint(1.0, 0.0, linear)
    assert variant_point("Linear-40", "offline").point == OperatingPoint(pruning=linear, mode="offline")
    assert variant_point("Both-50").origin == "fixed:Both-50"
    assert variant_point("Baseline", "offline").point == OFFLINE_BASELINE == baseline_point("offline").point
    int8 = precision_point("int8_ptq", "Linear-40")
    assert (int8.origin, int8.point) == ("paper:table2:INT8_PTQ", OperatingPoint(1.0, 0.0, linear, "int8_ptq"))
    assert precision_point("fp32", "Linear-40").point == variant_point("Linear-40").point


def test_published_figures_belong_to_origins() -> None:
    assert published("paper:table1:Hidden-80").der == 50.47
    assert published("paper:table2:INT4_QAT").size == 0.89
    assert place("paper:table2:FP32") == ("table2", "FP32")
    for origin in ("baseline", "search", "paper:figure1:R=0.5", "fixed:Both-50", "paper:table2:Hidden-80"):
        assert published(origin) is None
    assert list(TABLE2) == [precision.upper() for precision in PRECISIONS]
    assert TABLE2["FP32"] == TABLE1[TABLE2_VARIANT]


def test_the_paper_chose_the_pruned_variant_of_lowest_der() -> None:
    assert min(list(TABLE1)[1:], key=lambda variant: TABLE1[variant].der) == TABLE2_VARIANT
