"""From budgets to operating points with reasons, as data. Nothing here prints."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial

from explorer.front import comparisons
from explorer.front.pareto import dominates, row_of
from explorer.front.rows import FrontRow
from explorer.recommend import caveats
from explorer.recommend.budgets import Budgets, Shortfall
from explorer.recommend.candidates import Candidates, candidates
from explorer.recommend.distance import (
    BASELINE,
    COMPARED,
    PAPER_POINT,
    Distance,
    PublishedDistance,
    Side,
    distance,
    published_distance,
)
from explorer.recommend.roles import Role, roles_of
from explorer.recommend.test_split import HeldOut, TestScore, held_out, other_machine
from explorer.storage import provenance
from explorer.storage import trial_record as record
from explorer.storage.foreign_trials import LeftOut
from explorer.storage.study_record import stored_definition
from explorer.workers.protocol import OnStage
from objectives.operating_point import Tracking
from studies.definition import StudyDefinition
from studies.paper_results import TABLE2_VARIANT


@dataclass(frozen=True)
class Dominated:
    """A point that is nowhere better in DER, size and RTF, and worse in one. origins: `search`, or its fixed points."""

    trial: int
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Recommendation:
    """One operating point, with the arguments for and against it.

    row: its figures, on the study's split. also: the other origins of the same operating point. roles: why it is
    recommended. test: its score on the split `test`, None if it has none. baseline, paper_point: its distance to these
    points of the study, None if they are not measured; paper_point is also None if Table 2 is about another model here
    than the paper's Linear-40. published: how far the paper's own point is from its baseline. dominates: of all points
    that keep the study's limits. caveats: in words.
    """

    row: FrontRow
    also: tuple[str, ...]
    roles: tuple[Role, ...]
    test: TestScore | None
    baseline: Distance | None
    paper_point: Distance | None
    published: PublishedDistance
    dominates: tuple[Dominated, ...]
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """What `explorer recommend` answers.

    tracking: the mode that points were restricted to, None for all of the study's. limits: budgets by name, `der` in
    percent. baseline_der: percent, None if it is not measured. points: number of operating points of the study,
    complete and within its own limits. inside: number of those within the budgets too. front: number of those that no
    other one dominates. split, recordings: what their DER was measured on. method: of every interval. notes: how to
    read these intervals. test: scores on the split `test` by trial, and why any are missing. baseline_test: the
    baseline's score there. recommendations: lowest DER first; none if there is a `shortfall`, and then `nearest` is the
    row of the nearest point. left_out: trials that another program added or changed, by number, and why.
    """

    study: str
    tracking: Tracking | None
    limits: Mapping[str, float]
    baseline_der: float | None
    points: int
    inside: int
    front: int
    split: str
    recordings: int
    method: str
    notes: tuple[str, ...]
    test: HeldOut
    baseline_test: TestScore | None = None
    recommendations: tuple[Recommendation, ...] = ()
    shortfall: Shortfall | None = None
    nearest: FrontRow | None = None
    left_out: LeftOut = field(default_factory=dict)


def recommend(
    study: optuna.Study,
    budgets: Budgets,
    top: int = 3,
    test: bool = True,
    on_progress: OnStage = lambda stage, fraction: None,
    trusted: frozenset[str] = frozenset(),
    tracking: Tracking | None = None,
) -> Advice:
    """Recommend operating points of a study: within budgets the `top` of lowest DER, the knee, and the smallest
    that cannot be distinguished from the best.

    test: score them on the corpus' split `test`, each once, beside the baseline and the paper's point. trusted: as for
    EvaluatorSettings. tracking: use only points of this mode, since online and chunk-wise points cannot replace each
    other; None for all of them. Raises StudyError if the study was not made by explorer, has no complete trial within
    its own limits, or has no use for a budget or a mode (see `candidates`), and if a score on `test` cannot be kept.
    """
    definition = stored_definition(study)
    found = candidates(study, definition, budgets, tracking)
    missed, whole = found.missed, found.whole
    rows = {number: _row(study, definition, trial, found) for number, trial in whole.items()}
    scores = {number: record.scored_seconds(trial.user_attrs[record.RECORDINGS]) for number, trial in whole.items()}
    references = {origin: found.references[origin].number for origin in COMPARED if origin in found.references}
    if PAPER_POINT in references and rows[references[PAPER_POINT]].pruning != TABLE2_VARIANT:
        del references[PAPER_POINT]  # Table 2 is about another model here
    roles = {} if missed else roles_of([whole[number] for number in found.shown], top)
    wanted = [whole[number] for number in dict.fromkeys([*roles, *references.values()])] if roles else []
    tested = HeldOut("not asked", "not asked for")
    if test and wanted:
        tested = held_out(study, definition, wanted, on_progress, trusted)
    sides = {
        number: Side(row, scores[number], tested.scores[number].scored if number in tested.scores else None)
        for number, row in rows.items()
    }

    def recommendation(number: int) -> Recommendation:
        point = next(point for point in found.front if point.number == number)
        distances = {origin: distance(sides[number], sides[other], origin) for origin, other in references.items()}
        row, score, baseline = rows[number], tested.scores.get(number), distances.get(BASELINE)
        moved = score is not None and other_machine(study, score)
        beaten = [other for other in found.points if dominates(study, point.trial, other.trial)]
        return Recommendation(
            row=row,
            also=tuple(origin for origin in point.origins if origin != row.origin),
            roles=roles[number],
            test=score,
            baseline=baseline,
            paper_point=distances.get(PAPER_POINT),
            published=published_distance(),
            dominates=tuple(Dominated(other.number, other.origins) for other in beaten),
            caveats=caveats.caveats(row, baseline, score, definition.split, len(scores[number]), moved),
        )

    recordings = len(scores[found.shown[0]])
    baseline = references.get(BASELINE)
    mixed = provenance.mixed_versions({number: row.figures.versions for number, row in rows.items()})
    of_versions = (f"The points were {provenance.in_words(mixed)}.",) if mixed else ()
    return Advice(
        study=study.study_name,
        tracking=tracking,
        limits=found.limits,
        baseline_der=None if baseline is None else rows[baseline].figures.der,
        points=len(found.points),
        inside=len(found.inside),
        front=len(found.front),
        split=definition.split,
        recordings=recordings,
        method=comparisons.method(recordings),
        notes=(*comparisons.notes(recordings, definition.split), *of_versions),
        test=tested,
        baseline_test=None if baseline is None else tested.scores.get(baseline),
        recommendations=tuple(map(recommendation, roles)),
        shortfall=missed,
        nearest=rows[missed.nearest] if missed else None,
        left_out=found.left_out,
    )


def _row(study: optuna.Study, definition: StudyDefinition, trial: FrozenTrial, found: Candidates) -> FrontRow:
    row = row_of(study, definition, trial, found.best)
    assert row is not None, "it is complete"
    return row
