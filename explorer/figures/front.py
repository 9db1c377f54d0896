"""The joint front, drawn: DER against size and against latency, with every fixed point named beside the axes."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from explorer.figures import style
from explorer.figures.data import FrontPoint, JointFront
from explorer.figures.style import new_figure, spread, styled

SMALLEST, LARGEST = 40.0, 190.0  # areas of markers, square points
RTFS = 0.01, 1.0  # RTF of the smallest and of the largest marker
LINE = 0.145  # inches per label
LEAST_PANEL = 3.4  # inches
MOST_LABELS = 60  # more would not fit a page; fixed points come first
MARGIN = 1.035  # factor on the scale of DER, below and above
ROOM_FOR_ARROW = 1.1  # the same factor, above the end of the scale
LEGEND = 1.0  # inches
GREY = "#666666"

Axis = Literal["size", "latency", "rtf"]  # what DER is drawn against
X_LABELS: dict[Axis, str] = {"size": "size, MiB (log)", "latency": "latency, s (log)", "rtf": "RTF (log)"}


def draw_front(front: JointFront, *axes: Axis) -> Figure:
    """Draw a panel for each axis, one above the other; by default the two of `explorer front --plot`."""
    drawn = axes or ("size", second_axis(front))
    with styled():
        heights = [_height(front)] * len(drawn) + [LEGEND]
        figure = new_figure(sum(heights))
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, axis in zip(parts, drawn, strict=False):
            _panel(part, front, axis)
        _legend(parts[-1], front)
        return figure


def second_axis(front: JointFront) -> Axis:
    """Return `latency`, or `rtf` for an offline study, which has no latency."""
    return "latency" if any(point.latency is not None for point in front.points) else "rtf"


def labelled(points: Sequence[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Return the points to name: all fixed points, and as many of the front as a page holds, evenly along it."""
    fixed = [point for point in points if point.fixed]
    searched = [point for point in points if not point.fixed]
    room = max(0, MOST_LABELS - len(fixed))
    if len(searched) > room:
        searched = [searched[int(place)] for place in np.linspace(0, len(searched) - 1, room)]
    return tuple(sorted([*fixed, *searched], key=lambda point: point.der))


def _height(front: JointFront) -> float:
    return max(LEAST_PANEL, LINE * len(labelled(front.points)) + 0.7)


def _panel(part: SubFigure, front: JointFront, axis: Axis) -> None:
    axes, names = part.subplots(1, 2, width_ratios=[1.35, 1], gridspec_kw={"wspace": 0.0})
    names.axis("off")
    names.set(xlim=(0, 1), ylim=(0, 1))
    axes.set(xscale="log", xlabel=X_LABELS[axis], ylabel="DER, % (log)")
    plain_log(axes)
    top = front.ceiling or math.inf
    others = [other for other in front.others if other.der <= top and getattr(other, axis) is not None]
    places = [getattr(other, axis) for other in others]
    axes.scatter(places, [other.der for other in others], s=9, c="#BBBBBB", linewidths=0, zorder=1)
    for point in front.points:
        _mark(axes, point, getattr(point, axis), min(point.der, top))
    drawn = [min(point.der, top) for point in front.points] + [other.der for other in others]
    low, high = min(drawn) / MARGIN, max(drawn) * (MARGIN if front.ceiling is None else ROOM_FOR_ARROW)
    axes.set(yscale="log", ylim=(low, high))
    ticks = MaxNLocator(9, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= min(high, top)]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if front.ceiling is not None:
        axes.axhline(front.ceiling, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    _name(axes, names, front, axis, _height(front))


def plain_log(axes: Axes, which: str = "x") -> None:
    """Put plain numbers on a log axis, as many as fit."""
    scale = axes.xaxis if which == "x" else axes.yaxis
    scale.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    scale.set_minor_formatter(NullFormatter())


def _mark(axes: Axes, point: FrontPoint, x: float, y: float) -> None:
    colour, marker = style.PRECISION_COLOURS[point.precision], style.STRUCTURE_MARKERS[point.structure][1]
    look: dict[str, Any] = {"facecolors": "white", "edgecolors": colour, "linewidths": 1.0, "alpha": 0.9, "zorder": 3}
    dot = colour
    if point.standing == "front":
        look = {"facecolors": colour, "edgecolors": "black", "linewidths": 1.1, "alpha": 1.0, "zorder": 4}
        dot = "white"
    edge = ":" if point.standing == "infeasible" else "-"
    axes.scatter([x], [y], s=_area(point.rtf), marker=marker, linestyles=edge, **look)
    if point.fixed:
        axes.scatter([x], [y], s=7, c=dot, linewidths=0, zorder=5)
    if y < point.der:
        arrow = {"arrowstyle": "<|-", "color": "black"}
        axes.annotate("", (x, y), (0, 16), textcoords="offset points", arrowprops=arrow, zorder=6)


def _area(rtf: float) -> float:
    """Return a marker's area in square points: it grows with the logarithm of the RTF, within the limits."""
    low, high = map(math.log, RTFS)
    share = (min(max(math.log(rtf), low), high) - low) / (high - low)
    return SMALLEST + share * (LARGEST - SMALLEST)


def _name(axes: Axes, names: Axes, front: JointFront, axis: Axis, height: float) -> None:
    """Write names beside the axes, each at the height of its point if there is room, with a line between them."""
    points = labelled(front.points)
    low, high = map(math.log, axes.get_ylim())
    line = 1.0 / (height - 0.7) * LINE
    wanted = [(math.log(min(point.der, front.ceiling or math.inf)) - low) / (high - low) for point in points]
    places = spread(wanted, line, 0.0, 1.0)
    line_between = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0}
    for point, y in zip(points, places, strict=True):
        weight = "bold" if point.standing == "front" else "normal"
        names.text(0.03, y, _label(point), fontsize=7.5, va="center", weight=weight, parse_math=False)
        mark = (getattr(point, axis), min(point.der, front.ceiling or math.inf))
        beside: dict[str, Any] = {"textcoords": axes.transData, "annotation_clip": False}
        names.annotate("", (0.02, y), mark, arrowprops=line_between, **beside)


def _label(point: FrontPoint) -> str:
    rtf = "RTF emulated" if point.emulated else f"RTF {point.rtf:.3f}"
    trials = "=".join(str(trial) for trial in point.trials[:3]) + ("=…" if len(point.trials) > 3 else "")
    return f"{trials}  {point.label} · {point.der:.1f} % · {rtf}"


def _legend(part: SubFigure, front: JointFront) -> None:
    axes = part.subplots()
    axes.axis("off")
    precisions = [name for name in style.PRECISION_COLOURS if any(point.precision == name for point in front.points)]
    structures = [name for name in style.STRUCTURE_MARKERS if any(point.structure == name for point in front.points)]
    standing = [
        _key("on the front", face=GREY, edge="black", edge_width=1.3),
        _key("dominated", face="white", edge=GREY),
        _key("fixed point", face="white", edge=GREY, dot=True),
    ]
    columns = [
        ("precision", [_key(name, face=style.PRECISION_COLOURS[name]) for name in precisions]),
        ("pruning", [_key(name, marker=style.STRUCTURE_MARKERS[name][1]) for name in structures]),
        ("standing", standing),
        ("RTF", [_sized(rtf) for rtf in (RTFS[0], 0.1, RTFS[1])]),
    ]
    gaps = {"columnspacing": 1.0, "handletextpad": 0.4, "labelspacing": 0.6, "borderaxespad": 0.0}
    for place, (title, keys) in zip((0.0, 0.34, 0.56, 0.84), columns, strict=True):
        look: dict[str, Any] = {"loc": "upper left", "ncols": 2 if len(keys) > 3 else 1, "alignment": "left", **gaps}
        labels = [str(key.get_label()) for key in keys]
        axes.add_artist(Legend(axes, keys, labels, title=title, bbox_to_anchor=(place, 1.0), **look))


def _key(
    name: str, face: str = "white", edge: str = GREY, edge_width: float = 1.0, marker: str = "o", dot: bool = False
) -> Line2D:
    if dot:
        marker, edge_width = r"$\odot$", 0.5
    colours: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": edge_width}
    return Line2D([], [], linestyle="none", marker=marker, markersize=7, label=name, **colours)


def _sized(rtf: float) -> Line2D:
    key = _key(f"{rtf:g}")
    key.set_markersize(math.sqrt(_area(rtf)))
    return key
