"""Why a point is recommended: the lowest DERs, the knee, and the smallest one tied with the best."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from explorer.statistics import bootstrap
from explorer.statistics.differences import signed
from explorer.statistics.knee import DEFINITION, knee
from explorer.storage import trial_record as record


@dataclass(frozen=True)
class Role:
    """name: `lowest DER`, `2nd lowest DER`, `knee`, `smallest tied with the best`. reason: in words."""

    name: str
    reason: str


def roles_of(front: Sequence[FrozenTrial], top: int) -> Mapping[int, tuple[Role, ...]]:
    """Return the roles of the points that have one, by trial number, lowest DER first.

    front: at least one point, none dominating another, lowest DER first, with their recordings.
    """
    found: defaultdict[int, list[Role]] = defaultdict(list)
    among = "the only one that none dominates" if len(front) == 1 else f"of {len(front)} points that none dominates"
    for place, trial in enumerate(front[:top], start=1):
        name = "lowest DER" if place == 1 else f"{ordinal(place)} lowest DER"
        reason = f"{name}: {trial.values[0]:.2f} %, {among}"
        found[trial.number].append(Role(name, reason))
    at = knee([trial.values for trial in front])
    if at is not None:
        found[front[at].number].append(Role("knee", f"knee of {len(front)} points that none dominates: {DEFINITION}"))
    if (smallest := _smallest_tied(front)) is not None:
        found[smallest[0]].append(smallest[1])
    return {trial.number: tuple(found[trial.number]) for trial in front if trial.number in found}


def ordinal(place: int) -> str:
    """Format a place: `1st`, `2nd`, `3rd`, `11th`."""
    ending = "th" if place // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def _smallest_tied(front: Sequence[FrozenTrial]) -> tuple[int, Role] | None:
    """Return the smallest point tied with the best; None if a single recording gives no interval."""
    name, best = "smallest tied with the best", front[0]
    scored = {t.number: record.scored_seconds(t.user_attrs[record.RECORDINGS]) for t in front}
    if len(scored[best.number]) < bootstrap.FEWEST:
        return None
    by_size = sorted(front, key=lambda trial: (trial.values[1], trial.values[0], trial.values[2]))
    for smaller, trial in enumerate(by_size):
        if trial is best:
            said = "every smaller point can be distinguished from it" if smaller else "it is the smallest as well"
            return trial.number, Role(name, f"{name}: {said}")
        interval = bootstrap.difference(scored[trial.number], scored[best.number])
        if interval is not None and interval.contains_zero:
            reason = (
                f"{name}: its DER cannot be distinguished from the lowest, {best.values[0]:.2f} % of trial "
                f"{best.number}: {trial.values[0] - best.values[0]:+.2f} points, {in_words(interval)}"
            )
            return trial.number, Role(name, reason)
    raise AssertionError("the best is one of them")


def in_words(interval: bootstrap.Interval) -> str:
    """Format an interval: `95 % interval −0.31 to +4.20 (6 recordings)`."""
    span = f"{signed(interval.low)} to {signed(interval.high)}"
    return f"{100 * interval.level:.0f} % interval {span} ({interval.recordings} recordings)"
