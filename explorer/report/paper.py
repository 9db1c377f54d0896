"""The paper's figures and tables in the report, each with a caption, the trials it is made of and its data as CSV."""

from collections.abc import Sequence

from explorer.figures import curves
from explorer.figures.data import SweepCurve, SweepPoint
from explorer.figures.per_recording import DeltaSummary, PrecisionDeltas, RecordingDelta
from explorer.front import comparisons, frames
from explorer.front.pareto import table_rows
from explorer.front.rows import Comparison, FrontRow, Kind
from explorer.front.table import UNKNOWN, beside_paper, kept_in_words, paper_title, parts, ratio, spread
from explorer.report.exhibit import Exhibit, Grid, trials_in_words, two_lines
from explorer.statistics.differences import in_words, signed
from studies.paper_results import CAPTION, REMARKS, TABLE2_VARIANT, PaperTable


def sweep_exhibit(curve: SweepCurve) -> Exhibit:
    """Show Figure 1 or 2, with what the paper's text says about it."""
    figure = curve.figure.removeprefix("figure")
    shown = [*curve.points, *([curve.zero] if curve.zero else [])]
    swept, fixed = ("right context R", "C = 1 s") if figure == "1" else ("chunk length C", "R = 0")
    ends = curve.points[0], curve.points[-1]
    return Exhibit(
        name=curve.figure,
        title=f"Figure {figure}: DER over {swept} at {fixed}",
        caption=(
            f"Measured here, unpruned in FP32: {trials_in_words(point.trial for point in shown)}. Published (SIMSAMU, "
            f"NVIDIA L40S; the text prints no value of this curve): {REMARKS[curve.figure].text}; that part is hatched."
        ),
        figure=curves.draw_sweep(curve),
        alternative=(
            f"DER over {swept}, {len(curve.points)} points: {ends[0].der:.1f} % at {ends[0].value:g} s, "
            f"{ends[1].der:.1f} % at {ends[1].value:g} s."
        ),
        grid=Grid(
            (f"{swept[-1]} s", "trial", "DER %", "FA / miss / conf %", "RTF"),
            tuple(
                (
                    f"{p.value:g}",
                    str(p.trial),
                    f"{p.der:.2f}",
                    parts(p.false_alarm, p.missed_detection, p.confusion),
                    spread(p.rtf, p.rtf_low, p.rtf_high),
                )
                for p in sorted(shown, key=lambda point: point.value)
            ),
        ),
        sheets={curve.figure: frames.frame_of(SweepPoint, sorted(shown, key=lambda point: point.value))},
    )


def table_exhibit(rows: Sequence[FrontRow], table: PaperTable, compared: Sequence[Comparison]) -> Exhibit | None:
    """Show Table 1 or 2, ours beside the published figures; None if the study has no measured row of it.
    compared: as from explorer.front.pareto; it has the effect of each pruning or precision."""
    found = table_rows(rows, table)
    measured = [row for row in found if row.measurement]
    if not measured:
        return None
    kind: Kind = "pruned against unpruned" if table == "table1" else "lower precision against FP32"
    changes = comparisons.matched(rows, compared, kind)
    latencies = {row.latency for row in measured}
    mode = "offline, as the paper" if latencies == {None} else "streamed at C = 1 s, R = 0; the paper ran it offline"
    return Exhibit(
        name=table,
        title=paper_title(table, found),
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
            tuple(_table_row(row, changes.get(row.point)) for row in found),
            left=frozenset({0, 2, 9}),
            wraps=frozenset({9}),
        ),
        sheets={table: frames.front(found)},
    )


def delta_exhibit(found: PrecisionDeltas) -> Exhibit:
    """Show Figure 3 with its numbers."""
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
    return Exhibit(
        name="figure3",
        title=f"Figure 3: ΔDER by recording under quantization of {found.pruning}",
        caption=" ".join(said),
        figure=curves.draw_deltas(found),
        alternative=f"ΔDER over {found.summaries[0].number} recordings, median: "
        + "; ".join(f"{summary.precision} {signed(summary.median, 1)}" for summary in found.summaries)
        + " percentage points.",
        grid=Grid(
            (
                "precision", "trial", "recordings", "median", "IQR", "P90", "maximum", "pooled [95 %]",
                "published, pooled",
            ),
            tuple(
                (
                    s.precision + (" (emulated)" if s.emulated else ""), str(s.trial), str(s.number),
                    signed(s.median),
                    f"{s.upper_quartile - s.lower_quartile:.2f} "
                    f"[{signed(s.lower_quartile)}, {signed(s.upper_quartile)}]",
                    signed(s.p90), signed(s.largest),
                    in_words(s.pooled, s.pooled_low, s.pooled_high, s.tied), signed(s.published),
                )
                for s in found.summaries
            ),
        ),
        sheets={
            "figure3": frames.frame_of(DeltaSummary, found.summaries),
            "figure3-recordings": frames.frame_of(RecordingDelta, found.deltas),
        },
    )  # fmt: skip


def _table_row(row: FrontRow, change: Comparison | None) -> tuple[str, ...]:
    ours, pairs = row.measurement, beside_paper(row)
    sizes = [text for name in ("params M", "MiB", "DER %") for text in pairs[name]]
    return (
        row.origin.rpartition(":")[2],
        UNKNOWN if row.trial is None else str(row.trial),
        kept_in_words(row) or row.standing,
        *sizes,
        UNKNOWN if change is None else two_lines(comparisons.difference_in_words(change)),
        UNKNOWN if ours is None else spread(ours.rtf, ours.rtf_low, ours.rtf_high),
        UNKNOWN if ours is None else ratio(ours),
        pairs["RTF"][1],
    )
