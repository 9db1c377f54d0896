"""Which operating points of a study are compared by DER, and whether its recordings can distinguish them.

A point of the front is compared with the next better one there, a dominated one with the best of those that dominate
it, one over a budget with the baseline. Any two that differ in one choice alone (QAT or PTQ, lower precision or FP32,
pruned or not, online or chunk-wise) are compared with each other. One set of bootstrap resamples of the recordings
serves all comparisons (explorer/statistics/bootstrap.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from optuna.trial import FrozenTrial

from explorer.front.rows import FrontRow
from explorer.statistics import bootstrap
from explorer.statistics.bootstrap import Scored
from explorer.statistics.differences import ends, in_words, told_apart
from explorer.storage import trial_record as record

Kind = Literal[
    "front neighbours",
    "lowest DER",
    "dominated",
    "over a budget",
    "QAT against PTQ",
    "online against chunk-wise",
    "lower precision against FP32",
    "pruned against unpruned",
]
STANDING: tuple[Kind, ...] = ("front neighbours", "lowest DER", "dominated", "over a budget")
MATCHED: tuple[Kind, ...] = (
    "QAT against PTQ",
    "online against chunk-wise",
    "lower precision against FP32",
    "pruned against unpruned",
)
BASELINE = "baseline"  # origin
Key = tuple[object, ...]


@dataclass(frozen=True)
class Comparison:
    """Two operating points of a study, each by the number of its trial and in words.

    der, versus_der: percent. der_difference: their difference in points, above 0 if `trial` has more errors.
    der_low, der_high: the 95 % interval of the difference over so many `recordings`; None if there is only one
    recording, which has no spread. tied: whether the interval contains zero; None without an interval.
    """

    kind: Kind
    trial: int
    versus: int
    point: str
    versus_point: str
    der: float
    versus_der: float
    der_difference: float
    der_low: float | None
    der_high: float | None
    recordings: int
    tied: bool | None


def difference_in_words(one: "Comparison | FrontRow") -> str:
    """Describe a comparison, or a row and the one that it was compared with; empty if there is none."""
    if one.der_difference is None:
        return ""
    return in_words(one.der_difference, one.der_low, one.der_high, one.tied)


def compare(rows: Sequence["FrontRow"], trials: Mapping[int, FrozenTrial]) -> tuple[Comparison, ...]:
    """Make every comparison among the measured rows, in the order of Kind and of the rows.

    rows: lowest DER first. trials: of these rows, whole, by number, all scored on the same recordings.
    """
    measured = [row for row in rows if row.der is not None]
    between = _Between(trials)
    return tuple(between(*pair) for pair in (*_standing(measured), *_matched(measured)))


def beside(rows: Sequence["FrontRow"], found: Sequence[Comparison]) -> tuple["FrontRow", ...]:
    """Add to each row its comparison: `found` as from `compare`."""
    of_standing = {one.trial: one for one in found if one.kind in STANDING and one.kind != "lowest DER"}
    with_best = {one.trial: one.tied for one in found if one.kind == "lowest DER"}
    return tuple(_filled(row, of_standing.get(_number(row)), with_best.get(_number(row))) for row in rows)


def to_trial(row: "FrontRow") -> str:
    """Describe a row's comparison: `18: +0.39 [−5.16, +6.20] tied`; empty if it is compared with none."""
    return "" if row.versus is None else f"{row.versus}: {difference_in_words(row)}"


def matched(rows: Sequence["FrontRow"], found: Sequence[Comparison], kind: Kind) -> dict[Key, Comparison]:
    """Return comparisons by operating point, since fixed points that coincide share one."""
    of_trial = {one.trial: one for one in found if one.kind == kind}
    return {key(row): of_trial[row.trial] for row in rows if row.trial in of_trial}


def key(row: "FrontRow") -> Key:
    """Return what makes two rows the same operating point."""
    return row.mode, row.chunk_length, row.right_context, row.pruning, row.precision, tuple((row.online or {}).items())


def _filled(row: "FrontRow", one: Comparison | None, tied_with_best: bool | None) -> "FrontRow":
    if one is None:
        return row
    return replace(
        row,
        versus=one.versus,
        der_difference=one.der_difference,
        der_low=one.der_low,
        der_high=one.der_high,
        tied=one.tied,
        tied_with_best=tied_with_best,
    )


def _standing(rows: Sequence["FrontRow"]) -> list[tuple[Kind, "FrontRow", "FrontRow"]]:
    """Return each row with its standing's counterpart. The same operating point, measured once, counts once."""
    baseline = next((row for row in rows if row.origin == BASELINE), None)
    by_number = {row.trial: row for row in rows}
    front = [row for row in rows if row.standing == "front"]
    found: dict[Kind, list[tuple[FrontRow, FrontRow]]] = {kind: [] for kind in STANDING}
    above: FrontRow | None = None
    for before, row in pairwise(front):
        above = before if key(before) != key(row) else above
        found["front neighbours"] += [(row, above)] if above is not None else []
        found["lowest DER"] += [(row, front[0])] if key(row) != key(front[0]) else []
    for row in rows:
        if row.dominated_by:
            found["dominated"].append((row, min((by_number[number] for number in row.dominated_by), key=_der)))
        elif row.standing == "infeasible" and baseline is not None and key(baseline) != key(row):
            found["over a budget"].append((row, baseline))
    return [(kind, *pair) for kind, pairs in found.items() for pair in pairs]


def _matched(rows: Sequence["FrontRow"]) -> list[tuple[Kind, "FrontRow", "FrontRow"]]:
    """Return every two rows that differ in one choice alone."""
    at: dict[Key, FrontRow] = {}
    for row in rows:
        at.setdefault(key(row), row)
    others = {
        "QAT against PTQ": lambda row: replace(row, precision=row.precision.replace("_qat", "_ptq")),
        "online against chunk-wise": lambda row: (
            replace(row, mode="chunk-wise", online=None) if row.mode == "online" else row
        ),
        "lower precision against FP32": lambda row: replace(row, precision="fp32"),
        "pruned against unpruned": lambda row: replace(row, pruning="none"),
    }
    return [
        (kind, row, other)
        for kind in MATCHED
        for row in at.values()
        if (there := key(others[kind](row))) != key(row) and (other := at.get(there)) is not None
    ]


class _Between:
    """Compares rows by their trials. The resamples, and each trial's DER in them, are computed once."""

    def __init__(self, trials: Mapping[int, FrozenTrial]) -> None:
        self._trials = trials
        self._resampler: bootstrap.Resampler | None = None
        self._rates: dict[int, bootstrap.Rates] = {}

    def __call__(self, kind: Kind, ours: "FrontRow", theirs: "FrontRow") -> Comparison:
        assert ours.der is not None, "it was measured"
        assert theirs.der is not None, "it was measured"
        interval = self._draws(ours).interval(self._rates_of(ours), self._rates_of(theirs))
        one = told_apart(ours.der - theirs.der, interval)
        low, high = ends(interval)
        return Comparison(
            kind=kind,
            trial=_number(ours),
            versus=_number(theirs),
            point=_point(ours),
            versus_point=_point(theirs),
            der=ours.der,
            versus_der=theirs.der,
            der_difference=one.points,
            der_low=low,
            der_high=high,
            recordings=len(self._scored(ours)),
            tied=one.tied,
        )

    def _draws(self, row: "FrontRow") -> bootstrap.Resampler:
        self._resampler = self._resampler or bootstrap.Resampler(self._scored(row))
        return self._resampler

    def _rates_of(self, row: "FrontRow") -> bootstrap.Rates:
        number = _number(row)
        if number in self._rates:
            return self._rates[number]
        rates = self._draws(row).rates(self._scored(row))
        if row.standing != "dominated" or row.origin != record.SEARCH:  # the thousands of others are used only once
            self._rates[number] = rates
        return rates

    def _scored(self, row: "FrontRow") -> Scored:
        return record.scored_seconds(self._trials[_number(row)].user_attrs[record.RECORDINGS])


def _number(row: "FrontRow") -> int:
    return -1 if row.trial is None else row.trial


def _der(row: "FrontRow") -> float:
    assert row.der is not None, "it was measured"
    return row.der


def _point(row: "FrontRow") -> str:
    """Describe a point: `Linear-40 int4_qat, C 1 s, R 0 s, online`."""
    model = row.precision if row.pruning == "none" else f"{row.pruning} {row.precision}"
    at = "offline" if row.latency is None else f"C {row.chunk_length:.3g} s, R {row.right_context:.3g} s"
    return f"{model}, {at}" + (", online" if row.mode == "online" else "")


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
            f"Of {len(compared)} comparisons, one in twenty of those that do not differ is told apart by chance."
        )
    return tuple(lines)


def split_of(rows: Sequence[FrontRow]) -> str:
    """Return the split that was measured, as recorded in the rows."""
    return next((row.data["split"] for row in rows if row.data and "split" in row.data), "the split")


def method(recordings: int) -> str:
    """Describe how intervals were made."""
    if recordings < bootstrap.FEWEST:
        return "none: a single recording has no interval"
    return (
        f"paired bootstrap over {recordings} recordings: {bootstrap.RESAMPLES:,} resamples, seed {bootstrap.SEED}, "
        f"percentile interval of {100 * bootstrap.LEVEL:.0f} % of the difference of pooled DER"
    )
