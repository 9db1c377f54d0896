"""How far one operating point is from another, and the paper's own point from its baseline."""

from dataclasses import dataclass

from explorer.front.rows import FrontRow
from explorer.statistics import bootstrap
from explorer.statistics.bootstrap import Interval, Scored
from studies.paper_results import BASELINE_VARIANT, CAPTION, TABLE1, TABLE2, TABLE2_VARIANT

BASELINE = "baseline"  # origin
PAPER_PRECISION = "FP16"
PAPER_POINT = f"paper:table2:{PAPER_PRECISION}"  # origin
COMPARED = (BASELINE, PAPER_POINT)  # origins that every point is compared with


@dataclass(frozen=True)
class DerDistance:
    """theirs: the other's DER, percent. points: DER minus theirs, in percentage points. relative: the same in percent
    of theirs, None if the other has no errors at all. interval: of `points`; None with a single recording, and for the
    distance of a point from itself.
    """

    theirs: float
    points: float
    relative: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Distance:
    """The distance from one operating point to another, which has `origin` and `trial`.

    der: on the study's split. test: on the split `test`, None if one of the two has no figure there. times_smaller:
    size of the other over its own. rtf_ratio: its own over the other's, each relative to the FP32 baseline timed in
    turns with it; None if one of the two is emulated, since that RTF is not the deployed model's.
    """

    origin: str
    trial: int
    der: DerDistance
    test: DerDistance | None
    times_smaller: float
    rtf_ratio: float | None


@dataclass(frozen=True)
class Side:
    """One of the two points: its row, and its scores on the study's split and on `test`."""

    row: FrontRow
    scored: Scored
    test: Scored | None


def distance(one: Side, other: Side, origin: str) -> Distance:
    """Return the distance between two rows of complete trials. origin: the name to give the other one."""
    ours, theirs = one.row.figures, other.row.figures
    # in the baseline's own trial the ratio is noise around 1, since the model timed beside it is the same one; not so
    # in a study of the online mode alone
    beside = 1.0 if origin == BASELINE and other.row.point.mode != "online" else theirs.rtf_ratio
    emulated = ours.emulated or theirs.emulated
    same = one.row.trial == other.row.trial
    return Distance(
        origin=origin,
        trial=other.row.number,
        der=_der_distance(one.scored, other.scored, same),
        test=None if one.test is None or other.test is None else _der_distance(one.test, other.test, same),
        times_smaller=theirs.size / ours.size,
        rtf_ratio=None if emulated or ours.rtf_ratio is None or beside is None else ours.rtf_ratio / beside,
    )


def _der_distance(ours: Scored, theirs: Scored, same: bool) -> DerDistance:
    other = bootstrap.pooled_der(theirs)
    points = bootstrap.pooled_der(ours) - other
    return DerDistance(
        theirs=other,
        points=points,
        relative=100.0 * points / other if other > 0 else None,
        interval=None if same else bootstrap.difference(ours, theirs),
    )


@dataclass(frozen=True)
class PublishedDistance:
    """How far the paper's point is from the paper's baseline, as published. Sizes in MiB, DER in percent, `relative` in
    percent of the baseline's DER. source: the data and machine of those figures."""

    name: str
    size: float
    der: float
    baseline_size: float
    baseline_der: float
    times_smaller: float
    points: float
    relative: float
    source: str


def published_distance() -> PublishedDistance:
    """Return it for the paper's Linear-40 in FP16: "2.0× smaller at a 40% relative DER increase" (Sec. 5.3)."""
    point, baseline = TABLE2[PAPER_PRECISION], TABLE1[BASELINE_VARIANT]
    return PublishedDistance(
        name=f"{TABLE2_VARIANT} + {PAPER_PRECISION}",
        size=point.size,
        der=point.der,
        baseline_size=baseline.size,
        baseline_der=baseline.der,
        times_smaller=baseline.size / point.size,
        points=point.der - baseline.der,
        relative=100.0 * (point.der - baseline.der) / baseline.der,
        source=CAPTION,
    )
