"""The front in the report: the joint front, and all of its rows."""

from collections.abc import Sequence

from explorer.figures import front as drawing_front
from explorer.figures.data import FrontPoint, JointFront, OtherTrial
from explorer.front import frames
from explorer.front.comparisons import of_differences
from explorer.front.rows import Comparison, FrontRow
from explorer.front.table import COLUMNS, cells, columns_of
from explorer.report.exhibit import Exhibit, Grid, trials_in_words, two_lines

TWO_LINES = ("Δ DER to", "RTF")  # columns whose cells may break before their bracket
MOST_NAMED = 4  # of the trials that dominate a row; the CSV has all


def front_exhibits(front: JointFront) -> tuple[Exhibit, ...]:
    """Show DER against size and against latency; against RTF in an offline study."""
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
            said.append("An emulated RTF says nothing about a gain.")
        unnamed = len(front.points) - len(drawing_front.labelled(front.points))
        if tied := [number for point in front.points if point.tied_with_best for number in point.trials]:
            said.append(
                f"The lowest DER of the front, {on_front[0].der:.2f} %, cannot be distinguished here from that of "
                f"{trials_in_words(tied)}."
            )
        if unnamed:
            said.append(f"{unnamed} points of the front have no name here, for lack of space: the table has them.")
        found.append(
            Exhibit(
                name=f"front-{axis}",
                title=f"DER against {words[axis]}",
                caption=" ".join(said),
                figure=drawing_front.draw_front(front, axis),
                alternative=(
                    f"DER against {words[axis]} for {len(front.points)} operating points, {len(on_front)} of them on "
                    f"the front. Lowest DER: {best.der:.1f} % ({best.label})."
                ),
                sheets={
                    f"front-{axis}": frames.frame_of(FrontPoint, front.points),
                    "search": frames.frame_of(OtherTrial, front.others),
                },
            )
        )
    return tuple(found)


def whole_front(rows: Sequence[FrontRow], compared: Sequence[Comparison] = ()) -> Exhibit:
    """Show the front and every fixed point as a table. compared: as from explorer.front.pareto."""
    columns = columns_of(rows)
    return Exhibit(
        name="front",
        title="The front and every fixed point",
        caption=" ".join(
            (
                "Rows in bold are on the front of DER, size and RTF. RTF: median [smallest–largest]; × base: over the "
                "FP32 baseline timed in turns with the point.",
                *of_differences(rows, compared),
            )
        ),
        grid=Grid(
            tuple(columns),
            tuple(
                tuple(_cell(name, found[name]) for name in columns) for found in (cells(r, MOST_NAMED) for r in rows)
            ),
            strong=frozenset(place for place, row in enumerate(rows) if row.standing == "front"),
            left=frozenset(place for place, name in enumerate(columns) if not COLUMNS[name]),
            wraps=frozenset(map(columns.index, TWO_LINES)),
        ),
        sheets={"front": frames.front(rows)},
    )


def _cell(column: str, text: str) -> str:
    return two_lines(text) if column in TWO_LINES else text
