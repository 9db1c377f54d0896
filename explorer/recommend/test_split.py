"""The DER of recommended points on the split `test`, which no search and no choice has seen: scored once and kept.

The lowest of many DERs is partly luck, so the DER by which a point was chosen flatters it. A DER on recordings that
took no part in the choice does not, as long as nobody goes on choosing by it. So a point's test DER is kept in the
study, and a point is never scored there again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial

from explorer.storage import trial_record as record
from explorer.storage.bulk_sql import refuse_read_only
from explorer.storage.study_record import damaged, device_of, evaluated_by, keep_json, kept_json, user_attributes
from explorer.terminal.corpus_remarks import print_remarks
from explorer.workers.protocol import Evaluator, OnStage, prefixed
from objectives.errors import (
    AssetError,
    CorpusError,
    EvaluationError,
    LeakageError,
    ModelError,
    quoted,
)
from studies.definition import StudyDefinition
from studies.search_space import recall

TEST = "test"
SETTINGS = "test_split"  # study attribute: what points are scored with, written before the first is scored
SCORE = "test_split:{trial}"  # study attribute of each scored point
# Of what identifies an evaluator, what a study's split changes, and what decides no label or next to none
OTHER_SPLIT = ("split", "cost")
MACHINE = "machine"
SINCE = ("tracking",)  # keys that a study of an earlier version lacks, and does not need

Status = Literal["scored", "absent", "searched", "unavailable", "not asked"]


@dataclass(frozen=True, kw_only=True)
class TestScore(record.PooledErrors):
    """How one operating point did on `test`. machine: where it was scored."""

    __test__ = False  # for pytest: this is not a test

    machine: Mapping[str, str]


@dataclass(frozen=True)
class HeldOut:
    """What is known about `test`. scores: by trial number.

    status: `scored`; `absent` if the corpus has no such split; `searched` if the search itself used it; `unavailable`
    if it could not be scored (now, or for some of the points); `not asked`. note: the status in words.
    """

    status: Status
    note: str = ""
    scores: Mapping[int, TestScore] = field(default_factory=dict)


def held_out(
    study: optuna.Study,
    definition: StudyDefinition,
    trials: Sequence[FrozenTrial],
    on_progress: OnStage = lambda stage, fraction: None,
    trusted: frozenset[str] = frozenset(),
) -> HeldOut:
    """Return the scores of these whole trials on `test`: the study's own, and the missing ones, measured now and kept.

    If a score cannot be measured (the corpus moved, the weights have changed, no GPU, ...) the note says why, and
    nothing is raised. Raises StudyError if the study cannot be written: then nothing was scored.
    """
    if definition.split in (TEST, "all"):
        return HeldOut("searched", f"the search itself looked at {definition.split!r}: no recording is left for a test")
    known = {trial.number: score for trial in trials if (score := _stored(study, trial.number)) is not None}
    _refuse_other_recordings(study, known)
    missing = [trial for trial in trials if trial.number not in known]
    if not missing:
        return HeldOut("scored", scores=known)
    try:
        # imported late, since these import pyannote and torch
        from objectives.corpora.sources import load_corpus
        from objectives.corpora.summary import in_brief
        from objectives.evaluation.evaluator import build_evaluator

        on_progress("reading the corpus", 0.0)
        corpus = load_corpus(definition.corpus, definition.seed)
        print_remarks(in_brief(corpus, definition.corpus))  # printed here, so that the evaluator need not
        if not corpus.splits.get(TEST):
            return HeldOut("absent", f"the corpus {definition.corpus!r} has no split {TEST!r}", known)
        refuse_read_only(study)
        settings = replace(definition.evaluator_settings(device_of(study), trusted), split=TEST)
        with build_evaluator(settings) as evaluator:
            if why := _differs(study, evaluator.identity):
                return HeldOut("unavailable", why, known)
            return _score(study, definition, missing, evaluator, known, on_progress)
    except (CorpusError, AssetError, ModelError, LeakageError) as error:
        why = f"split {TEST!r} cannot be scored ({type(error).__name__}: {error})"
        return HeldOut("unavailable", why, known)


def _score(
    study: optuna.Study,
    definition: StudyDefinition,
    missing: Sequence[FrozenTrial],
    evaluator: Evaluator,
    known: Mapping[int, TestScore],
    on_progress: OnStage,
) -> HeldOut:
    if SETTINGS not in user_attributes(study):
        _keep(study, SETTINGS, dict(evaluator.identity))
    machine = {key: value for key, value in evaluator.identity.items() if key.startswith(MACHINE)}
    scores, failures = dict(known), []
    for place, trial in enumerate(missing, start=1):
        point = recall(trial, definition.space)
        assert point is not None, "it is complete"
        step = f"trial {trial.number} on {TEST}, {place} of {len(missing)}"
        try:
            counts = evaluator.errors(point, prefixed(on_progress, step))
        except EvaluationError as error:
            failures.append(f"trial {trial.number} could not be scored on {TEST} ({error})")
            continue
        kept = {
            "der": record.errors_of(reduce(add, counts.values())),
            record.RECORDINGS: {uri: record.errors_of(one) for uri, one in counts.items()},
            "machine": machine,
        }
        _keep(study, SCORE.format(trial=trial.number), kept)  # at once: what was looked at is never scored again
        scores[trial.number] = _score_of(kept)
    return HeldOut("unavailable" if failures else "scored", "; ".join(failures), scores)


def other_machine(study: optuna.Study, score: TestScore) -> bool:
    """Return whether a point was scored on another machine than the study's: its kernels may decide ties otherwise."""
    known = evaluated_by(study)
    return any(known.get(key) != value for key, value in score.machine.items())


def _stored(study: optuna.Study, trial: int) -> TestScore | None:
    kept = kept_json(study, SCORE.format(trial=trial))
    if kept is None:
        return None
    try:
        score = _score_of(kept)
        if not isinstance(score.machine, dict):
            raise ValueError(f"machine = {quoted(score.machine)}")
        score.check()
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise damaged(study, SCORE.format(trial=trial), f"{type(error).__name__}: {error}") from error
    return score


def _score_of(kept: Mapping[str, Any]) -> TestScore:
    return TestScore.read(kept["der"], recordings=kept[record.RECORDINGS], machine=kept["machine"])


def _keep(study: optuna.Study, key: str, value: object) -> None:
    keep_json(study, key, value, f"the DER on {TEST}, scored only once,", "fix the storage, or give --no-test")


def _refuse_other_recordings(study: optuna.Study, known: Mapping[int, TestScore]) -> None:
    """Raise StudyError if points were scored on different recordings, since they cannot be compared."""
    if not known:
        return
    first, score = next(iter(known.items()))
    for number, other in known.items():
        if other.recordings.keys() != score.recordings.keys():
            raise damaged(study, SCORE.format(trial=number), f"not of the recordings that trial {first} was scored on")


def _differs(study: optuna.Study, identity: Mapping[str, str]) -> str | None:
    """Return why this evaluator's scores could not be compared with the study's points or its earlier scores."""
    earlier = kept_json(study, SETTINGS)
    for identified, what in ((evaluated_by(study), "the study was run"), (earlier, f"{TEST} was first scored")):
        if identified is None:
            continue
        keys = [
            key
            for key in {**identified, **identity}
            if key not in OTHER_SPLIT
            and not key.startswith(MACHINE)
            and identified.get(key) != identity.get(key)
            and (key in identified or key not in SINCE)
        ]
        if keys:
            changes = "; ".join(
                f"{key}: {identified.get(key, '(absent)')} → {identity.get(key, '(absent)')}" for key in keys
            )
            return f"split {TEST!r} is not scored, for something has changed since {what}: {changes}"
    return None
