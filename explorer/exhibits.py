"""Figures and tables of a report, each with its caption, the trials it traces to and its data as CSV."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from matplotlib.figure import Figure
from optuna.trial import FrozenTrial

from explorer import comparison, drawing_curves, drawing_front
from explorer.caveats import of_differences
from explorer.comparison import Comparison
from explorer.figures import (
    FrontPoint,
    JointFront,
    OtherTrial,
    StageBar,
    StageShares,
    SweepCurve,
    SweepPoint,
)
from explorer.front import FrontRow, table_rows
from explorer.per_recording import DeltaSummary, OverlapFigure, OverlapPoint, PrecisionDeltas, RecordingDelta
from explorer.sheets import as_csv
from studies.published import CAPTION, REMARKS, TABLE2_VARIANT, PaperTable

UNKNOWN = "–"
NO_BREAK, JOINED = "\u00a0", "\u2060"  # a space, and nothing at all, where no line ends
MOST_NAMED = 4  # of those that dominate a row; the sheet has all


@dataclass(frozen=True)
class Grid:
    """A table in words. strong: places of the rows that are emphasised. left: places of the columns of words. wraps:
    of those whose cells may take two lines, where the page is too narrow."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset({0})
    wraps: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Exhibit:
    """name: of its files. caption: says which trials it is made of. alternative: the figure in words, for those who do
    not see it. sheets: its data as CSV by file name."""

    name: str
    title: str
    caption: str
    figure: Figure | None = None
    alternative: str = ""
    grid: Grid | None = None
    sheets: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Absent:
    """What the study has no data for. command: what would give some; None where nothing of the explorer does."""

    name: str
    title: str
    why: str
    command: str | None = None


def trials_in_words(numbers: Iterable[int]) -> str:
    """`trial 3`, `trials 0–2, 5`."""
    known = sorted(set(numbers))
    runs = [[number for _, number in run] for _, run in groupby(enumerate(known), key=lambda pair: pair[1] - pair[0])]
    told = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
    return f"trial{'s' if len(known) != 1 else ''} {told}"


def front_exhibits(front: JointFront) -> tuple[Exhibit, ...]:
    """DER against size and against latency; against RTF in an offline study."""
    second = drawing_front.second_axis(front)
    words = {"size": "size of the segmentation model", "latency": "algorithmic latency", "rtf": "real-time factor"}
    best = front.points[0]
    on_front = [point for point in front.points if point.standing == "front"]
    traced = trials_in_words(number for point in front.points for number in point.trials)
    found = []
    for axis in ("size", second):
        grey = [other for other in front.others if getattr(other, axis) is not None]
        said = [
            "Filled markers with a black edge are on the front of DER, size and RTF; hollow ones are dominated, those "
            "with a dotted edge infeasible. A dot in the middle is a fixed point. A marker grows with the RTF. Names "
            "begin with the number of the trial.",
            f"Drawn: {traced}.",
        ]
        if grey:
            said.append(f"Small grey dots are the rest of the search: {trials_in_words(o.trial for o in grey)}.")
        if front.ceiling is not None:
            said.append("Points with an arrow lie above the scale, with their DER beside.")
        if any(point.emulated for point in front.points):
            said.append("Where the RTF is emulated it says nothing of a gain.")
        unnamed = len(front.points) - len(drawing_front.labelled(front.points))
        if tied := [number for point in front.points if point.tied_with_best for number in point.trials]:
            said.append(
                f"The lowest DER of the front, {on_front[0].der:.2f} %, cannot be told here from that of "
                f"{trials_in_words(tied)}."
            )
        if unnamed:
            said.append(f"{unnamed} points of the front have no name here, for want of room: the table has them.")
        found.append(
            Exhibit(
                name=f"front-{axis}",
                title=f"DER against {words[axis]}",
                caption=" ".join(said),
                figure=drawing_front.draw_panel(front, axis),
                alternative=(
                    f"DER against {words[axis]} for {len(front.points)} operating points, {len(on_front)} of them on "
                    f"the front. Lowest DER: {best.der:.1f} % ({best.label})."
                ),
                sheets={f"front-{axis}": as_csv(FrontPoint, front.points), "search": as_csv(OtherTrial, front.others)},
            )
        )
    return tuple(found)


def sweep_exhibit(curve: SweepCurve) -> Exhibit:
    """Figure 1 or 2, and what the paper's text says of it."""
    number = curve.figure.removeprefix("figure")
    shown = [*curve.points, *([curve.zero] if curve.zero else [])]
    swept, fixed = ("right context R", "C = 1 s") if number == "1" else ("chunk length C", "R = 0")
    ends = curve.points[0], curve.points[-1]
    return Exhibit(
        name=curve.figure,
        title=f"Figure {number}: DER over {swept} at {fixed}",
        caption=(
            f"Measured here, unpruned in FP32: {trials_in_words(point.trial for point in shown)}. Published (SIMSAMU, "
            f"NVIDIA L40S; the text prints no value of this curve): {REMARKS[curve.figure].text}; that part is hatched."
        ),
        figure=drawing_curves.draw_sweep(curve),
        alternative=(
            f"DER over {swept}, {len(curve.points)} points: {ends[0].der:.1f} % at {ends[0].value:g} s, "
            f"{ends[1].der:.1f} % at {ends[1].value:g} s."
        ),
        grid=Grid(
            (f"{swept[-1]} s", "trial", "DER %", "FA / miss / conf %", "RTF"),
            tuple(
                (f"{p.value:g}", str(p.trial), f"{p.der:.2f}", _parts(p), _spread(p.rtf, p.rtf_low, p.rtf_high))
                for p in sorted(shown, key=lambda point: point.value)
            ),
        ),
        sheets={curve.figure: as_csv(SweepPoint, sorted(shown, key=lambda point: point.value))},
    )


def table_exhibit(rows: Sequence[FrontRow], table: PaperTable, compared: Sequence[Comparison]) -> Exhibit | None:
    """Table 1 or 2, ours beside the published figures; None where the study has no row of it that was measured.
    compared: as explorer.front has them; what a pruning, or a precision, changes is among them."""
    found = table_rows(rows, table)
    measured = [row for row in found if row.der is not None]
    if not measured:
        return None
    pruned = ", ".join(dict.fromkeys(row.pruning for row in found))
    title = (
        "Table 1: pruning in FP32" if table == "table1" else f"Table 2: precision of {pruned} (paper: {TABLE2_VARIANT})"
    )
    kind: comparison.Kind = "pruned against unpruned" if table == "table1" else "lower precision against FP32"
    changes = comparison.matched(rows, compared, kind)
    latencies = {row.latency for row in measured}
    mode = "offline, as the paper" if latencies == {None} else "streamed at C = 1 s, R = 0; the paper ran it offline"
    return Exhibit(
        name=table,
        title=title,
        caption=(
            f"Ours ({mode}): {trials_in_words(row.trial for row in measured if row.trial is not None)}. {CAPTION} "
            "Other data and another machine: compare within a column, not across; parameters and sizes should agree. "
            f"Δ DER: {kind}, points, with the 95 % interval; tied: it holds zero."
        ),
        grid=Grid(
            (
                "variant",
                "trial",
                "kept units",
                "params M",
                "published",
                "MiB",
                "published",
                "DER %",
                "published",
                "Δ DER",
                "RTF",
                "× base",
                "published",
            ),
            tuple(_table_row(row, changes.get(comparison.key(row))) for row in found),
            left=frozenset({0, 2, 9}),
            wraps=frozenset({9}),
        ),
        sheets={table: as_csv(FrontRow, found)},
    )


def delta_exhibit(found: PrecisionDeltas) -> Exhibit:
    """Figure 3 with its numbers."""
    said = [
        f"Difference of a recording's DER to FP32 of the same model (trial {found.reference}); "
        f"{trials_in_words(summary.trial for summary in found.summaries)}. Boxes go from quartile to quartile with the "
        "median, whiskers from the smallest to the largest; quantiles are interpolated linearly.",
        "Pooled is the difference of the DERs over all recordings, with the 95 % interval of a paired bootstrap over "
        "them; tied: it holds zero. Published is that difference in the paper's Table 2 "
        f"({TABLE2_VARIANT}, SIMSAMU). The paper's text prints no value of its Figure 3.",
    ]
    if found.unscored:
        said.append(f"Left out, since nothing in them is scored: {', '.join(found.unscored)}.")
    number = found.summaries[0].number
    return Exhibit(
        name="figure3",
        title=f"Figure 3: ΔDER by recording under quantization of {found.pruning}",
        caption=" ".join(said),
        figure=drawing_curves.draw_deltas(found),
        alternative=f"ΔDER over {number} recordings, median: "
        + "; ".join(f"{summary.precision} {_signed(summary.median, 1)}" for summary in found.summaries)
        + " percentage points.",
        grid=Grid(
            (
                "precision", "trial", "recordings", "median", "IQR", "P90", "maximum", "pooled [95 %]",
                "published, pooled",
            ),
            tuple(
                (
                    s.precision + (" (emulated)" if s.emulated else ""), str(s.trial), str(s.number),
                    _signed(s.median),
                    f"{s.upper_quartile - s.lower_quartile:.2f} "
                    f"[{_signed(s.lower_quartile)}, {_signed(s.upper_quartile)}]",
                    _signed(s.p90), _signed(s.largest),
                    comparison.in_words(s.pooled, s.pooled_low, s.pooled_high, s.tied), _signed(s.published),
                )
                for s in found.summaries
            ),
        ),
        sheets={
            "figure3": as_csv(DeltaSummary, found.summaries),
            "figure3-recordings": as_csv(RecordingDelta, found.deltas),
        },
    )  # fmt: skip


def stage_exhibit(found: StageShares) -> Exhibit:
    """Where the compute goes."""
    said = (
        f"Shares of the timed compute: {trials_in_words(bar.trial for bar in found.bars)}, in brackets after each name."
    )
    if found.left_out:
        said += f" {found.left_out} more operating points are left out, for want of room."
    first = found.bars[0]
    return Exhibit(
        name="stages",
        title="Where the compute goes",
        caption=said,
        figure=drawing_curves.draw_stages(found),
        alternative=(
            f"Shares of segmentation, embedding, clustering and the rest for {len(found.bars)} operating points; "
            f"{first.label}: {100 * first.segmentation:.0f}, {100 * first.embedding:.0f}, {100 * first.clustering:.1f} "
            f"and {100 * first.other:.1f} %."
        ),
        sheets={"stages": as_csv(StageBar, found.bars)},
    )


def overlap_exhibit(found: OverlapFigure, same: bool) -> Exhibit:
    """DER against overlap. same: the baseline itself has the lowest DER of the front."""
    said = [
        "Overlapped speech: share of a recording's annotated speech in which at least two speak, from the reference "
        f"inside the UEM. {trials_in_words(point.trial for point in found.points).capitalize()}."
    ]
    if same:
        said.append("The baseline itself has the lowest DER of the front; beside it stands the next of the front.")
    told = [
        f"{_signed(rank.value)} [{_signed(rank.low)}, {_signed(rank.high)}] ({name})"
        for name, rank in found.rank_correlation.items()
    ]
    number = len({point.uri for point in found.points})
    if told:
        said.append(
            f"Rank correlation (Spearman) of DER with the overlap over {number} recordings, with the 95 % interval of "
            f"a bootstrap over them: {', '.join(told)}. One whose interval holds zero cannot be told from none."
        )
    if found.unscored:
        said.append(f"Left out, since nothing in them is scored: {', '.join(found.unscored)}.")
    return Exhibit(
        name="overlap",
        title="DER against overlapped speech",
        caption=" ".join(said),
        figure=drawing_curves.draw_overlap(found),
        alternative=f"DER of {number} recordings over their share of overlapped speech.",
        sheets={"overlap": as_csv(OverlapPoint, found.points)},
    )


def whole_front(rows: Sequence[FrontRow], compared: Sequence[Comparison] = ()) -> Exhibit:
    """The front and every fixed point as a table. compared: as explorer.front has them."""
    return Exhibit(
        name="front",
        title="The front and every fixed point",
        caption=" ".join(
            (
                "Rows in bold are on the front of DER, size and RTF. RTF: median [smallest–largest]; × base: over the "
                "FP32 baseline timed in the same breath.",
                *of_differences(rows, compared),
            )
        ),
        grid=Grid(
            (
                "trial", "origin", "C s", "R s", "latency s", "pruning", "precision", "params M", "DER %",
                "Δ DER to", "FA / miss / conf %", "MiB", "RTF", "× base", "standing",
            ),
            tuple(_front_row(row) for row in rows),
            strong=frozenset(place for place, row in enumerate(rows) if row.standing == "front"),
            left=frozenset({1, 5, 6, 9, 14}),
            wraps=frozenset({9, 12}),
        ),
        sheets={"front": as_csv(FrontRow, rows)},
    )  # fmt: skip


def overlap_series(rows: Sequence[FrontRow], trials: Mapping[int, FrozenTrial]) -> tuple[dict[str, FrozenTrial], bool]:
    """The baseline and the lowest DER of the front beside it, by name; and whether that lowest is the baseline's."""
    baseline = next((row for row in rows if row.origin == "baseline" and row.der is not None), None)
    front = [row for row in rows if row.standing == "front"]
    same = bool(front) and baseline is not None and front[0].der == baseline.der
    series = {}
    if baseline is not None and baseline.trial is not None:
        series[f"baseline (trial {baseline.trial})"] = trials[baseline.trial]
    other = next((row for row in front if baseline is None or row.der != baseline.der), None)
    if other is not None and other.trial is not None:
        rank = "next" if same else "lowest"
        series[f"{rank} DER of the front (trial {other.trial})"] = trials[other.trial]
    return series, same


def number(value: float | None, digits: int) -> str:
    """So many digits after the point; a dash for what is not known."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _two_lines(told: str) -> str:
    """A figure that is broken before what stands in brackets and nowhere else."""
    return told.replace(" ", NO_BREAK).replace(f"{NO_BREAK}[", " [").replace("–", f"{JOINED}–{JOINED}")


def _axis(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3g}"


def _parts(row: FrontRow | SweepPoint) -> str:
    return " / ".join(number(part, 1) for part in (row.false_alarm, row.missed_detection, row.confusion))


def _spread(rtf: float | None, low: float | None, high: float | None) -> str:
    return UNKNOWN if rtf is None else f"{rtf:.4f} [{low:.4f}–{high:.4f}]"


def _ratio(row: FrontRow) -> str:
    return "emulated" if row.execution == "emulated" else number(row.rtf_ratio, 2)


def _millions(row: FrontRow) -> float | None:
    return None if row.params is None else row.params / 1e6


def _table_row(row: FrontRow, change: Comparison | None) -> tuple[str, ...]:
    return (
        row.origin.rpartition(":")[2],
        UNKNOWN if row.trial is None else str(row.trial),
        ", ".join(f"{part} {units}" for part, units in row.kept.items()) or row.standing,
        number(_millions(row), 2), number(row.paper_params, 2),
        number(row.size, 2), number(row.paper_size, 2),
        number(row.der, 2), number(row.paper_der, 2),
        UNKNOWN if change is None else _two_lines(comparison.told(change)),
        _spread(row.rtf, row.rtf_low, row.rtf_high), _ratio(row), number(row.paper_rtf, 4),
    )  # fmt: skip


def _front_row(row: FrontRow) -> tuple[str, ...]:
    by = ", ".join(map(str, row.dominated_by[:MOST_NAMED])) + (", …" if len(row.dominated_by) > MOST_NAMED else "")
    standing = {
        "dominated": f"dominated by {by}",
        "infeasible": f"infeasible: over {', '.join(row.exceeded)}",
    }.get(row.standing, row.standing)
    return (
        UNKNOWN if row.trial is None else str(row.trial),
        row.origin,
        _axis(row.chunk_length), _axis(row.right_context), _axis(row.latency),
        row.pruning,
        row.precision if row.mode != "online" else f"{row.precision}, online",
        number(_millions(row), 2),
        f"{'≈ ' if row.tied_with_best else ''}{number(row.der, 2)}", _two_lines(comparison.to_trial(row)) or UNKNOWN,
        _parts(row) if row.der is not None else UNKNOWN, number(row.size, 2),
        _two_lines(_spread(row.rtf, row.rtf_low, row.rtf_high)), _ratio(row) if row.der is not None else UNKNOWN,
        standing,
    )  # fmt: skip
