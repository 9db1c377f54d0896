"""The figures of a study as data: drawn by explorer/figures, written as CSV by explorer/report/report.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from explorer.front import mode_filter
from explorer.front.rows import FrontRow, Standing
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from objectives.operating_point import OperatingPoint, Precision, Structure, Tracking
from studies.fixed_points import FIGURE1_CHUNK_LENGTH, FIGURE2_RIGHT_CONTEXT, Sweep
from studies.paper_results import BASELINE_VARIANT

NOTHING_RIGHT = 100.0  # percent: the DER of a system that outputs nothing; a scale may end above it
CLEARANCE = 1.1  # the end of that scale over the highest DER drawn at its true place
MOST_BARS = 30  # more would not fit a page
ONLINE = "online"  # source of an origin
SWEPT = {  # what a figure varies, and what it holds, where
    "figure1": ("right_context", "chunk_length", FIGURE1_CHUNK_LENGTH),
    "figure2": ("chunk_length", "right_context", FIGURE2_RIGHT_CONTEXT),
}


@dataclass(frozen=True)
class FrontPoint:
    """One operating point in the figure of the front; it may stand for several fixed points and trials.

    label: `baseline / C=1`, `Linear-40`; for a search trial its axes, `C=2.5 R=0.17 Both-5 int4_ptq`. fixed: whether
    one of its origins is a fixed point. der: percent. size: MiB. rtf: median. latency: in seconds, None offline.
    emulated: whether its RTF says nothing about a gain. stage_shares, tied_with_best: see FrontRow.
    """

    trials: tuple[int, ...]
    label: str
    fixed: bool
    standing: Standing
    der: float
    size: float
    rtf: float
    latency: float | None
    structure: Structure
    precision: Precision
    emulated: bool
    stage_shares: Mapping[str, float] | None
    tied_with_best: bool | None = None


@dataclass(frozen=True)
class OtherTrial:
    """A search trial that is not on the front: der in percent, size in MiB, latency in seconds or None."""

    trial: int
    der: float
    size: float
    rtf: float
    latency: float | None
    model_key: str | None = None


@dataclass(frozen=True)
class JointFront:
    """points: the front and every measured fixed point, best DER first. others: the rest of the search.

    ceiling: percent; where the scale of DER ends if a point lies above NOTHING_RIGHT and would flatten the rest;
    None otherwise.
    """

    points: tuple[FrontPoint, ...]
    others: tuple[OtherTrial, ...]
    ceiling: float | None


@dataclass(frozen=True)
class SweepPoint:
    """A point on the curve of Figure 1 or 2. value: R or C in seconds. der: percent. rtf: median; low and high: its
    spread. false_alarm, missed_detection, confusion: components of the DER, percent."""

    trial: int
    origin: str
    value: float
    der: float
    false_alarm: float
    missed_detection: float
    confusion: float
    rtf: float
    rtf_low: float
    rtf_high: float


@dataclass(frozen=True)
class SweepCurve:
    """Figure 1: DER over R > 0 at C = 1 s, with `zero`, its point at R = 0. Figure 2: DER over C at R = 0."""

    figure: Sweep
    points: tuple[SweepPoint, ...]
    zero: SweepPoint | None


@dataclass(frozen=True)
class StageBar:
    """Shares of an operating point's RTF by stage, adding up to 1."""

    trial: int
    label: str
    rtf: float
    emulated: bool
    segmentation: float
    embedding: float
    clustering: float
    other: float


@dataclass(frozen=True)
class StageShares:
    """bars: best DER first. left_out: number of further operating points that do not fit a page."""

    bars: tuple[StageBar, ...]
    left_out: int


def joint_front(rows: Sequence[FrontRow], others: Sequence[OtherTrial] = ()) -> JointFront:
    """Return the figure of a front. rows: as from explorer.front.pareto.front; those without a measurement are left
    out."""
    groups: dict[OperatingPoint, list[FrontRow]] = {}
    for row in rows:
        if row.measurement:
            groups.setdefault(row.point, []).append(row)
    points = sorted((_front_point(members) for members in groups.values()), key=lambda point: point.der)
    ders = [point.der for point in points]
    sensible = [der for der in ders if der <= NOTHING_RIGHT]
    ceiling = CLEARANCE * max(sensible) if sensible and max(ders) > NOTHING_RIGHT else None
    return JointFront(tuple(points), tuple(others), ceiling)


def other_trials(
    study: optuna.Study, shown: Sequence[FrontRow], tracking: Tracking | None = None
) -> tuple[OtherTrial, ...]:
    """Return complete search trials that are not in `shown`. tracking: only of this mode; None for all of them."""
    keys = (record.ORIGIN, record.LATENCY, record.MODEL_KEY)
    trials = bulk_sql.skim(study, keys, mode_filter.looked_at(tracking))
    known = {row.trial for row in shown}
    return tuple(
        OtherTrial(trial.number, *trial.values, *map(trial.user_attrs.get, (record.LATENCY, record.MODEL_KEY)))
        for trial in mode_filter.tracked(trials, tracking)
        if trial.state is TrialState.COMPLETE and trial.number not in known
    )


def sweep_curve(rows: Sequence[FrontRow], figure: Sweep) -> SweepCurve | None:
    """Return the study's points on a figure's curve: fixed, unpruned, FP32. None if there are fewer than two."""
    varied, held, at = SWEPT[figure]
    plain = [row for row in rows if row.measurement and _is_plain(row) and getattr(row.point, held) == at]
    found: dict[float, SweepPoint] = {}
    for row in sorted(plain, key=lambda row: not row.origin.startswith(f"paper:{figure}:")):
        value = getattr(row.point, varied)
        found.setdefault(value, _sweep_point(row, value))
    zero = found.pop(0.0, None)  # of R; C is never 0
    points = tuple(found[value] for value in sorted(found))
    return SweepCurve(figure, points, zero) if len(points) + (zero is not None) > 1 else None


def stage_shares(points: Sequence[FrontPoint]) -> StageShares | None:
    """Return the stages of points that recorded them, the front first if a page is full; None if there are none."""
    timed = [point for point in points if point.stage_shares]
    kept = sorted(timed, key=lambda point: (point.standing != "front", not point.fixed, point.der))[:MOST_BARS]
    bars = [
        StageBar(
            trial=point.trials[0],
            label=point.label,
            rtf=point.rtf,
            emulated=point.emulated,
            **{stage: float(share) for stage, share in (point.stage_shares or {}).items()},
        )
        for point in sorted(kept, key=lambda point: point.der)
    ]
    return StageShares(tuple(bars), len(timed) - len(bars)) if bars else None


def short_name(row: FrontRow) -> str:
    """Name a row in a figure: `baseline`, `R=0.5`, `Linear-40`, `Linear-40 int8_ptq`; a search trial by its axes."""
    source, _, rest = row.origin.partition(":")
    if row.origin == record.SEARCH:
        return row.point.label
    if rest.startswith("table2:"):
        return row.pruning if row.point.precision == "fp32" else f"{row.pruning} {row.point.precision}"
    name = rest.rpartition(":")[2] or source
    return f"{source} {name}" if source == ONLINE else "baseline" if name == BASELINE_VARIANT else name


def _front_point(members: Sequence[FrontRow]) -> FrontPoint:
    row = members[0]
    figures = row.figures
    fixed = [member for member in members if member.origin != record.SEARCH]
    names = dict.fromkeys(short_name(member) for member in fixed or members)
    return FrontPoint(
        trials=tuple(sorted(member.trial for member in members if member.trial is not None)),
        label=" / ".join(names),
        fixed=bool(fixed),
        standing=row.standing,
        der=figures.der,
        size=figures.size,
        rtf=figures.rtf,
        latency=row.latency,
        structure=row.point.pruning.structure,
        precision=row.point.precision,
        emulated=row.emulated,
        stage_shares=figures.stage_shares,
        tied_with_best=row.tied_with_best,
    )


def _is_plain(row: FrontRow) -> bool:
    point = row.point
    return row.origin != record.SEARCH and (point.mode, point.model) == ("chunk-wise", "fp32")


def _sweep_point(row: FrontRow, value: float) -> SweepPoint:
    names = ("der", "false_alarm", "missed_detection", "confusion", "rtf", "rtf_low", "rtf_high")
    return SweepPoint(row.number, row.origin, value, *(getattr(row.figures, name) for name in names))
