"""A stored trial measured again, afresh, to check that its figures are reproduced.

Nothing that was kept is trusted: windows, embedding features and the graphs that run are made again in a cache of their
own (objectives/cache/scratch.py), and so is the finished model if asked for. The files in the user's cache are compared
with the result. This detects a damaged cache, and a study whose figures were changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.diagnostics import agreement
from explorer.diagnostics.agreement import Change, CostCheck, Figure
from explorer.diagnostics.measured_trials import evaluator_of, measured_trials, point_of, source_of
from explorer.storage import trial_record as record
from explorer.storage.study_record import stored_definition
from explorer.workers.protocol import OnStage, prefixed
from objectives.cache.scratch import FreshCache, fresh_cache, kept_models
from objectives.evaluation.evaluator import Evaluator
from objectives.machine import Device, versions
from objectives.measurement import DATA, pool
from objectives.operating_point import OperatingPoint, describe

Model = Literal["kept", "made anew", "another"]


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
    model: Model | None
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
    space = stored_definition(study).space
    asked, sources = measured_trials(study, numbers)
    points = {number: point_of(trial, space) for number, trial in sources.items()}
    keys = {trial.user_attrs[record.MODEL_KEY] for trial in sources.values() if record.MODEL_KEY in trial.user_attrs}
    known = {key: model.sha256 for key, model in kept_models().items()}
    with (
        fresh_cache(() if remake else keys) as cache,
        evaluator_of(study, sources.values(), device, trusted, on_progress) as evaluator,
    ):
        found: dict[int, Verified] = {}
        for place, (number, trial) in enumerate(sources.items(), start=1):
            progress = prefixed(on_progress, f"trial {number}, {place} of {len(sources)}")
            found[number] = _verify_one(trial, points[number], evaluator, cache, known, cost, progress)
        return Verification(
            study=study.study_name,
            data={key: evaluator.identity[key] for key in DATA},
            versions=versions(),
            machine=dict(evaluator.machine),
            trials=tuple(_as(trial, found[source_of(trial)], sources[source_of(trial)]) for trial in asked),
            cache={str(path): why for path, why in cache.differing().items()},
        )


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
    attributes = trial.user_attrs
    changed = agreement.changes(trial, evaluator.machine, versions())
    exact = all(change.exact for change in changed)
    latency = attributes.get(record.LATENCY, attributes.get(record.STOP, {}).get("latency"))
    figures = [Figure.of("latency, s", latency, record.latency_of(point))]
    key = attributes.get(record.MODEL_KEY)
    model: Model | None = None
    timing = None
    if key is not None:
        made = evaluator.model(point, on_progress)
        figures.append(Figure.of("model key", key, made.key))
        model = "another" if made.key != key else "kept" if key in cache.models else "made anew"
        if made.key == key:
            sha256 = attributes.get(record.MODEL_SHA256) or known.get(key)
            figures += agreement.compare_model(trial, made.params, made.size_bytes, made.kept, made.sha256, sha256)
            figures += _errors(trial, point, evaluator, exact, on_progress)
            if cost and record.RTF_SPREAD in attributes:
                timing = agreement.compare_cost(trial, evaluator.timing(point, on_progress))
    return Verified(
        trial=trial.number,
        origin=record.origin_of(trial),
        point=describe(point),
        measured_by=trial.number,
        stopped=record.why_stopped(trial) if trial.state is TrialState.PRUNED else "",
        exact=exact,
        model=model,
        model_key=key,
        changes=changed,
        figures=tuple(figures),
        cost=timing,
        caveats=tuple(_caveats(trial, point, exact)),
    )


def _errors(
    trial: FrozenTrial, point: OperatingPoint, evaluator: Evaluator, exact: bool, on_progress: OnStage
) -> tuple[Figure, ...]:
    uris = trial.user_attrs.get(record.RECORDINGS, {})
    # a complete trial was scored on everything: a recording missing from it is a fault
    only = None if trial.state is TrialState.COMPLETE else uris
    counts = evaluator.errors(point, on_progress, only) if uris else {}
    # add up in the recorded order, which a race chose: in another order the last digit may differ
    order = [uri for uri in uris if uri in counts]
    pooled = pool(counts[uri] for uri in (*order, *(counts.keys() - order)))
    return agreement.compare_errors(trial, counts, pooled, exact)


def _caveats(trial: FrozenTrial, point: OperatingPoint, exact: bool) -> Iterator[str]:
    attributes = trial.user_attrs
    if record.MODEL_KEY not in attributes:
        yield "nothing of it was measured: it was stopped before it had a model"
    if attributes.get(record.EXECUTION) == "emulated":
        yield f"{point.precision} is emulated: its RTF is not a gain"
    if record.MODEL_KEY in attributes and not attributes.get(record.VERSIONS):
        yield "it was measured by an earlier version, which recorded neither versions of packages nor the SHA-256"
    if not exact:
        yield (
            f"another machine or other packages: its DER may be {agreement.MOST_DER:g} points off; the rest is reported"
        )


def _as(trial: FrozenTrial, source: Verified, measured: FrozenTrial) -> Verified:
    """Return the result of the trial that measured a point as that of a trial that may have reused it."""
    if trial.number == source.trial:
        return source
    same = record.measured_attributes(trial) == record.measured_attributes(measured)
    taken = (
        Figure.of("values taken over", list(trial.values or ()), list(measured.values or ())),
        Figure("attributes taken over", None, "kept here", "kept there", same, not same),
    )
    return replace(
        source,
        trial=trial.number,
        origin=record.origin_of(trial),
        figures=(*taken, *source.figures),
        caveats=(*source.caveats, f"taken over from trial {source.trial}, which was measured"),
    )
