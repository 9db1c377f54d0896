"""The comparisons of a report: pairs that differ in one choice, with their differences of DER in words."""

from collections.abc import Sequence

from explorer.front import comparisons
from explorer.front.comparisons import MATCHED, difference_in_words
from explorer.front.frames import frame_of
from explorer.front.rows import Comparison, FrontRow
from explorer.report.exhibit import Absent, Exhibit, Grid, trials_in_words

TITLE = "Pairs, told apart or tied"


def pairs_exhibit(rows: Sequence[FrontRow], compared: Sequence[Comparison]) -> Exhibit | Absent:
    """Show pairs of points that differ in one choice alone. The CSV has all comparisons."""
    matched = [one for one in compared if one.kind in MATCHED]
    if not matched:
        return Absent(
            "pairs",
            TITLE,
            "no two measured points of this study differ in one choice alone.",
            "explorer run quantization",
        )
    recordings = matched[0].recordings
    said = [
        "Two operating points that differ in one choice alone. Δ DER: points that the first has more of; "
        f"{comparisons.method(recordings)}. Tied: the interval holds zero. Made of "
        f"{trials_in_words(number for one in matched for number in (one.trial, one.versus))}.",
        *comparisons.notes(recordings, comparisons.split_of(rows)),
        f"The sheet has all {len(compared)} comparisons, also those of the front.",
    ]
    return Exhibit(
        name="pairs",
        title=TITLE,
        caption=" ".join(said),
        grid=Grid(
            ("what", "trial", "operating point", "DER %", "to trial", "operating point", "DER %", "Δ DER"),
            tuple(
                (
                    one.kind, str(one.trial), one.point, f"{one.der:.2f}",
                    str(one.versus), one.versus_point, f"{one.versus_der:.2f}", difference_in_words(one),
                )
                for one in matched
            ),
            left=frozenset({0, 2, 5, 7}),
        ),
        sheets={"pairs": frame_of(Comparison, compared)},
    )  # fmt: skip
