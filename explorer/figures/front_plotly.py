"""Interactive figures: plotly figures made from the front's rows. A point's standing shows by more than its colour.

Colour is the precision, shape the pruning structure. A ring is a fixed point, labelled by origin if there is room.
Large is on the front, small and faint is dominated, an x is infeasible, hollow is emulated: its RTF is not a gain.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.figures.style import BLACK, PRECISION_COLOURS, STRUCTURE_MARKERS
from explorer.front.rows import Figures, FrontRow
from explorer.front.table import spread, standing
from explorer.storage import trial_record as record
from objectives.errors import StudyError
from objectives.operating_point import PRECISIONS, STRUCTURES, describe

DER, SIZE, RTF, LATENCY = "der", "size", "rtf", "latency"
TITLES = {DER: "DER (%)", SIZE: "model size (MiB)", RTF: "real-time factor", LATENCY: "algorithmic latency (s)"}
GREY = "#7f7f7f"
FAINT = 0.5
MOST_NAMED = 5  # of the trials that dominate a row
Box = tuple[float, float, float, float]  # left, right, bottom, top, in shares of a panel's width and height
WIDE = 3.0  # an axis whose largest value is at least this many times its smallest has a log scale


@dataclass(frozen=True)
class Format:
    """Sizes of a figure, in pixels. width, height: of each of two panels side by side, as expected. below: whether the
    legend is below instead of beside. font: of labels. large, small, ring: markers."""

    total: int
    width: int
    height: int
    below: bool
    font: int
    large: int
    small: int
    ring: int


PAGE = Format(total=560, width=480, height=420, below=False, font=11, large=13, small=8, ring=19)
CARD = Format(total=450, width=300, height=255, below=True, font=10, large=11, small=7, ring=16)  # half a page wide


@dataclass(frozen=True)
class Axis:
    """One objective from `low` to `high`, with its ticks, on a log scale or not."""

    name: str
    low: float
    high: float
    log: bool

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends as plotly counts: values, or their logarithms."""
        return (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)

    def place(self, value: float) -> float:
        """Return the position of a value, 0 at the low end and 1 at the high end."""
        low, high = self.ends
        return ((math.log10(value) if self.log else value) - low) / (high - low)

    def coordinate(self, place: float) -> float:
        """Return what an annotation needs for a position: a value, or its logarithm."""
        low, high = self.ends
        return low + place * (high - low)

    def layout(self) -> dict[str, object]:
        """Return the axis as plotly's settings."""
        title, ends = TITLES[self.name], list(self.ends)
        if not self.log:
            return {"title": {"text": title}, "range": ends}
        ticks = _ticks(self.low, self.high)
        labelled = {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
        return {"title": {"text": f"{title}, log"}, "range": ends, "type": "log", **labelled}


def front_figure(rows: Sequence[FrontRow], form: Format = PAGE) -> go.Figure:
    """Draw all three objectives, DER over size and DER over RTF: a point has the same height in both.

    Rows that are not measured are left out, and counted in the title. Raises StudyError if none is measured.
    """
    shown = _measured(rows)
    if not shown:
        raise StudyError("no trial is complete yet, so there is no front to draw")
    heights = _axis(DER, shown)
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.03)
    for column, name in enumerate((SIZE, RTF), start=1):
        across = _axis(name, shown)
        for trace in _traces(shown, name, form):
            figure.add_trace(trace, row=1, col=column)
        for label in _labels(shown, across, heights, form):
            figure.add_annotation(label, row=1, col=column)
        figure.update_xaxes(across.layout(), row=1, col=column)
    figure.update_yaxes(heights.layout())
    figure.update_yaxes(title=None, row=1, col=2)
    figure.add_traces(_legend(shown, form))
    return _finished(figure, "The front of DER, size and RTF", _caption(rows), form)


def der_against_latency(rows: Sequence[FrontRow], form: Format = PAGE) -> go.Figure:
    """Draw DER over latency, with the curves of the paper's Figures 1 and 2 if the study has them.

    Raises StudyError if nothing measured has a latency, as in an offline study.
    """
    shown = [row for row in _measured(rows) if row.latency is not None]
    if not shown:
        raise StudyError("nothing measured has a latency: an offline study has none, or no trial is complete yet")
    across, heights = _axis(LATENCY, shown), _axis(DER, shown)
    figure = go.Figure()
    for name, dash, varied in (("R at C = 1 s", "dot", "right_context"), ("C at R = 0", "dash", "chunk_length")):
        curve = _curve(shown, varied)
        if len(curve) > 2:
            line = {"color": GREY, "width": 1, "dash": dash}
            x, y = ([_value(row, name) for row in curve] for name in (LATENCY, DER))
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip"))
    figure.add_traces([*_traces(shown, LATENCY, form), *_legend(shown, form)])
    for label in _labels(shown, across, heights, replace(form, width=2 * form.width)):
        figure.add_annotation(label)
    figure.update_xaxes(across.layout())
    figure.update_yaxes(heights.layout())
    return _finished(figure, "DER against latency", _caption(rows), form)


def hover(row: FrontRow) -> str:
    """List everything needed to choose an operating point, as lines of plotly's HTML."""
    lines = [f"<b>trial {row.trial}</b>, {row.origin}", f"<b>{standing(row, MOST_NAMED)}</b>", describe(row.point)]
    if row.latency is not None:
        lines.append(f"latency {row.latency:.3g} s")
    found = row.figures
    kept = " ".join(f"{key} {value}" for key, value in found.kept.items())
    lines += [
        f"{found.params / 1e6:.2f} million parameters, kept {kept}",
        f"DER {found.der:.2f} % = {found.false_alarm:.1f} false alarm + {found.missed_detection:.1f} missed "
        f"+ {found.confusion:.1f} confusion",
        f"size {found.size:.2f} MiB",
        f"RTF {rtf_in_words(found)}",
    ]
    if found.update_latency:
        lines.append("update {median:.3f} s, 95 % of them below {p95:.3f} s".format(**found.update_latency))
    if found.reused_from is not None:
        lines.append(f"measured in trial {found.reused_from}")
    return "<br>".join(lines)


def rtf_in_words(found: Figures) -> str:
    """Describe an RTF: `0.1000 [0.0900–0.1100], 0.52 × the FP32 baseline`."""
    ratio = "emulated: no gain" if found.emulated else f"{found.rtf_ratio:.2f} × the FP32 baseline"
    return f"{spread(found.rtf, found.rtf_low, found.rtf_high)}, {ratio}"


def _measured(rows: Sequence[FrontRow]) -> list[FrontRow]:
    return [row for row in rows if row.measurement]


def _caption(rows: Sequence[FrontRow]) -> str:
    shown = _measured(rows)
    parts = [f"{sum(row.standing == 'front' for row in shown)} on the front, {len(shown)} shown."]
    if missing := len(rows) - len(shown):
        parts.append(f"{missing} not measured (yet).")
    if any(row.emulated for row in shown):
        parts.append("Hollow: emulated, its RTF is not a gain.")
    return " ".join(parts)


def _value(row: FrontRow, name: str) -> float:
    value = row.latency if name == LATENCY else getattr(row.figures, name)
    assert value is not None, "only points that have one are drawn over it"
    return float(value)


def _axis(name: str, rows: Sequence[FrontRow]) -> Axis:
    """Return a range around all values; log for size and RTF, which are ratios by nature, and for a wide DER."""
    values = [_value(row, name) for row in rows]
    low, high = min(values), max(values)
    log = low > 0 and (name in (SIZE, LATENCY) or high > WIDE * low)
    if log:
        room = (high / low) ** 0.08 if high > low else 1.2
        return Axis(name, low / room**1.2, high * room**1.5, log)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(name, max(0.0, low - room), high + room, log)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round values between two positive ones; plotly's own log ticks drop the leading digits."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        found = [tick for tick in ticks if low <= tick <= high]
        if len(found) >= 4:
            break
    return found


def _colour(row: FrontRow) -> str:
    return PRECISION_COLOURS[row.point.precision]


def _symbol(row: FrontRow) -> str:
    if row.standing == "infeasible":
        return "x"
    return STRUCTURE_MARKERS[row.point.pruning.structure][0] + ("-open" if row.emulated else "")


def _traces(rows: Sequence[FrontRow], across: str, form: Format) -> list[go.Scatter]:
    """Make one trace per precision, which the legend can hide; the front is drawn above the others, rings below all."""
    fixed = [row for row in rows if _is_fixed(row)]
    traces = [_points(fixed, across, _ring(form), legendgroup="fixed", hoverinfo="skip")]
    for precision in PRECISIONS:
        these = sorted(
            (row for row in rows if row.point.precision == precision), key=lambda row: row.standing == "front"
        )
        if these:
            marker = {
                "color": _colour(these[0]),
                "symbol": [_symbol(row) for row in these],
                "size": [form.large if row.standing == "front" else form.small for row in these],
                "opacity": [1.0 if row.standing == "front" else FAINT for row in these],
            }
            texts = [hover(row) for row in these]
            traces.append(_points(these, across, marker, legendgroup=precision, hovertext=texts, hoverinfo="text"))
    return traces


def _ring(form: Format) -> dict[str, object]:
    return {"symbol": "circle-open", "size": form.ring, "color": BLACK, "line": {"width": 1}}


def _points(rows: Sequence[FrontRow], across: str, marker: Mapping[str, object], **more: object) -> go.Scatter:
    x, y = ([_value(row, name) for row in rows] for name in (across, DER))
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, showlegend=False, **more)


def _legend(rows: Sequence[FrontRow], form: Format) -> list[go.Scatter]:
    """Explain colours, shapes, sizes and rings, as legend entries without points."""
    standings = {row.standing for row in rows}
    precisions = {row.point.precision for row in rows}
    structures = {row.point.pruning.structure for row in rows}
    size = {"size": form.small + 1}
    grey: dict[str, object] = {"color": GREY, **size}
    entries: list[tuple[str, str, dict[str, object], bool]] = [  # name, group, marker, whether it is needed
        *((name, name, {"color": PRECISION_COLOURS[name], **size}, name in precisions) for name in PRECISIONS),
        *(
            (f"pruning: {name}", "", grey | {"symbol": STRUCTURE_MARKERS[name][0]}, name in structures)
            for name in STRUCTURES
        ),
        ("large: on the front", "", grey | {"size": form.large}, True),
        ("ring: fixed point", "fixed", _ring(form), any(map(_is_fixed, rows))),
        ("faint: dominated", "", grey | {"opacity": FAINT}, "dominated" in standings),
        ("x: over a budget", "", grey | {"symbol": "x"}, "infeasible" in standings),
        ("hollow: RTF emulated", "", grey | {"symbol": "circle-open"}, any(row.emulated for row in rows)),
    ]
    return [
        go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=name, legendgroup=group or name)
        for name, group, marker, needed in entries
        if needed
    ]


def _is_fixed(row: FrontRow) -> bool:
    return row.origin != record.SEARCH


def _labels(rows: Sequence[FrontRow], across: Axis, heights: Axis, form: Format) -> list[dict[str, object]]:
    """Place the names of fixed points so that they cover nothing; one without room appears only on hover.

    The baseline is placed first, then the front, then the others.
    """
    at = [(across.place(_value(row, across.name)), heights.place(_value(row, DER))) for row in rows]
    # in shares of the panel: half a marker, a letter, a line
    wide, high = form.ring / 2 / form.width, form.ring / 2 / form.height
    letter, line = 0.56 * form.font / form.width, 1.3 * form.font / form.height
    taken: list[Box] = [(x - wide, x + wide, y - high, y + high) for x, y in at]
    fixed = [(row, *place) for row, place in zip(rows, at, strict=True) if _is_fixed(row)]
    fixed.sort(key=lambda one: (one[0].origin != "baseline", one[0].standing != "front"))
    labels: list[dict[str, object]] = []
    for row, x, y in fixed:
        text = row.origin.rpartition(":")[2]
        half = letter * (len(text) + 1) / 2
        right, up = wide + half, high + line / 2
        for dx, dy in ((right, 0.0), (-right, 0.0), (0.0, up), (0.0, -up)):
            box = left, right_end, _, _ = (x + dx - half, x + dx + half, y + dy - line / 2, y + dy + line / 2)
            if left >= 0 and right_end <= 1 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                where = {"x": across.coordinate(x + dx), "y": heights.coordinate(y + dy)}
                labels.append({**where, "text": text, "showarrow": False, "font": {"size": form.font}})
                break
    return labels


def _overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share more than an edge."""
    across = one[0] < other[1] and other[0] < one[1]
    return across and one[2] < other[3] and other[2] < one[3]


def _curve(rows: Sequence[FrontRow], varied: str) -> list[FrontRow]:
    """Return unpruned FP32 points that differ in C or in R alone, by latency: one of the paper's curves."""
    held, value = ("chunk_length", 1.0) if varied == "right_context" else ("right_context", 0.0)
    plain = [row for row in rows if _is_fixed(row) and row.point.model == "fp32"]
    these = {getattr(row.point, varied): row for row in plain if getattr(row.point, held) == value}
    return [these[key] for key in sorted(these)]


def _finished(figure: go.Figure, title: str, remark: str, form: Format) -> go.Figure:
    legend: dict[str, object] = {"itemsizing": "trace", "tracegroupgap": 0}
    if form.below:
        legend |= {"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom", "font": {"size": form.font}}
    margin = {"l": 60, "r": 15, "t": 75, "b": form.total - form.height - 75}
    hoverlabel = {"align": "left", "bgcolor": "white", "font": {"color": BLACK}}
    return titled(figure, title, remark, height=form.total, margin=margin, hoverlabel=hoverlabel, legend=legend)


def titled(figure: go.Figure, title: str, remark: str, **layout: object) -> go.Figure:
    """Return a figure with its title, a remark below that, and other settings of its layout."""
    text = {"text": f"{title}<br><sub>{remark}</sub>", "x": 0.01, "xanchor": "left"}
    return figure.update_layout(title=text, template="plotly_white", **layout)
