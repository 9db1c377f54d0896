"""What to know before trusting a recommended point, in words."""

from collections.abc import Sequence

from explorer.front.rows import FrontRow
from explorer.recommend.distance import Distance
from explorer.recommend.test_split import TEST, TestScore
from explorer.statistics import bootstrap

WIDE = 0.2  # of the baseline's DER: a wider interval leaves open whether errors grew by a tenth
NEAR_REAL_TIME = 0.5  # RTF: a machine twice as busy does not keep up


def caveats(
    row: FrontRow, baseline: Distance | None, test: TestScore | None, split: str, recordings: int, moved: bool
) -> tuple[str, ...]:
    """Return the caveats of one point.

    baseline: its distance to the baseline. split, recordings: what its DER in the study was measured on. moved: whether
    its DER on `test` was measured on another machine."""
    measured = row.figures
    where, count = (split, recordings) if test is None else (TEST, len(test.recordings))
    said = [f"chosen on the split that it is scored on, {split}, which flatters it"] if test is None else []
    if count < bootstrap.FEW:
        said.append(f"few recordings in {where}: {count}")
    if baseline is not None:
        compared, on = (baseline.der, split) if baseline.test is None else (baseline.test, TEST)
        if compared.interval is not None and compared.interval.width > WIDE * compared.theirs:
            said.append(
                f"wide interval: its difference to the baseline spans {compared.interval.width:.1f} points on {on}, "
                f"where the baseline's DER is {compared.theirs:.2f} %"
            )
    if measured.emulated:
        said.append(f"{row.point.precision} is emulated here: neither its RTF nor what it beats by RTF alone is a gain")
    if measured.rtf > NEAR_REAL_TIME:
        said.append(f"RTF {measured.rtf:.2f} is near 1: a machine {1 / measured.rtf:.1f} times as busy falls behind")
    if measured.rtf_high > 1.0:
        said.append(f"its slowest repeat had an RTF of {measured.rtf_high:.2f}: it does not always keep up")
    if (kernel := measured.kernel or "").startswith("torch "):
        said.append(f"its DER is of windows run by {kernel}, its RTF of ONNX Runtime on the CPU")
    if moved:
        said.append(f"its DER on {TEST} is of another machine than the study's, which may decide a tie otherwise")
    return tuple(said)


def common(all_caveats: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the caveats that every point has, in the order of the first point."""
    return tuple(one for one in all_caveats[0] if all(one in others for others in all_caveats[1:]))
