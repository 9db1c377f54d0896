"""What to know before a recommended point is believed, in words."""

from collections.abc import Sequence

from explorer import bootstrap
from explorer.comparison import Comparison
from explorer.distance import Distance
from explorer.front import FrontRow
from explorer.held_out import TEST, TestScore

WIDE = 0.2  # of the baseline's DER: an interval wider than that leaves open whether errors grew by a tenth
MANY = 20  # comparisons at 95 %: one of them errs by chance
NEAR_REAL_TIME = 0.5  # RTF: a machine twice as busy does not keep up


def caveats(
    row: FrontRow, baseline: Distance | None, test: TestScore | None, split: str, recordings: int, moved: bool
) -> tuple[str, ...]:
    """Of one point. baseline: its distance to that. split, recordings: what its DER is of in the study. moved: whether
    its DER on `test` is of another machine."""
    said = [*_of_scoring(test, split, recordings), *_of_interval(baseline, split), *_of_time(row)]
    if row.kernel is not None and row.kernel.startswith("torch "):
        said.append(f"its DER is of windows run by {row.kernel}, its RTF of ONNX Runtime on the CPU")
    if moved:
        said.append(f"its DER on {TEST} is of another machine than the study's, which may decide a tie otherwise")
    return tuple(said)


def _of_scoring(test: TestScore | None, split: str, recordings: int) -> list[str]:
    said = [f"chosen on the split that it is scored on, {split}, which flatters it"] if test is None else []
    where, count = (split, recordings) if test is None else (TEST, len(test.recordings))
    if count < bootstrap.FEW:
        said.append(f"few recordings in {where}: {count}")
    return said


def _of_interval(baseline: Distance | None, split: str) -> list[str]:
    if baseline is None:
        return []
    told, where = (baseline.der, split) if baseline.test is None else (baseline.test, TEST)
    if told.interval is None or told.interval.width <= WIDE * told.theirs:
        return []
    return [
        f"wide interval: its difference to the baseline spans {told.interval.width:.1f} points on {where}, where the "
        f"baseline's DER is {told.theirs:.2f} %"
    ]


def _of_time(row: FrontRow) -> list[str]:
    said = []
    if row.execution == "emulated":
        said.append(
            f"{row.precision} is emulated on this machine: its RTF is no gain, nor is what it beats by RTF alone"
        )
    if row.rtf is not None and row.rtf > NEAR_REAL_TIME:
        said.append(f"RTF {row.rtf:.2f} is near 1: a machine {1 / row.rtf:.1f} times as busy falls behind")
    if row.rtf_high is not None and row.rtf_high > 1.0:
        said.append(f"its slowest repeat had an RTF of {row.rtf_high:.2f}: it does not always keep up")
    return said


def common(all_caveats: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Those that every point has, in the order of the first."""
    return tuple(one for one in all_caveats[0] if all(one in others for others in all_caveats[1:]))


def notes(recordings: int, split: str) -> tuple[str, ...]:
    """What holds for all intervals and ties of a study, whichever point. recordings: of the study's split."""
    if recordings < bootstrap.FEWEST:
        return (
            f"{split} has a single recording: no difference of DER has an interval, and no point can be called tied "
            "with the best.",
        )
    said = [
        f"The lowest DER was found by looking at these {recordings} recordings of {split}, so it is lucky as well. A "
        "tie says that they cannot tell two points apart, not that both are as good."
    ]
    if recordings < bootstrap.FEW:
        said.append(
            f"{recordings} recordings are few: a bootstrap draws the same ones again and again, and its intervals tend "
            "to be too narrow. Take them as a hint."
        )
    return tuple(said)


def of_differences(rows: Sequence[FrontRow], compared: Sequence[Comparison]) -> tuple[str, ...]:
    """What the differences of a front are, and what to know before they are believed; nothing where there are none."""
    if not compared:
        return ()
    recordings = compared[0].recordings
    said = (
        "Δ DER to a trial, points: on the front to the next better one there; of a dominated point to the best of "
        "those that dominate it; of one over a budget to the baseline."
    )
    if recordings >= bootstrap.FEWEST:
        said += f" In brackets: {method(recordings)}; tied: it holds zero."
    if any(row.tied_with_best for row in rows):
        said += " ≈: tied with the lowest DER of the front."
    lines = [said, *notes(recordings, split_of(rows))]
    if recordings >= bootstrap.FEWEST and len(compared) >= MANY:
        lines.append(
            f"Of {len(compared)} comparisons, one in twenty of those that do not differ is told apart by chance."
        )
    return tuple(lines)


def split_of(rows: Sequence[FrontRow]) -> str:
    """The split that was measured, as the rows know it."""
    return next((row.data["split"] for row in rows if row.data and "split" in row.data), "the split")


def method(recordings: int) -> str:
    """How intervals were made."""
    if recordings < bootstrap.FEWEST:
        return "none: a single recording has no interval"
    return (
        f"paired bootstrap over {recordings} recordings: {bootstrap.RESAMPLES:,} resamples, seed {bootstrap.SEED}, "
        f"percentile interval of {100 * bootstrap.LEVEL:.0f} % of the difference of pooled DER"
    )
