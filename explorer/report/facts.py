"""What a report says in words: what was searched and on what data, the headline, failures, and how to read it."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.front.rows import FrontRow
from explorer.search.status import StudyStatus
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.provenance import in_words
from explorer.storage.study_record import stored_identity
from explorer.storage.urls import without_paths
from objectives.operating_point import describe
from studies.definition import StudyDefinition

STATES = {"pruned": "stopped early", "fail": "failed"}  # Optuna's states, avoiding confusion with pruned models


@dataclass(frozen=True)
class Headline:
    """One figure that a reader should see first."""

    what: str
    value: str
    of: str


def name_of_model(model: str) -> str:
    """Return a model's name as in the definition; for a path only the file's name."""
    return Path(model).name if model.startswith((".", "~")) or Path(model).is_absolute() else model


def headlines(rows: Sequence[FrontRow], progress: StudyStatus) -> tuple[Headline, ...]:
    """Return the baseline, the front, and the best of each objective."""
    found = []
    baseline = next((row for row in rows if row.origin == "baseline" and row.measurement), None)
    if baseline is not None:
        its = baseline.figures
        value = f"{its.der:.1f} % · {its.size:.2f} MiB · RTF {its.rtf:.3f}"
        found.append(Headline("baseline", value, f"unpruned, FP32; trial {baseline.trial}"))
    on_front = [row for row in rows if row.standing == "front"]
    points = len({row.point for row in on_front})
    fixed = sum(row.origin != record.SEARCH for row in on_front)
    found.append(
        Headline("on the front", f"{points} operating points", f"{fixed} of {len(on_front)} trials are fixed points")
    )
    by_number = {row.trial: row for row in rows}
    for best in progress.best:
        row = by_number.get(best.trial)
        what = "" if row is None else f"{describe(row.point)}; "
        tied = {row.point for row in on_front if row.tied_with_best} if best.metric == record.METRIC_NAMES[0] else ()
        also = f"; tied with {len(tied)} more of the front" if tied else ""
        found.append(Headline(f"best {best.metric}", f"{best.value:.3g}", f"{what}trial {best.trial}{also}"))
    return tuple(found)


def facts(
    study: optuna.Study,
    definition: StudyDefinition,
    progress: StudyStatus,
    rows: Sequence[FrontRow],
    trials: Mapping[int, FrozenTrial],
    overlap: float | None,
) -> tuple[tuple[str, str], ...]:
    """Describe what was searched, the data, machine, versions and dates. overlap: share of the split's speech."""
    complete = [trial for trial in trials.values() if trial.state is TrialState.COMPLETE]
    recordings = complete[0].user_attrs[record.RECORDINGS]
    seconds = record.reference_seconds(complete[0])
    shared = "" if overlap is None else f"; {100 * overlap:.1f} % of the annotated speech is overlapped"
    kernels = sorted({kernel for row in rows if row.measurement and (kernel := row.measurement.kernel)})
    found = {
        "study": study.study_name,
        "space": _space(definition),
        "sampler": f"{definition.sampler}, seed {definition.seed}",
        "trials": ", ".join(f"{number} {STATES.get(name, name)}" for name, number in progress.states.items())
        + (f"; {progress.remaining} still to run" if progress.remaining else "")
        + (f"; {progress.reused} repeat a measured point" if progress.reused else ""),
        "budgets": ", ".join(f"{name} ≤ {limit:g}" for name, limit in definition.limits.given().items()) or "none",
        "data": f"corpus {corpus_name(progress.definition, study)}, split {definition.split}: "
        f"{len(recordings)} recordings, {seconds:.1f} s of scored speech{shared}",
        "models": f"segmentation {name_of_model(definition.models.segmentation)}, "
        f"embedding {name_of_model(definition.models.embedding)}",
        "machine": ", ".join(
            f"{key} {value}" for key, value in progress.machine.items() if key not in ("torch", "onnxruntime")
        ),
        "fingerprint of the data": identified_corpus(study)[1] or "not recorded",
        "versions": ", ".join(f"{key} {value}" for key, value in _versions(progress).items()) or "not recorded",
        "DER computed by": ", ".join(kernels) or "not recorded",
        "when": _when(study),
    }
    if progress.mixed:
        found["caveat"] = in_words(progress.mixed)
    if progress.table2_variant is not None:
        found["Table 2's model"] = str(progress.table2_variant)
    return tuple((key, without_paths(value)) for key, value in found.items())


def _versions(progress: StudyStatus) -> Mapping[str, str]:
    """Return package versions; for trials of an earlier version those recorded with the machine."""
    return progress.versions or {
        key: progress.machine[key] for key in ("torch", "onnxruntime") if key in progress.machine
    }


def infeasible(study: optuna.Study) -> tuple[int, Mapping[str, int]]:
    """Return the number of measured trials that exceed a limit, and how many exceed each."""
    exceeded = [record.exceeded(one) for one in bulk_sql.skim(study, ()) if one.state is TrialState.COMPLETE]
    return sum(map(bool, exceeded)), Counter(name for names in exceeded for name in names)


def made_by() -> str:
    """Say which software made the report, and when."""
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    versions = ", ".join(f"{name} {version(name)}" for name in ("explorer", "optuna", "matplotlib"))
    return f"Made on {now} by {versions}, Python {platform.python_version()}"


def corpus_name(definition: Mapping[str, Any], study: optuna.Study) -> str:
    """Return the corpus' name as its source gives it, without the path it may have been given by."""
    name, _ = identified_corpus(study)
    return name or Path(str(definition["corpus"])).name


def identified_corpus(study: optuna.Study) -> tuple[str, str]:
    """Return (name, fingerprint) of the corpus that trials were measured on; empty if the study does not record it."""
    identity = stored_identity(study).get("evaluator.corpus", "")
    name, _, fingerprint = str(identity).rpartition(" ")
    return name, fingerprint


def _space(definition: StudyDefinition) -> str:
    space = definition.space
    parts = ["offline"]
    if space.mode == "streaming":
        (low, high), context = space.chunk_length, space.right_context
        parts = [f"C {low:g} to {high:g} s" if low < high else f"C {low:g} s"]
        sought = [] if "none" not in space.look_ahead else ["0"]
        sought += [f"{context[0]:g} to {context[1]:g} s"] if "some" in space.look_ahead else []
        parts.append(f"R {' or '.join(sought)}")
        if space.tracking != ("chunk-wise",):
            parts.append(f"tracking {', '.join(space.tracking)}")
    structures = ", ".join(space.pruning_structure)
    ratio = space.pruning_ratio
    parts.append(
        f"pruning {structures}" + (f" with ratio {ratio[0]:g} to {ratio[1]:g}" if structures != "none" else "")
    )
    parts.append(f"precision {', '.join(space.precision)}")
    return "; ".join(parts)


def _when(study: optuna.Study) -> str:
    def first_and_last(trials: Sequence[FrozenTrial]) -> set[int]:
        complete = [trial.number for trial in trials if trial.state is TrialState.COMPLETE]
        return {*complete[:1], *complete[-1:]}

    _, ends = bulk_sql.read_chosen(study, first_and_last)
    start, end = ends[min(ends)].datetime_start, ends[max(ends)].datetime_complete
    return " to ".join(moment.strftime("%Y-%m-%d %H:%M") for moment in (start, end) if moment is not None)
