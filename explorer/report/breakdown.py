"""Where time and errors go, in the report: stages of the compute, and DER over overlap."""

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial

from explorer.figures import curves
from explorer.figures.data import StageBar, StageShares
from explorer.figures.per_recording import OverlapFigure, OverlapPoint
from explorer.front.frames import frame_of
from explorer.front.rows import FrontRow
from explorer.report.exhibit import Exhibit, trials_in_words
from explorer.statistics.differences import signed


def stage_exhibit(found: StageShares) -> Exhibit:
    """Show where the compute goes."""
    said = (
        f"Shares of the timed compute: {trials_in_words(bar.trial for bar in found.bars)}, in brackets after each name."
    )
    if found.left_out:
        said += f" {found.left_out} more operating points are left out, for lack of space."
    first = found.bars[0]
    return Exhibit(
        name="stages",
        title="Where the compute goes",
        caption=said,
        figure=curves.draw_stages(found),
        alternative=(
            f"Shares of segmentation, embedding, clustering and the rest for {len(found.bars)} operating points; "
            f"{first.label}: {100 * first.segmentation:.0f}, {100 * first.embedding:.0f}, {100 * first.clustering:.1f} "
            f"and {100 * first.other:.1f} %."
        ),
        sheets={"stages": frame_of(StageBar, found.bars)},
    )


def overlap_exhibit(found: OverlapFigure, same: bool) -> Exhibit:
    """Show DER against overlap. same: whether the baseline itself has the lowest DER of the front."""
    said = [
        "Overlapped speech: share of a recording's annotated speech in which at least two speak, from the reference "
        f"inside the UEM. {trials_in_words(point.trial for point in found.points).capitalize()}."
    ]
    if same:
        said.append("The baseline itself has the lowest DER of the front; beside it stands the next of the front.")
    ranks = [
        f"{signed(rank.value)} [{signed(rank.low)}, {signed(rank.high)}] ({name})"
        for name, rank in found.rank_correlation.items()
    ]
    number = len({point.uri for point in found.points})
    if ranks:
        said.append(
            f"Rank correlation (Spearman) of DER with the overlap over {number} recordings, with the 95 % interval of "
            f"a bootstrap over them: {', '.join(ranks)}. One whose interval holds zero may be none."
        )
    if found.unscored:
        said.append(f"Left out, since nothing in them is scored: {', '.join(found.unscored)}.")
    return Exhibit(
        name="overlap",
        title="DER against overlapped speech",
        caption=" ".join(said),
        figure=curves.draw_overlap(found),
        alternative=f"DER of {number} recordings over their share of overlapped speech.",
        sheets={"overlap": frame_of(OverlapPoint, found.points)},
    )


def overlap_series(rows: Sequence[FrontRow], trials: Mapping[int, FrozenTrial]) -> tuple[dict[str, FrozenTrial], bool]:
    """Return the baseline and the lowest DER of the front beside it, by name; and whether that is the baseline's."""
    baseline = next((row for row in rows if row.origin == "baseline" and row.measurement), None)
    front = [row for row in rows if row.standing == "front"]
    same = bool(front) and baseline is not None and front[0].figures.der == baseline.figures.der
    series = {}
    if baseline is not None:
        series[f"baseline (trial {baseline.number})"] = trials[baseline.number]
    other = next((row for row in front if baseline is None or row.figures.der != baseline.figures.der), None)
    if other is not None:
        rank = "next" if same else "lowest"
        series[f"{rank} DER of the front (trial {other.number})"] = trials[other.number]
    return series, same
