"""Which operating points of a study are compared by DER, and whether its recordings can tell them apart.

A point of the front is compared with the next better one there, a dominated one with the best of those that dominate
it, one over a budget with the baseline; and any two that differ in one choice alone (QAT or PTQ, lower precision or
FP32, pruned or not, online or chunk-wise) with each other. One set of draws of the recordings serves all of them
(explorer/statistics/bootstrap.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from optuna.trial import FrozenTrial

from explorer.front.rows import FrontRow
from explorer.statistics import bootstrap
from explorer.statistics.bootstrap import Scored
from explorer.statistics.differences import ends, in_words, told_apart
from explorer.storage import trial_record as record

if TYPE_CHECKING:  # the one fills its rows with what is found here, the other brings pyannote
    from explorer.front.rows import FrontRow


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

    der, versus_der: percent. der_difference: their difference in points, above 0 where `trial` has more errors.
    der_low, der_high: the 95 % interval of that, over so many `recordings`; None where there is none, since a single
    recording has no spread. tied: whether it holds zero, so that the two cannot be told apart; None without it.
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


def told(one: "Comparison | FrontRow") -> str:
    """The same of a comparison, or of a row beside the one that it was compared with; empty where there is none."""
    if one.der_difference is None:
        return ""
    return in_words(one.der_difference, one.der_low, one.der_high, one.tied)


def compare(rows: Sequence["FrontRow"], trials: Mapping[int, FrozenTrial]) -> tuple[Comparison, ...]:
    """Every comparison among the rows that were measured, in the order of Kind and of the rows.

    rows: lowest DER first. trials: of these, whole, by number, all scored on the same recordings.
    """
    measured = [row for row in rows if row.der is not None]
    between = _Between(trials)
    return tuple(between(*pair) for pair in (*_standing(measured), *_matched(measured)))


def beside(rows: Sequence["FrontRow"], found: Sequence[Comparison]) -> tuple["FrontRow", ...]:
    """Rows with what each stands beside: `found` as `compare` gives it."""
    of_standing = {one.trial: one for one in found if one.kind in STANDING and one.kind != "lowest DER"}
    with_best = {one.trial: one.tied for one in found if one.kind == "lowest DER"}
    return tuple(_filled(row, of_standing.get(_number(row)), with_best.get(_number(row))) for row in rows)


def to_trial(row: "FrontRow") -> str:
    """`18: +0.39 [−5.16, +6.20] tied` of a row; empty where it is compared with none."""
    return "" if row.versus is None else f"{row.versus}: {told(row)}"


def matched(rows: Sequence["FrontRow"], found: Sequence[Comparison], kind: Kind) -> dict[Key, Comparison]:
    """By operating point, since fixed points that are the same one share a comparison."""
    of_trial = {one.trial: one for one in found if one.kind == kind}
    return {key(row): of_trial[row.trial] for row in rows if row.trial in of_trial}


def key(row: "FrontRow") -> Key:
    """What makes two rows the same operating point."""
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
    """What each row is compared with for where it stands. The same operating point, measured once, is one."""
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
    """Every two that differ in one choice alone."""
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
    """Compares rows by their trials. The draws are made once, and what a trial's DER is in each."""

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
        if row.standing != "dominated" or row.origin != record.SEARCH:  # of thousands, each is compared but once
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
    """`Linear-40 int4_qat, C 1 s, R 0 s, online`."""
    model = row.precision if row.pruning == "none" else f"{row.pruning} {row.precision}"
    at = "offline" if row.latency is None else f"C {row.chunk_length:.3g} s, R {row.right_context:.3g} s"
    return f"{model}, {at}" + (", online" if row.mode == "online" else "")


MANY = 20  # comparisons at 95 %: one of them errs by chance


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
