"""Which operating points of a study are compared by DER, and whether its recordings can distinguish them.

A point of the front is compared with the next better one there, a dominated one with the best of those that dominate
it, one over a budget with the baseline. Any two that differ in one choice alone (QAT or PTQ, lower precision or FP32,
pruned or not, online or chunk-wise) are compared with each other. One set of bootstrap resamples of the recordings
serves all comparisons (explorer/statistics/bootstrap.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from optuna.trial import FrozenTrial

from explorer.front.rows import Comparison, FrontRow, Kind
from explorer.statistics import bootstrap
from explorer.statistics.bootstrap import Scored
from explorer.statistics.differences import ends, in_words
from explorer.storage import trial_record as record
from objectives.operating_point import AS_TUNED, UNPRUNED, OperatingPoint, Precision, describe

STANDING: tuple[Kind, ...] = ("front neighbours", "lowest DER", "dominated", "over a budget")
MATCHED: tuple[Kind, ...] = (
    "QAT against PTQ",
    "online against chunk-wise",
    "lower precision against FP32",
    "pruned against unpruned",
)
BASELINE = "baseline"  # origin


def difference_in_words(one: Comparison) -> str:
    """Describe the difference of a comparison: `+0.39 [−5.16, +6.20] tied`."""
    return in_words(one.der_difference, one.der_low, one.der_high, one.tied)


def to_trial(row: FrontRow) -> str:
    """Describe a row's comparison: `18: +0.39 [−5.16, +6.20] tied`; empty if it is compared with none."""
    return f"{row.comparison.versus}: {difference_in_words(row.comparison)}" if row.comparison else ""


def compare(rows: Sequence[FrontRow], trials: Mapping[int, FrozenTrial]) -> tuple[Comparison, ...]:
    """Make every comparison among the measured rows, in the order of Kind and of the rows.

    rows: lowest DER first. trials: of these rows, whole, by number, all scored on the same recordings.
    """
    measured = [row for row in rows if row.measurement]
    between = _Between(trials)
    return tuple(between(*pair) for pair in (*_standing(measured), *_matched(measured)))


def beside(rows: Sequence[FrontRow], found: Sequence[Comparison]) -> tuple[FrontRow, ...]:
    """Add to each row its comparison: `found` as from `compare`."""
    of_standing = {one.trial: one for one in found if one.kind in STANDING and one.kind != "lowest DER"}
    with_best = {one.trial: one.tied for one in found if one.kind == "lowest DER"}
    return tuple(
        replace(row, comparison=of_standing[row.trial], tied_with_best=with_best.get(row.trial))
        if row.trial in of_standing
        else row
        for row in rows
    )


def matched(rows: Sequence[FrontRow], found: Sequence[Comparison], kind: Kind) -> dict[OperatingPoint, Comparison]:
    """Return comparisons by operating point, since fixed points that coincide share one."""
    of_trial = {one.trial: one for one in found if one.kind == kind}
    return {row.point: of_trial[row.trial] for row in rows if row.trial in of_trial}


def _standing(rows: Sequence[FrontRow]) -> list[tuple[Kind, FrontRow, FrontRow]]:
    """Return each row with its standing's counterpart. The same operating point, measured once, counts once."""
    baseline = next((row for row in rows if row.origin == BASELINE), None)
    by_number = {row.trial: row for row in rows}
    front = [row for row in rows if row.standing == "front"]
    found: dict[Kind, list[tuple[FrontRow, FrontRow]]] = {kind: [] for kind in STANDING}
    above: FrontRow | None = None
    for before, row in pairwise(front):
        above = before if before.point != row.point else above
        found["front neighbours"] += [(row, above)] if above is not None else []
        found["lowest DER"] += [(row, front[0])] if row.point != front[0].point else []
    for row in rows:
        if row.dominated_by:
            best = min((by_number[number] for number in row.dominated_by), key=lambda other: other.figures.der)
            found["dominated"].append((row, best))
        elif row.standing == "infeasible" and baseline is not None and baseline.point != row.point:
            found["over a budget"].append((row, baseline))
    return [(kind, *pair) for kind, pairs in found.items() for pair in pairs]


def _matched(rows: Sequence[FrontRow]) -> list[tuple[Kind, FrontRow, FrontRow]]:
    """Return every two rows that differ in one choice alone."""
    at: dict[OperatingPoint, FrontRow] = {}
    for row in rows:
        at.setdefault(row.point, row)
    calibrated: dict[Precision, Precision] = {"int8_qat": "int8_ptq", "int4_qat": "int4_ptq"}
    others: dict[Kind, Callable[[OperatingPoint], OperatingPoint]] = {
        "QAT against PTQ": lambda point: replace(point, precision=calibrated.get(point.precision, point.precision)),
        "online against chunk-wise": lambda point: (
            replace(point, mode="chunk-wise", online=AS_TUNED) if point.mode == "online" else point
        ),
        "lower precision against FP32": lambda point: replace(point, precision="fp32"),
        "pruned against unpruned": lambda point: replace(point, pruning=UNPRUNED),
    }
    return [
        (kind, row, at[there])
        for kind in MATCHED
        for point, row in at.items()
        if (there := others[kind](point)) != point and there in at
    ]


class _Between:
    """Compares rows by their trials. The resamples, and each trial's DER in them, are computed once."""

    def __init__(self, trials: Mapping[int, FrozenTrial]) -> None:
        self._trials = trials
        self._resampler: bootstrap.Resampler | None = None
        self._rates: dict[int, bootstrap.Rates] = {}

    def __call__(self, kind: Kind, ours: FrontRow, theirs: FrontRow) -> Comparison:
        interval = self._draws(ours).interval(self._rates_of(ours), self._rates_of(theirs))
        der, versus_der = ours.figures.der, theirs.figures.der
        low, high = ends(interval)
        return Comparison(
            kind=kind,
            trial=ours.number,
            versus=theirs.number,
            point=describe(ours.point),
            versus_point=describe(theirs.point),
            der=der,
            versus_der=versus_der,
            der_difference=der - versus_der,
            der_low=low,
            der_high=high,
            recordings=len(self._scored(ours)),
            tied=None if interval is None else interval.contains_zero,
        )

    def _draws(self, row: FrontRow) -> bootstrap.Resampler:
        self._resampler = self._resampler or bootstrap.Resampler(self._scored(row))
        return self._resampler

    def _rates_of(self, row: FrontRow) -> bootstrap.Rates:
        if row.number in self._rates:
            return self._rates[row.number]
        rates = self._draws(row).rates(self._scored(row))
        if row.standing != "dominated" or row.origin != record.SEARCH:  # the thousands of others are used only once
            self._rates[row.number] = rates
        return rates

    def _scored(self, row: FrontRow) -> Scored:
        return record.scored_seconds(self._trials[row.number].user_attrs[record.RECORDINGS])


MANY = 20  # comparisons at 95 %: one in twenty is wrong by chance


def notes(recordings: int, split: str) -> tuple[str, ...]:
    """Say what holds for all intervals and ties of a study. recordings: of the study's split."""
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
    """Explain the differences of a front and their caveats; empty if there are none."""
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
            f"Of {len(compared)} comparisons, one in twenty of those that do not differ seems to differ by chance."
        )
    return tuple(lines)


def split_of(rows: Sequence[FrontRow]) -> str:
    """Return the split that was measured, as recorded in the rows."""
    measured_on = (row.measurement.data or {} for row in rows if row.measurement)
    return next((data["split"] for data in measured_on if "split" in data), "the split")


def method(recordings: int) -> str:
    """Describe how intervals were made."""
    if recordings < bootstrap.FEWEST:
        return "none: a single recording has no interval"
    return (
        f"paired bootstrap over {recordings} recordings: {bootstrap.RESAMPLES:,} resamples, seed {bootstrap.SEED}, "
        f"percentile interval of {100 * bootstrap.LEVEL:.0f} % of the difference of pooled DER"
    )
