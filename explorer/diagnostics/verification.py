"""A stored trial measured again, afresh, to check that its figures are reproduced.

Nothing that was kept is trusted: windows, embedding features and the graphs that run are made again in a cache of their
own (objectives/cache/scratch.py), and so is the finished model if asked for. The files in the user's cache are compared
with the result. This detects a damaged cache, and a study whose figures were changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.diagnostics import agreement
from explorer.diagnostics.agreement import Change, CostCheck, Figure
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.study_record import device_of, refuse_other_data, stored_definition
from explorer.terminal.corpus_remarks import print_remarks
from explorer.workers.protocol import OnStage, prefixed
from objectives.cache.scratch import FreshCache, fresh_cache, kept_models
from objectives.errors import StudyError
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.machine import Device, versions
from objectives.measurement import DATA, pool
from objectives.operating_point import OperatingPoint
from studies.search_space import SearchSpace, recall

MEASURED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Verified:
    """A trial, then and now.

    measured_by: the trial that made the measurement; another one if the point had been measured already. stopped: why
    the trial was not measured to the end, empty if it was; then only as much was measured again. exact: whether every
    figure had to agree to the last digit; otherwise `changes` says why not. model: `kept`; `made anew`; `another` if
    the same settings no longer make the model that the trial ran, so that nothing more was measured; None if the trial
    was stopped before it had one. figures: all that were compared. cost: RTF; None if it was left out or never
    measured. caveats: in words.
    """

    trial: int
    origin: str
    point: str
    measured_by: int
    stopped: str
    exact: bool
    model: Literal["kept", "made anew", "another"] | None
    model_key: str | None
    changes: tuple[Change, ...]
    figures: tuple[Figure, ...]
    cost: CostCheck | None
    caveats: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether no figure is a fault."""
        return not self.faults

    @property
    def faults(self) -> tuple[Figure, ...]:
        """The figures that differ and must not."""
        return tuple(figure for figure in self.figures if figure.fault)


@dataclass(frozen=True)
class Verification:
    """What `explorer verify` answers. trials: in the order asked for. data: what they were measured with and on, which
    has not changed. cache: kept files that differ from what was computed afresh, and why."""

    study: str
    data: Mapping[str, str]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    trials: tuple[Verified, ...]
    cache: Mapping[str, str]

    @property
    def agrees(self) -> bool:
        """Whether every trial agrees, and every kept file that was compared is as it should be."""
        return not self.cache and all(trial.agrees for trial in self.trials)


def verify(
    study: optuna.Study,
    numbers: Sequence[int],
    device: Device | None = None,
    remake: bool = False,
    cost: bool = True,
    on_progress: OnStage = lambda stage, fraction: None,
    trusted: frozenset[str] = frozenset(),
) -> Verification:
    """Measure trials again and compare.

    device: where windows are run; the study's by default. remake: make the models again from their sources, and compare
    them bit for bit. cost: measure the RTF too. trusted: see EvaluatorSettings.
    Raises StudyError if a trial was not measured or if the corpus, weights or settings have changed, so that nothing
    could be compared, and whatever the corpus, models and evaluation raise.
    """
    definition = stored_definition(study)
    asked, sources = measured_trials(study, numbers)
    points = {number: point_of(trial, definition.space) for number, trial in sources.items()}
    keys = {trial.user_attrs[record.MODEL_KEY] for trial in sources.values() if record.MODEL_KEY in trial.user_attrs}
    known = {key: model.sha256 for key, model in kept_models().items()}
    settings = definition.evaluator_settings(device or device_of(study), trusted)
    on_progress("getting ready", 0.0)
    with fresh_cache(() if remake else keys) as cache, build_evaluator(settings) as evaluator:
        print_remarks(evaluator.remarks)
        refuse_other_data(study, sources.values(), evaluator.identity)
        found: dict[int, Verified] = {}
        for place, (number, trial) in enumerate(sources.items(), start=1):
            step = f"trial {number}, {place} of {len(sources)}"
            found[number] = _verify_one(
                trial, points[number], evaluator, cache, known, cost, prefixed(on_progress, step)
            )
        damaged = {str(path): why for path, why in cache.differing().items()}
        return Verification(
            study.study_name,
            {key: evaluator.identity[key] for key in DATA},
            versions(),
            dict(evaluator.machine),
            tuple(_as(trial, found[_source(trial)], sources[_source(trial)]) for trial in asked),
            damaged,
        )


def measured_trials(study: optuna.Study, numbers: Sequence[int]) -> tuple[list[FrozenTrial], dict[int, FrozenTrial]]:
    """Return the requested trials, and the trials that measured them by number.

    Raises StudyError if the study has no such trial, or if it was not measured.
    """
    found = {number: bulk_sql.read_own(study, number) for number in numbers}
    for number in numbers:
        trial = found[number]
        measured = trial.user_attrs.keys() & {record.MODEL_KEY, record.STOP}
        if trial.state not in MEASURED or not measured:
            why = trial.user_attrs.get(record.ERROR)
            state = {TrialState.FAIL: "failed", TrialState.PRUNED: "was stopped by another program"}
            raise StudyError(
                f"trial {number} of {study.study_name!r} {state.get(trial.state, f'is {trial.state.name.lower()}')}"
                f"{f' ({why})' if why else ''}, so nothing was measured that could be compared with: choose a "
                "complete one, or one that was stopped"
            )
    asked = [found[number] for number in dict.fromkeys(numbers)]
    left_out: dict[int, str] = {}
    found |= bulk_sql.read(study, {_source(trial) for trial in asked} - found.keys(), left_out)
    for trial in asked:
        if (source := _source(trial)) not in found:
            why = left_out.get(source, "there is no such trial")
            raise StudyError(
                f"trial {trial.number} of the study {study.study_name!r} took over what trial {source} measured, which "
                f"is left out ({why}): nothing can be compared with it"
            )
    return asked, {_source(trial): found[_source(trial)] for trial in asked}


def _source(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(record.REUSED_FROM, trial.number))


def point_of(trial: FrozenTrial, space: SearchSpace) -> OperatingPoint:
    """Return the operating point of a trial. Raises StudyError if it has none."""
    point = recall(trial, space)
    if point is None:
        raise StudyError(f"trial {trial.number}: its parameters are outside the study's search space")
    return point


def _verify_one(
    trial: FrozenTrial,
    point: OperatingPoint,
    evaluator: Evaluator,
    cache: FreshCache,
    known: Mapping[str, str],
    cost: bool,
    on_progress: OnStage,
) -> Verified:
    """Compare the trial that made a measurement with a new one. known: SHA-256 of the kept models."""
    changed = agreement.changes(trial, evaluator.machine, versions())
    exact = all(change.exact for change in changed)
    stopped = record.why_stopped(trial) if trial.state is TrialState.PRUNED else ""
    latency = record.latency_of(point)
    stored = trial.user_attrs.get("latency", trial.user_attrs.get(record.STOP, {}).get("latency"))
    figures = [Figure("latency, s", None, stored, latency, stored == latency, stored != latency)]
    key = trial.user_attrs.get(record.MODEL_KEY)
    if key is None:
        return _verified(trial, point, stopped, exact, None, None, changed, figures, None)
    model = evaluator.model(point, on_progress)
    if model.key != key:
        figures.append(Figure("model key", None, key, model.key, equal=False, fault=True))
        return _verified(trial, point, stopped, exact, "another", key, changed, figures, None)
    sha256 = trial.user_attrs.get(record.MODEL_SHA256) or known.get(key)
    how: Literal["kept", "made anew"] = "kept" if key in cache.models else "made anew"
    figures.append(Figure("model key", None, key, model.key, equal=True, fault=False))
    figures += agreement.compare_model(trial, model.params, model.size_bytes, model.kept, model.sha256, sha256)
    uris = trial.user_attrs.get(record.RECORDINGS, {})
    # a complete trial was scored on everything: a recording missing from it is a fault
    only = None if trial.state is TrialState.COMPLETE else uris
    counts = evaluator.errors(point, on_progress, only) if uris else {}
    # add up in the recorded order, which a race chose: in another order the last digit may differ
    order = [uri for uri in uris if uri in counts]
    pooled = pool(counts[uri] for uri in (*order, *(counts.keys() - order)))
    figures += agreement.compare_errors(trial, counts, pooled, exact)
    timed = cost and "rtf_spread" in trial.user_attrs
    timing = agreement.compare_cost(trial, evaluator.timing(point, on_progress)) if timed else None
    return _verified(trial, point, stopped, exact, how, key, changed, figures, timing)


def _verified(
    trial: FrozenTrial,
    point: OperatingPoint,
    stopped: str,
    exact: bool,
    model: Literal["kept", "made anew", "another"] | None,
    key: str | None,
    changed: tuple[Change, ...],
    figures: Sequence[Figure],
    timing: CostCheck | None,
) -> Verified:
    caveats = []
    if model is None:
        caveats.append("nothing was measured of it: it was stopped before it had a model")
    if trial.user_attrs.get("execution") == "emulated":
        caveats.append(f"{point.precision} is emulated: its RTF is not a gain")
    if key is not None and not trial.user_attrs.get(record.VERSIONS):
        caveats.append("it was measured by an earlier version, which kept neither versions of packages nor the SHA-256")
    if not exact:
        caveats.append(
            f"another machine or other packages: its DER may be {agreement.MOST_DER:g} points off; the rest is reported"
        )
    return Verified(
        trial=trial.number,
        origin=record.origin_of(trial),
        point=in_words(point),
        measured_by=trial.number,
        stopped=stopped,
        exact=exact,
        model=model,
        model_key=key,
        changes=changed,
        figures=tuple(figures),
        cost=timing,
        caveats=tuple(caveats),
    )


def _as(trial: FrozenTrial, source: Verified, measured: FrozenTrial) -> Verified:
    """Return the result of the trial that measured a point as that of a trial that may have reused it."""
    if trial.number == source.trial:
        return source
    ours = list(trial.values or ())
    theirs = list(measured.values or ())
    taken = [Figure("values taken over", None, ours, theirs, ours == theirs, ours != theirs)]
    same = record.measured_attributes(trial) == record.measured_attributes(measured)
    taken.append(Figure("attributes taken over", None, "kept here", "kept there", same, not same))
    return Verified(
        **vars(source)
        | {
            "trial": trial.number,
            "origin": record.origin_of(trial),
            "figures": (*taken, *source.figures),
            "caveats": (*source.caveats, f"taken over from trial {source.trial}, which was measured"),
        }
    )


def in_words(point: OperatingPoint) -> str:
    """Describe a point: `C 1 s, R 0 s, Linear-40, int8_ptq`."""
    streamed = f"C {point.chunk_length:g} s, R {point.right_context:g} s" if point.streamed else "offline"
    online = ", online" if point.mode == "online" else ""
    return f"{streamed}{online}, {point.pruning}, {point.precision}"
