"""Drawing, by matplotlib: one style for all figures, and figures as files or as a part of a page.

Figures are made without pyplot, so that nothing is global and no screen is asked for.
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

WIDTH = 9.0  # inches, of every figure: on a page of A4 its text of 9 points becomes one of 7
DOTS = 150  # an inch, of a PNG
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
    "text.hinting": "no_hinting",  # else letters are wider at one resolution than at another
    "svg.fonttype": "path",  # letters as shapes: what was laid out without overlap stays so, whatever fonts are there
    "svg.hashsalt": "explorer",  # the same figure is the same file
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
}
NO_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None, "Format": None, "Type": None}}


@contextmanager
def styled() -> Iterator[None]:
    """Whatever is drawn inside has the style of the report, whatever the user's matplotlib is set to."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        # a name in a script that the font lacks is drawn as boxes, and is in the table as it should be
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of the report's width. height: inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def as_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file. kind: `png`, `svg` or `pdf`. The same figure gives the same bytes, but for a PDF's date."""
    sheet = io.BytesIO()
    with styled():
        if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
            figure.draw_without_rendering()  # lays it out, once for all of its files
            figure.set_layout_engine("none")
        figure.savefig(sheet, format=kind, dpi=DOTS, metadata=NO_METADATA.get(kind))
    return sheet.getvalue()


def as_inline_svg(figure: Figure, name: str, alternative: str) -> str:
    """The figure as a part of an HTML page.

    name: of the figure; its ids begin with it, so that several figures in one page do not clash. alternative: what a
    screen reader says in its place. Names of XML's namespaces are left out, which HTML does without.
    """
    text = as_bytes(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace('xlink:href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    # the page's width decides; the view box keeps the proportions
    head, _, body = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(alternative)}">{body}'


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions between `low` and `high`, as near as possible to those wanted (least squares), in their order and at
    least `gap` apart; nearer to one another only where there is no room for that."""
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(order))
    # with the gaps taken out of it the order is all that must be kept: isotonic regression, whose bounds are a clip
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
STRUCTURE_MARKERS: Mapping[Structure, str] = {
    "none": "circle",
    "hidden": "square",
    "linear": "diamond",
    "both": "cross",
}
OURS, PUBLISHED = BLUE, VERMILION  # of curves and bars: measured here, and reported by the paper
