"""Draw the paper's Figures 1, 2 and 3 from our measurements, stages of the compute, and DER against overlap."""

from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from explorer.figures import style
from explorer.figures.data import StageShares, SweepCurve, SweepPoint
from explorer.figures.front import GREY, plain_log
from explorer.figures.per_recording import OverlapFigure, PrecisionDeltas
from explorer.figures.style import WIDTH, new_figure, spread, styled
from objectives.operating_point import CHUNK_LENGTH_RANGE, RIGHT_CONTEXT_RANGE
from studies.paper_results import REMARKS

BAR = 0.24  # inches
SMALL = 7.5  # points, of text inside a figure
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}  # a legend
MOST_NAMES = 16  # recordings; more names than these are unreadable above a figure
PUBLISHED_GROUND, PUBLISHED_LINES = "#FCF1EA", "#EDBFA0"  # palette.PUBLISHED, paler
STAGE_LOOKS = {  # distinguished by their hatches in grey print
    "segmentation": (style.BLUE, ""),
    "embedding": (style.ORANGE, "////"),
    "clustering": (style.GREEN, "...."),
    "other": ("#CCCCCC", "xxxx"),
}
SERIES_LOOKS = ((style.BLACK, "o"), (style.VERMILION, "D"))
SWEPT = {  # name, and the range of the paper's sweep
    "figure1": ("right context R, s (log)", RIGHT_CONTEXT_RANGE),
    "figure2": ("chunk length C, s (log)", CHUNK_LENGTH_RANGE),
}


def _ground(pad: float) -> dict[str, object]:
    """Return the box behind a text that lies on a drawing."""
    return {"boxstyle": f"round,pad={pad}", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}


def draw_sweep(curve: SweepCurve) -> Figure:
    """Draw Figure 1 (DER over R at C = 1 s) or Figure 2 (DER over C at R = 0), with the RTF below. The part that the
    paper's text describes is hatched, and marked as published."""
    with styled():
        if curve.figure == "figure1":
            figure = new_figure(3.6)
            above = figure.subplots()
            axes = [above]
        else:
            figure = new_figure(5.4)
            above, below = axes = list(figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1]))
            _draw_rtf(below, curve)
        _draw_der(above, curve)
        label, (low, high) = SWEPT[curve.figure]
        axes[-1].set(xlabel=label, xlim=(low / 1.15, high * 1.15))
        above.legend(ncols=3, **ABOVE)
        return figure


def draw_deltas(found: PrecisionDeltas) -> Figure:
    """Draw Figure 3: one box per precision mode, between quartiles, with whiskers from the smallest to the largest."""
    with styled():
        figure = new_figure(1.6 + 0.55 * len(found.summaries))
        axes = figure.subplots()
        axes.axvline(0.0, color=style.VERMILION, linestyle="--", linewidth=1.2, label=f"FP32 of {found.pruning}")
        names: list[str] = [summary.precision for summary in found.summaries]
        boxes = [
            {"med": s.median, "q1": s.lower_quartile, "q3": s.upper_quartile, "whislo": s.smallest, "whishi": s.largest}
            for s in found.summaries
        ]
        drawn = axes.bxp(boxes, orientation="horizontal", showfliers=False, widths=0.5, patch_artist=True)
        for box, summary in zip(drawn["boxes"], found.summaries, strict=True):
            box.set(facecolor=style.PRECISION_COLOURS[summary.precision], alpha=0.35, edgecolor="black")
        for line in drawn["medians"]:
            line.set(color="black", linewidth=2.0)
        heights = range(1, len(names) + 1)
        below = [1 + names.index(delta.precision) - 0.36 for delta in found.deltas]
        axes.scatter([delta.delta for delta in found.deltas], below, s=10, c=GREY, linewidths=0, label="recording")
        p90, largest = [s.p90 for s in found.summaries], [s.largest for s in found.summaries]
        axes.scatter(p90, heights, marker="D", s=34, c="white", edgecolors="black", zorder=5, label="P90")
        axes.scatter(largest, heights, marker="x", s=44, c="black", zorder=5, label="maximum")
        axes.set_yticks(heights, [s.precision + (" (emulated)" if s.emulated else "") for s in found.summaries])
        axes.set(ylim=(len(names) + 0.6, 0.3), xlabel="ΔDER by recording, percentage points")
        axes.grid(axis="y", visible=False)
        axes.legend(ncols=4, **ABOVE)
        return figure


def draw_stages(found: StageShares) -> Figure:
    """Draw a stacked bar for each operating point, with its RTF at the end."""
    with styled():
        figure = new_figure(1.0 + BAR * len(found.bars))
        axes = figure.subplots()
        for place, bar in enumerate(found.bars):
            left = 0.0
            for stage, (colour, hatch) in STAGE_LOOKS.items():
                share = 100.0 * float(getattr(bar, stage))
                filled: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.4}
                axes.barh(place, share, left=left, height=0.78, **filled)
                if share >= 6.0:
                    centre, text = left + share / 2, f"{share:.0f}"
                    axes.text(centre, place, text, ha="center", va="center", fontsize=SMALL, bbox=_ground(0.15))
                left += share
            text = f"RTF {bar.rtf:.3f}" + (", emulated" if bar.emulated else "")
            axes.text(101.0, place, text, va="center", fontsize=SMALL)
        axes.set_yticks(range(len(found.bars)), [f"{bar.label}  ({bar.trial})" for bar in found.bars], fontsize=SMALL)
        axes.set(xlim=(0, 100), ylim=(len(found.bars) - 0.4, -0.6), xlabel="share of the compute, %")
        axes.grid(axis="y", visible=False)
        keys = [
            Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=stage)
            for stage, (colour, hatch) in STAGE_LOOKS.items()
        ]
        axes.legend(handles=keys, ncols=4, **ABOVE)
        return figure


def draw_overlap(found: OverlapFigure) -> Figure:
    """Draw each recording's DER over its share of overlapped speech; a thin line joins a recording's points."""
    with styled():
        figure = new_figure(4.2)
        axes = figure.subplots()
        recordings: dict[str, list[tuple[float, float]]] = {}
        for point in found.points:
            recordings.setdefault(point.uri, []).append((100.0 * point.overlap_share, point.der))
        for places in recordings.values():
            for (x, y), (other_x, other_y) in pairwise(sorted(places)):
                axes.plot([x, other_x], [y, other_y], color="#999999", linewidth=0.7, zorder=1)
        series = list(dict.fromkeys(point.series for point in found.points))
        for (colour, marker), name in zip(SERIES_LOOKS, series, strict=False):
            own = [point for point in found.points if point.series == name]
            shares, ders = [100.0 * point.overlap_share for point in own], [point.der for point in own]
            look: dict[str, Any] = {"s": 38, "c": colour, "marker": marker, "edgecolors": "white", "linewidths": 0.6}
            axes.scatter(shares, ders, label=name, zorder=3, **look)
        axes.set(xlabel="overlapped speech, % of the recording's speech", ylabel="DER of the recording, %")
        axes.set_ylim(bottom=0.0)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.13 if len(recordings) <= MOST_NAMES else 1.0), ncols=2)
        if len(recordings) <= MOST_NAMES:
            _name_recordings(axes, {uri: max(places, key=lambda place: place[1]) for uri, places in recordings.items()})
        return figure


def _draw_der(axes: Axes, curve: SweepCurve) -> None:
    remark = REMARKS[curve.figure]
    axes.axvspan(  # no transparency: SVG has none in a hatch
        remark.low, remark.high, facecolor=PUBLISHED_GROUND, hatch="//", edgecolor=PUBLISHED_LINES,
        linewidth=0.0, label="published (SIMSAMU, NVIDIA L40S), in words: see the caption", zorder=0,
    )  # fmt: skip
    _line(axes, curve.points, [point.der for point in curve.points])
    beside: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": SMALL, "bbox": _ground(0.1)}
    for point in curve.points:
        axes.annotate(f"{point.der:.1f}", (point.value, point.der), (0, 8), **beside)
    if curve.zero is not None:
        axes.axhline(curve.zero.der, color=GREY, linestyle=":", linewidth=1.2, label=f"R = 0: {curve.zero.der:.1f} %")
    axes.set(xscale="log", ylabel="DER, %")
    axes.margins(y=0.18)
    plain_log(axes)


def _draw_rtf(axes: Axes, curve: SweepCurve) -> None:
    rtfs = [point.rtf for point in curve.points]
    _line(axes, curve.points, rtfs)
    below = [point.rtf - point.rtf_low for point in curve.points]
    above = [point.rtf_high - point.rtf for point in curve.points]
    axes.errorbar([p.value for p in curve.points], rtfs, [below, above], fmt="none", ecolor=style.OURS, capsize=3)
    axes.axhline(1.0, color="black", linestyle="--", linewidth=0.9)
    at_the_end: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    axes.annotate("real time", (1.0, 1.0), (0, 3), fontsize=SMALL, **at_the_end)
    axes.set(yscale="log", ylabel="RTF (log)")
    plain_log(axes, "y")


def _line(axes: Axes, points: tuple[SweepPoint, ...], heights: list[float]) -> None:
    values = [point.value for point in points]
    axes.plot(values, heights, color=style.OURS, marker="o", markersize=6, linewidth=1.6, label="measured here")


def _name_recordings(axes: Axes, tops: dict[str, tuple[float, float]]) -> None:
    """Write the recordings' names above the axes, each above its point if there is room, with a line down to it."""
    low, high = axes.get_xlim()
    names = sorted(tops, key=lambda uri: tops[uri])
    gap = max(len(name) for name in names) * 0.075 / (WIDTH * 0.9)  # inches per letter, as a share of the axes
    places = spread([(tops[name][0] - low) / (high - low) for name in names], gap, 0.02, 0.98)
    for name, place in zip(names, places, strict=True):
        axes.annotate(
            name, tops[name], (place, 1.03), textcoords="axes fraction", ha="center", va="bottom", fontsize=SMALL,
            arrowprops={"arrowstyle": "-", "color": "#BBBBBB", "linewidth": 0.5},
            annotation_clip=False, parse_math=False,
        )  # fmt: skip
