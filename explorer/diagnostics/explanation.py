"""Where the errors and the time of a stored trial come from: `explorer explain` as data.

Errors are measured again with the segmentation, the clustering or both made perfect
(objectives/evaluation/oracle.py says how). What a perfect stage would save is the cost of that stage. The time is the
one that the trial recorded.

The effect of compression is measured against the unpruned FP32 model at the same operating point. With oracle
clustering, the two differ only by what the segmentation outputs: that difference is due to the segmentation. The rest
is due to the clustering, which is given worse local speakers: the compressed model is farther from its own oracle
clustering than the other model is. The two parts add up to the whole. With oracle segmentation no model is run, so that
condition is left out here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.diagnostics.measured_trials import evaluator_of, measured_trials, point_of, same_model
from explorer.statistics.differences import Points, few_recordings, points, points_in_words, scored_of
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.study_record import stored_definition
from explorer.workers.protocol import OnStage, prefixed
from objectives.evaluation.oracle import CONDITIONS, Condition, Isolated, isolate
from objectives.machine import Device
from objectives.measurement import DATA, STAGES, pool
from objectives.operating_point import UNPRUNED, OperatingPoint, describe
from studies.search_space import SearchSpace, recall

COMPARED: tuple[Condition, ...] = ("none", "clustering")  # conditions of the uncompressed model
SAME_DER = 1e-6  # points: the same labels, added up in another order
KINDS = {"false_alarm": "false alarm", "missed_detection": "missed detection", "confusion": "confusion"}


@dataclass(frozen=True, kw_only=True)
class Errors(record.PooledErrors):
    """Errors under one condition. perfect: which stages were made perfect."""

    perfect: Condition


@dataclass(frozen=True)
class Time:
    """rtf: median of the trial's repeats. shares: of each stage in its compute, adding up to 1; None if an earlier
    version did not record them. stages: RTF by stage. emulated: whether the time differs from the deployed model's."""

    rtf: float
    shares: Mapping[str, float] | None
    stages: Mapping[str, float] | None
    emulated: bool


@dataclass(frozen=True)
class Added:
    """What the compressed model adds to the DER of the unpruned FP32 one at the same operating point.

    trial: the number of the FP32 trial in the study, None if there is none. errors: of the FP32 model, as it is and
    with oracle clustering. segmentation, clustering: the two parts of `total`.
    """

    trial: int | None
    errors: tuple[Errors, ...]
    total: Points
    segmentation: Points
    clustering: Points


@dataclass(frozen=True)
class Explanation:
    """What `explorer explain` answers about one trial.

    errors: as it is, then with oracle segmentation, oracle clustering and both. segmentation, clustering: the cost of
    each stage, which is what the reference in its place would save. They need not add up, since a perfect segmentation
    also avoids clustering errors. One may be below 0, since names that are right in their windows need not give the
    fewest errors in their blocks. apart: by how much the segmentation costs more than the clustering. time: None if the
    trial was stopped before it was timed. added: None if the model is not compressed. said: the same in sentences.
    caveats: what to know before trusting it.
    """

    study: str
    trial: int
    origin: str
    point: str
    model_key: str
    scored_seconds: float
    data: Mapping[str, str]
    errors: tuple[Errors, ...]
    segmentation: Points
    clustering: Points
    apart: Points
    time: Time | None
    added: Added | None
    said: tuple[str, ...]
    caveats: tuple[str, ...]


def explain(
    study: optuna.Study,
    number: int,
    device: Device | None = None,
    on_progress: OnStage = lambda stage, fraction: None,
    trusted: frozenset[str] = frozenset(),
) -> Explanation:
    """Measure a trial's errors with perfect stages, and report where its errors and its time come from.

    device: where windows are run; the study's by default. trusted: see EvaluatorSettings.
    Raises StudyError if the trial was not measured, or if its corpus, weights, settings or model have changed, and
    whatever the corpus, models and evaluation raise.
    """
    space = stored_definition(study).space
    (trial,), _ = measured_trials(study, [number])
    point = point_of(trial, space)
    plain = replace(point, pruning=UNPRUNED, precision="fp32")
    with evaluator_of(study, [trial], device, trusted, on_progress) as evaluator:
        key = same_model(trial, point, evaluator, on_progress)
        ours = isolate(evaluator, point, prefixed(on_progress, f"trial {number}"))
        theirs: Isolated = {}
        if plain != point:
            theirs = isolate(evaluator, plain, prefixed(on_progress, "unpruned fp32"), COMPARED)
        data = {name: evaluator.identity[name] for name in DATA}
    added = added_by_compression(ours, theirs, _trial_of(study, plain, space)) if theirs else None
    return explanation(study.study_name, trial, point, key, data, ours, added)


def explanation(
    study: str,
    trial: FrozenTrial,
    point: OperatingPoint,
    model_key: str,
    data: Mapping[str, str],
    isolated: Isolated,
    added: Added | None,
) -> Explanation:
    """Build the answer from measurements. trial: with its attributes."""
    scored = {condition: scored_of(isolated[condition]) for condition in CONDITIONS}
    found = Explanation(
        study=study,
        trial=trial.number,
        origin=record.origin_of(trial),
        point=describe(point),
        model_key=model_key,
        scored_seconds=pool(isolated["none"].values()).total,
        data=data,
        errors=tuple(Errors.of(isolated[condition], perfect=condition) for condition in CONDITIONS),
        segmentation=points(scored["none"], scored["segmentation"]),
        clustering=points(scored["none"], scored["clustering"]),
        apart=points(scored["clustering"], scored["segmentation"]),
        time=time_of(trial),
        added=added,
        said=(),
        caveats=(),
    )
    said = (*_said_of_errors(found), *_said_of_time(found.time), *_said_of_added(added, point))
    return replace(found, said=said, caveats=tuple(_caveats(trial, point, found)))


def _trial_of(study: optuna.Study, point: OperatingPoint, space: SearchSpace) -> int | None:
    """Return the first complete trial of an operating point."""
    for trial in bulk_sql.read(study).values():
        if trial.state is TrialState.COMPLETE and recall(trial, space) == point:
            return int(trial.number)
    return None


def added_by_compression(ours: Isolated, theirs: Isolated, trial: int | None) -> Added:
    """Split what compression adds. ours: of the compressed model. trial: of the FP32 one in the study, if any."""
    named, unnamed = ours["clustering"], theirs["clustering"]
    return Added(
        trial=trial,
        errors=tuple(Errors.of(theirs[condition], perfect=condition) for condition in COMPARED),
        total=points(scored_of(ours["none"]), scored_of(theirs["none"])),
        segmentation=points(scored_of(named), scored_of(unnamed)),
        clustering=points(scored_of(ours["none"], named), scored_of(theirs["none"], unnamed)),
    )


def time_of(trial: FrozenTrial) -> Time | None:
    """Return the time that a trial recorded."""
    repeats = trial.user_attrs.get(record.RTF_REPEATS)
    if not repeats:
        return None
    rtf = float(median(repeats))
    shares = trial.user_attrs.get(record.STAGE_SHARES) or None
    stages: dict[str, float] | None = shares and {stage: rtf * shares[stage] for stage in STAGES}
    return Time(rtf, shares, stages, record.is_emulated(trial))


def _said_of_errors(found: Explanation) -> Iterator[str]:
    as_it_is, perfect_segmentation, perfect_clustering, both = found.errors
    if as_it_is.der == 0:
        yield "There are no errors to explain."
        return
    kind = max(KINDS, key=lambda name: float(getattr(as_it_is, name)))
    yield (
        f"Of the DER of {as_it_is.der:.2f} %, {getattr(as_it_is, kind):.2f} points are {KINDS[kind]}. With the "
        f"reference's segmentation {perfect_segmentation.der:.2f} % are left, with the reference's names "
        f"{perfect_clustering.der:.2f} %, with both {both.der:.2f} %, which is what frames, blocks, closed pauses and "
        "the number of local speakers leave."
    )
    ranked = [("segmentation", found.segmentation), ("clustering", found.clustering)]
    (more, most), (less, least) = ranked if found.apart.points > 0 else ranked[::-1]
    answer = f"the {more} costs more points ({points_in_words(most)}) than the {less} ({points_in_words(least)})"
    recordings = len(as_it_is.recordings)
    yield f"These {recordings} recordings cannot show whether {answer}." if found.apart.tied else f"So {answer}."


def _said_of_time(time: Time | None) -> Iterator[str]:
    if time is not None and time.shares is not None:
        first, second, *_ = sorted(time.shares, key=time.shares.__getitem__, reverse=True)
        yield (
            f"Of the time (RTF {time.rtf:.4f}), {100 * time.shares[first]:.0f} % goes to {first} and "
            f"{100 * time.shares[second]:.0f} % to {second}."
        )


def _said_of_added(added: Added | None, point: OperatingPoint) -> Iterator[str]:
    if added is None:
        return
    model = point.precision if point.pruning == UNPRUNED else f"{point.pruning}, {point.precision}"
    tied = " These recordings cannot distinguish that difference from zero." if added.total.tied else ""
    yield (
        f"Beside the unpruned FP32 model at this point ({added.errors[0].der:.2f} %), {model} changes the DER by "
        f"{points_in_words(added.total)} points: {points_in_words(added.segmentation)} by the segmentation, "
        f"{points_in_words(added.clustering)} by the clustering, which is given other local speakers.{tied}"
    )


def _caveats(trial: FrozenTrial, point: OperatingPoint, found: Explanation) -> Iterator[str]:
    as_it_is, time = found.errors[0], found.time
    if few := few_recordings(len(as_it_is.recordings)):
        yield few
    if trial.state is TrialState.COMPLETE and abs(trial.values[0] - as_it_is.der) > SAME_DER:
        yield (
            f"the trial recorded {trial.values[0]:.4f} %, and {as_it_is.der:.4f} % were measured now: another machine, "
            "other packages or a damaged cache (`explorer verify` finds out which)"
        )
    if trial.state is TrialState.PRUNED:
        yield f"the trial was stopped ({record.why_stopped(trial)}): its errors were measured now"
    if time is None:
        yield "the trial was stopped before its RTF was measured"
    elif time.shares is None:
        yield "its RTF was measured by an earlier version, which did not time stages separately"
    elif time.emulated:
        yield f"{point.precision} is emulated: the time of its segmentation is not the deployed model's"
