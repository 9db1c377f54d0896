"""Colours and markers of every figure: told apart by the colour-blind, on a screen and in grey print.

Colours are those of Okabe and Ito (Color Universal Design, 2008). What a colour says, a marker or a label says as well.
"""

from collections.abc import Mapping

from objectives.operating_point import Precision, Structure

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"

PRECISION_COLOURS: Mapping[Precision, str] = {
    "fp32": BLACK,
    "fp16": SKY,
    "int8_ptq": ORANGE,
    "int8_qat": VERMILION,
    "int4_ptq": BLUE,
    "int4_qat": GREEN,
}
STRUCTURE_MARKERS: Mapping[Structure, str] = {
    "none": "circle",
    "hidden": "square",
    "linear": "diamond",
    "both": "cross",
}
OURS, PUBLISHED = BLUE, VERMILION  # of curves and bars: measured here, and reported by the paper
