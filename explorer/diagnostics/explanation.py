"""Where the errors and the time of a stored trial come from: `explorer explain` as data.

Errors are measured again with the segmentation, the clustering or both made perfect
(objectives/evaluation/oracle.py says how). What a perfect stage would save is the cost of that stage. The time is the
one that the trial recorded.

The effect of compression is measured against the unpruned FP32 model at the same operating point. With oracle
clustering, the two differ only by what the segmentation outputs: that difference is due to the segmentation. The rest
is due to the clustering, which is given worse local speakers: the compressed model is farther from its own oracle
clustering than the other model is. The two parts add up to the whole. With oracle segmentation no model is run, so that
condition is of no use here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.diagnostics.verification import in_words, measured_trials, point_of
from explorer.statistics import bootstrap
from explorer.statistics.differences import Points, points, scored_of, told_points
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.study_record import device_of, refuse_other_data, stored_definition
from explorer.terminal.corpus_remarks import print_remarks
from explorer.workers.protocol import EvaluatorSettings, OnStage, prefixed
from objectives.errors import StudyError
from objectives.evaluation.evaluator import Evaluator
from objectives.evaluation.oracle import CONDITIONS, Condition, Isolated, isolate
from objectives.machine import Device
from objectives.measurement import DATA, STAGES, ErrorCounts, pool
from objectives.operating_point import UNPRUNED, OperatingPoint
from studies.search_space import SearchSpace, recall

COMPARED: tuple[Condition, ...] = ("none", "clustering")  # conditions of the uncompressed model
SAME_DER = 1e-6  # points: the same labels, added up in another order
KINDS = {"false_alarm": "false alarm", "missed_detection": "missed detection", "confusion": "confusion"}

Stage = Literal["segmentation", "clustering"]


@dataclass(frozen=True)
class Errors:
    """Errors of all recordings, in percent of the scored reference speech. perfect: which stages were made perfect.
    recordings: seconds of each kind by URI, as in a trial."""

    perfect: Condition
    der: float
    false_alarm: float
    missed_detection: float
    confusion: float
    recordings: Mapping[str, Mapping[str, float | None]]


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

    device: where windows are run; the study's by default. trusted: as for `build_evaluator`.
    Raises StudyError if the trial was not measured, or if its corpus, weights, settings or model have changed, and
    whatever the corpus, models and evaluation raise.
    """
    definition = stored_definition(study)
    (trial,), _ = measured_trials(study, [number])
    point = point_of(trial, definition.space)
    plain = replace(point, pruning=UNPRUNED, precision="fp32")
    on_progress("getting ready", 0.0)
    with EvaluatorSettings.of(definition, device or device_of(study), trusted).build() as evaluator:
        assert isinstance(evaluator, Evaluator)
        print_remarks(evaluator.remarks)
        refuse_other_data(study, [trial], evaluator.identity)
        key = same_model(trial, point, evaluator, on_progress)
        ours = isolate(evaluator, point, prefixed(on_progress, f"trial {number}"))
        theirs: Isolated = {}
        if plain != point:
            theirs = isolate(evaluator, plain, prefixed(on_progress, "unpruned fp32"), COMPARED)
        data = {name: evaluator.identity[name] for name in DATA}
    added = added_by_compression(ours, theirs, _trial_of(study, plain, definition.space)) if theirs else None
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
    segmentation = points(scored["none"], scored["segmentation"])
    clustering = points(scored["none"], scored["clustering"])
    apart = points(scored["clustering"], scored["segmentation"])
    errors = tuple(errors_of(condition, isolated[condition]) for condition in CONDITIONS)
    time = time_of(trial)
    number = len(isolated["none"])
    said = [*_said_of_errors(errors, segmentation, clustering, apart, number), *_said_of_time(time)]
    if added is not None:
        said += _said_of_added(added, point)
    return Explanation(
        study=study,
        trial=trial.number,
        origin=record.origin_of(trial),
        point=in_words(point),
        model_key=model_key,
        scored_seconds=pool(isolated["none"].values()).total,
        data=data,
        errors=errors,
        segmentation=segmentation,
        clustering=clustering,
        apart=apart,
        time=time,
        added=added,
        said=tuple(said),
        caveats=tuple(_caveats(trial, errors[0], point, number)),
    )


def same_model(trial: FrozenTrial, point: OperatingPoint, evaluator: Evaluator, on_progress: OnStage) -> str:
    """Return the key of the trial's model. Raises StudyError if its settings now make another one."""
    key = evaluator.model(point, on_progress).key
    then = trial.user_attrs.get(record.MODEL_KEY, key)  # a trial that was stopped at once has none
    if key != then:
        raise StudyError(
            f"trial {trial.number} ran the model {then}, and the same settings make {key} now: what that one does "
            "explains nothing of the trial. Run the study again under another --name"
        )
    return key


def _trial_of(study: optuna.Study, point: OperatingPoint, space: SearchSpace) -> int | None:
    """Return the first complete trial of an operating point."""
    for trial in bulk_sql.read(study).values():
        if trial.state is TrialState.COMPLETE and recall(trial, space) == point:
            return int(trial.number)
    return None


def errors_of(condition: Condition, counts: Mapping[str, ErrorCounts]) -> Errors:
    """Return the errors of all recordings together."""
    whole = pool(counts.values())
    return Errors(
        perfect=condition,
        der=whole.der,
        false_alarm=whole.percent(whole.false_alarm),
        missed_detection=whole.percent(whole.missed_detection),
        confusion=whole.percent(whole.confusion),
        recordings={uri: record.errors_of(one) for uri, one in counts.items()},
    )


def added_by_compression(ours: Isolated, theirs: Isolated, trial: int | None) -> Added:
    """Split what compression adds. ours: of the compressed model. trial: of the FP32 one in the study, if any."""
    named, unnamed = ours["clustering"], theirs["clustering"]
    return Added(
        trial=trial,
        errors=tuple(errors_of(condition, theirs[condition]) for condition in COMPARED),
        total=points(scored_of(ours["none"]), scored_of(theirs["none"])),
        segmentation=points(scored_of(named), scored_of(unnamed)),
        clustering=points(scored_of(ours["none"], named), scored_of(theirs["none"], unnamed)),
    )


def time_of(trial: FrozenTrial) -> Time | None:
    """Return the time that a trial recorded."""
    repeats = trial.user_attrs.get("rtf_repeats")
    if not repeats:
        return None
    rtf = float(median(repeats))
    shares = trial.user_attrs.get("stage_shares")
    stages: dict[str, float] | None = {stage: rtf * shares[stage] for stage in STAGES} if shares else None
    return Time(rtf, shares or None, stages, trial.user_attrs.get("execution") == "emulated")


def _said_of_errors(
    errors: Sequence[Errors], segmentation: Points, clustering: Points, apart: Points, recordings: int
) -> list[str]:
    as_it_is, perfect_segmentation, perfect_clustering, both = errors
    if as_it_is.der == 0:
        return ["There are no errors to explain."]
    kind = max(KINDS, key=lambda name: float(getattr(as_it_is, name)))
    said = [
        f"Of the DER of {as_it_is.der:.2f} %, {getattr(as_it_is, kind):.2f} points are {KINDS[kind]}. With the "
        f"reference's segmentation {perfect_segmentation.der:.2f} % are left, with the reference's names "
        f"{perfect_clustering.der:.2f} %, with both {both.der:.2f} %, which is what frames, blocks, closed pauses and "
        "the number of local speakers leave."
    ]
    ranked = [("segmentation", segmentation), ("clustering", clustering)]
    (more, most), (less, least) = ranked if apart.points > 0 else ranked[::-1]
    answer = f"the {more} costs more points ({told_points(most)}) than the {less} ({told_points(least)})"
    if apart.tied:
        return [*said, f"Whether {answer} cannot be told on these {recordings} recordings."]
    return [*said, f"So {answer}."]


def _said_of_time(time: Time | None) -> list[str]:
    if time is None or time.shares is None:
        return []
    first, second, *_ = sorted(time.shares, key=lambda stage: -time.shares[stage] if time.shares else 0.0)
    return [
        f"Of the time (RTF {time.rtf:.4f}), {100 * time.shares[first]:.0f} % goes to {first} and "
        f"{100 * time.shares[second]:.0f} % to {second}."
    ]


def _said_of_added(added: Added, point: OperatingPoint) -> list[str]:
    model = f"{point.pruning}, {point.precision}" if point.pruning != UNPRUNED else point.precision
    said = (
        f"Beside the unpruned FP32 model at this point ({added.errors[0].der:.2f} %), {model} changes the DER by "
        f"{told_points(added.total)} points: {told_points(added.segmentation)} by the segmentation, "
        f"{told_points(added.clustering)} by the clustering, which is given other local speakers."
    )
    if added.total.tied:
        said += " These recordings cannot distinguish that difference from zero."
    return [said]


def _caveats(trial: FrozenTrial, as_it_is: Errors, point: OperatingPoint, recordings: int) -> list[str]:
    said = []
    if recordings < bootstrap.FEWEST:
        said.append("a single recording: no difference has an interval")
    elif recordings < bootstrap.FEW:
        said.append(f"few recordings ({recordings}): intervals tend to be too narrow")
    if trial.state is TrialState.COMPLETE and abs(trial.values[0] - as_it_is.der) > SAME_DER:
        said.append(
            f"the trial says {trial.values[0]:.4f} %, and {as_it_is.der:.4f} % were measured now: another machine, "
            "other packages or a damaged cache (`explorer verify` finds out which)"
        )
    if trial.state is TrialState.PRUNED:
        said.append(f"the trial was stopped ({record.why_stopped(trial)}): its errors were measured now")
    time = time_of(trial)
    if time is None:
        said.append("the trial was stopped before its RTF was measured")
    elif time.shares is None:
        said.append("its RTF was measured by an earlier version, which did not time stages separately")
    elif time.emulated:
        said.append(f"{point.precision} is emulated: the time of its segmentation is not the deployed model's")
    return said
