"""What may be recommended: the operating points of a study, each once, and those of them within the budgets.

Latency is not an objective of the search, so dominance is decided among the points inside the budgets: a point on the
study's front may be over them, and a point that it dominates may be the best one inside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.front.mode_filter import check_tracking, looked_at, tracked
from explorer.front.pareto import feasible_front
from explorer.recommend.budgets import Budgets, Shortfall, keeps, shortfall
from explorer.recommend.distance import BASELINE, COMPARED
from explorer.storage import trial_record as record
from explorer.storage.bulk_sql import read_chosen
from explorer.storage.foreign_trials import LeftOut
from objectives.errors import StudyError
from objectives.operating_point import Tracking
from studies.definition import StudyDefinition

ATTRIBUTES = (record.ORIGIN, record.REUSED_FROM, record.LATENCY)


@dataclass(frozen=True)
class Point:
    """A measured operating point. trial: as skimmed. origins: its own, then those of trials that reuse it."""

    trial: FrozenTrial
    origins: tuple[str, ...]

    @property
    def number(self) -> int:
        """Number of the trial that measured it."""
        return self.trial.number

    @property
    def values(self) -> dict[str, float]:
        """The quantities that budgets limit; without latency in an offline study."""
        der, size, rtf = self.trial.values
        latency = self.trial.user_attrs[record.LATENCY]
        return {"der": der, "size": size, "rtf": rtf} | ({} if latency is None else {"latency": latency})


@dataclass(frozen=True)
class Candidates:
    """The points of a study that a recommendation chooses from.

    limits: budgets by name, `der` in percent. points: all that keep the study's own limits. inside: those of `points`
    that are within the budgets. front: those of `inside` that no other one there dominates, lowest DER first. best: the
    study's own front. If a mode was asked for, all of these are of that mode. references: the point of each origin of a
    fixed point, whatever its mode and whatever limits it exceeds. whole: the trials of `shown` and of the references
    that every point is compared with, with all attributes. left_out: trials that another program added or changed, by
    number, and why.
    """

    limits: Mapping[str, float]
    points: tuple[Point, ...]
    inside: tuple[Point, ...]
    front: tuple[Point, ...]
    best: tuple[FrozenTrial, ...]
    references: Mapping[str, Point]
    whole: Mapping[int, FrozenTrial] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=dict)

    @property
    def shown(self) -> tuple[int, ...]:
        """Numbers of the trials to report: the front inside the budgets, or the point nearest to them."""
        missed = self.missed
        return (missed.nearest,) if missed else tuple(point.number for point in self.front)

    @property
    def missed(self) -> Shortfall | None:
        """By how much the budgets are missed; None if a point keeps them."""
        if self.inside:
            return None
        return shortfall(self.limits, {point.number: point.values for point in self.points})


def candidates(
    study: optuna.Study, definition: StudyDefinition, budgets: Budgets, tracking: Tracking | None = None
) -> Candidates:
    """Find the candidates of a study. tracking: use only points of this mode; None for all of them.

    Raises StudyError if the study has no complete trial within its own limits, or if it lacks what was asked for: a
    mode that it does not have, latency offline, an increase over a baseline that is not measured.
    """
    check_tracking(study, definition, tracking)
    if definition.space.mode == "offline" and budgets.latency is not None:
        raise StudyError(
            f"--max-latency {budgets.latency:g}: the study {study.study_name!r} is of the offline mode, which hears "
            "the whole recording first and has no latency: leave it out"
        )
    left_out: dict[int, str] = {}

    def to_show(trials: Sequence[FrozenTrial]) -> set[int]:
        found = _among(study, trials, budgets, tracking)
        return {*found.shown, *(found.references[origin].number for origin in COMPARED if origin in found.references)}

    trials, whole = read_chosen(study, to_show, ATTRIBUTES, looked_at(tracking), left_out)
    return replace(_among(study, trials, budgets, tracking), whole=whole, left_out=left_out)


def _among(
    study: optuna.Study, trials: Sequence[FrozenTrial], budgets: Budgets, tracking: Tracking | None
) -> Candidates:
    of_mode = tracked(trials, tracking)
    numbers = {trial.number for trial in of_mode}
    complete = _points(trials)
    points = tuple(point for point in complete if point.number in numbers and not record.exceeded(point.trial))
    if not points:
        what = "trial" if tracking is None else f"{tracking} trial"
        raise StudyError(
            f"the study {study.study_name!r} has no complete {what} within its own limits yet: run it, and see "
            f"`explorer status {study.study_name}`"
        )
    references = {origin: point for point in reversed(complete) for origin in point.origins if origin != record.SEARCH}
    baseline = references.get(BASELINE)
    limits = budgets.limits(None if baseline is None else baseline.values["der"])
    inside = tuple(point for point in points if keeps(limits, point.values))
    not_dominated = {trial.number for trial in feasible_front(study, [point.trial for point in inside])}
    return Candidates(
        limits=limits,
        points=points,
        inside=inside,
        front=tuple(sorted((p for p in inside if p.number in not_dominated), key=lambda p: (p.trial.values, p.number))),
        best=tuple(feasible_front(study, of_mode)),
        references=references,
    )


def _points(trials: Sequence[FrozenTrial]) -> list[Point]:
    """Return a point per complete trial; trials that reuse a measurement join the one that made it, if present."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    measured = {trial.number for trial in complete if record.is_measured(trial)}
    origins: dict[int, list[str]] = {}
    for trial in sorted(complete, key=lambda trial: trial.number not in measured):
        source = trial.user_attrs.get(record.REUSED_FROM)
        origins.setdefault(source if source in measured else trial.number, []).append(record.origin_of(trial))
    return [Point(trial, tuple(dict.fromkeys(origins[trial.number]))) for trial in complete if trial.number in origins]
