"""The paper's sweeps: what is fixed stays fixed, what varies spans its range on a log scale."""

import itertools
import math
from dataclasses import replace

import pytest

from objectives.errors import OperatingPointError
from objectives.operating_point import (
    BASELINE,
    OFFLINE_BASELINE,
    PRECISIONS,
    UNPRUNED,
    OnlineTracking,
    OperatingPoint,
    Pruning,
)
from studies.fixed_points import (
    FixedPoint,
    baseline_point,
    online_twin,
    precision_point,
    pruning_of,
    sweep,
    swept_point,
    variant_point,
)
from studies.paper_results import REMARKS, TABLE1, TABLE2, TABLE2_VARIANT, Published, place, published


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
    assert swept_point("figure1", 0.5).origin == "paper:figure1:R=0.5"
    assert swept_point("figure2", 0.02).origin == "paper:figure2:C=0.02"
    assert swept_point("figure2", 0.3).origin == "fixed:C=0.3"
    assert swept_point("figure2", 0.3).point == OperatingPoint(0.3, 0.0)
    assert swept_point("figure1", 0.3) == FixedPoint("fixed:R=0.3", OperatingPoint(1.0, 0.3))


def test_a_point_outside_the_design_space() -> None:
    with pytest.raises(OperatingPointError, match="right context R = 7 s"):
        swept_point("figure1", 7.0)


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


PRINTED = """\
Table 1
Baseline	1.47	5.63	0.0232	10.70
Hidden-20	1.01	3.86	0.0225	19.24
Hidden-40	0.69	2.65	0.0221	27.71
Hidden-60	0.47	1.82	0.0224	35.88
Hidden-80	0.33	1.26	0.0224	50.47
Linear-20	1.46	5.59	0.0225	14.94
Linear-40	1.45	5.55	0.0223	12.66
Linear-60	1.45	5.52	0.0222	25.97
Linear-80	1.44	5.50	0.0222	35.86
Table 2
FP32	1.45	5.55	0.0223	12.66
FP16	1.45	2.78	0.0250	15.02
INT8_PTQ	1.45	1.54	0.0227	23.67
INT8_QAT	1.45	1.54	0.0226	19.02
INT4_PTQ	1.45	0.89	0.0227	47.80
INT4_QAT	1.45	0.89	0.0229	44.93
"""


def test_published_figures_are_those_that_are_printed() -> None:
    """In the paper's own order of columns; Table 2 has no parameters, which are those of Linear-40."""
    lines = ["Table 1", *map(_line, TABLE1.items()), "Table 2", *map(_line, TABLE2.items())]
    assert "\n".join(lines) + "\n" == PRINTED
    assert (REMARKS["figure1"].low, REMARKS["figure1"].high) == (1.0, 5.0)
    assert (REMARKS["figure2"].low, REMARKS["figure2"].high) == (0.02, 0.1)


def _line(row: tuple[str, Published]) -> str:
    name, told = row
    return f"{name}\t{told.params:.2f}\t{told.size:.2f}\t{told.rtf:.4f}\t{told.der:.2f}"


def test_points_that_are_tracked_online_have_the_thresholds_that_are_asked_for() -> None:
    asked = OnlineTracking(tau_active=0.4, min_duration_off=0.5)
    expected = OperatingPoint(1.0, 0.0, mode="online", online=asked)
    pruned = replace(expected, pruning=Pruning("linear", 0.4))
    assert baseline_point("online", asked).point == expected
    assert variant_point("Linear-40", "online", asked).point == pruned
    assert precision_point("fp16", "Linear-40", "online", asked).point == replace(pruned, precision="fp16")
    twin = online_twin(swept_point("figure1", 0.5), asked)
    assert (twin.origin, twin.point) == ("online:figure1:R=0.5", replace(expected, right_context=0.5))
    assert online_twin(baseline_point(), asked) == FixedPoint("online:baseline", expected)
    assert online_twin(swept_point("figure2", 0.3)).origin == "online:C=0.3"
    # chunk-wise there is nothing to track by
    assert {baseline_point("chunk-wise", asked).point, variant_point("Baseline", "chunk-wise", asked).point} == {
        BASELINE
    }


def test_published_figures_belong_to_origins() -> None:
    assert published("paper:table1:Hidden-80").der == 50.47
    assert published("paper:table2:INT4_QAT").size == 0.89
    assert place("paper:table2:FP32") == ("table2", "FP32")
    elsewhere = ("paper:table2:Hidden-80", "paper:table1:FP16", "online:table1:Linear-40", "table1:Linear-40")
    for origin in ("baseline", "search", "paper:figure1:R=0.5", "fixed:Both-50", *elsewhere):
        assert published(origin) is None
    assert list(TABLE2) == [precision.upper() for precision in PRECISIONS]
    assert TABLE2["FP32"] == TABLE1[TABLE2_VARIANT]


def test_the_paper_chose_the_pruned_variant_of_lowest_der() -> None:
    assert min(list(TABLE1)[1:], key=lambda variant: TABLE1[variant].der) == TABLE2_VARIANT
