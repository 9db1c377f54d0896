"""One matplotlib style for all figures, and figures as files or as a part of a page.

Figures are made without pyplot, so that there is no global state and no display is needed.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from scipy.optimize import isotonic_regression

from objectives.operating_point import Precision, Structure

WIDTH = 9.0  # inches, of every figure: on A4 paper, 9-point text becomes 7-point
DOTS = 150  # per inch, of a PNG
STYLE: Mapping[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "text.hinting": "no_hinting",  # otherwise letter widths depend on the resolution
    "svg.fonttype": "path",  # letters as shapes: the layout does not depend on the reader's fonts
    "svg.hashsalt": "explorer",  # the same figure gives the same file
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
}
NO_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None, "Format": None, "Type": None}}


@contextmanager
def styled() -> Iterator[None]:
    """Draw everything inside in the report's style, whatever the user's matplotlib settings are."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        # a name in a script that the font lacks is drawn as boxes; the table shows it properly
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def new_figure(height: float) -> Figure:
    """Return an empty figure of the report's width. height: inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def as_bytes(figure: Figure, kind: str) -> bytes:
    """Return the figure as a file. kind: `png`, `svg` or `pdf`. The same figure gives the same bytes, except in PDF."""
    sheet = io.BytesIO()
    with styled():
        if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
            figure.draw_without_rendering()  # computes the layout once, for all of its files
            figure.set_layout_engine("none")
        figure.savefig(sheet, format=kind, dpi=DOTS, metadata=NO_METADATA.get(kind))
    return sheet.getvalue()


def as_inline_svg(figure: Figure, name: str, alternative: str) -> str:
    """Return the figure as a part of an HTML page.

    name: of the figure; its ids begin with it, so that several figures in one page do not clash. alternative: what a
    screen reader says instead. XML namespace declarations are left out, since HTML does not need them.
    """
    text = as_bytes(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace('xlink:href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    # the page sets the width; the view box keeps the proportions
    head, _, body = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(alternative)}">{body}'


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions between `low` and `high`, as near as possible to those wanted (least squares), in the same order
    and at least `gap` apart; closer together only if there is no room."""
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(order))
    # after subtracting the gaps only the order must be kept: isotonic regression, whose bounds are a clip
    free = isotonic_regression(np.asarray(wanted, dtype=float)[order] - steps).x
    positions = np.empty(len(order))
    positions[order] = np.clip(free, low, high - steps[-1]) + steps
    return [float(position) for position in positions]


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
STRUCTURE_MARKERS: Mapping[Structure, tuple[str, str]] = {  # of plotly and of matplotlib
    "none": ("circle", "o"),
    "hidden": ("square", "s"),
    "linear": ("diamond", "D"),
    "both": ("cross", "P"),
}
OURS, PUBLISHED = BLUE, VERMILION  # colours of curves and bars: measured here, and reported by the paper
