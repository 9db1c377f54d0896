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
from explorer.storage.foreign_trials import LeftOut
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


def unfinished(study: optuna.Study, progress: StudyStatus) -> tuple[str, ...]:
    """List failures with their errors, stopped trials by reason, infeasible ones by limit."""
    trials = bulk_sql.skim(study, (record.ORIGIN, record.STOP))
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    over = Counter(name for trial in complete for name in record.exceeded(trial))
    infeasible = [trial.number for trial in complete if record.exceeded(trial)]
    lines = [f"{len(progress.failures)} trials failed" + ("." if not progress.failures else ":")]
    lines += [f"trial {one.trial} ({one.origin}): {one.error}" for one in progress.failures]
    stopped = {"limit": "over a budget", "raced": "could no longer reach the front"}
    by_kind = "; ".join(f"{number} {stopped.get(kind, kind)}" for kind, number in progress.stopped.items())
    lines.append(
        f"{sum(progress.stopped.values())} trials were stopped before their end" + (f": {by_kind}." if by_kind else ".")
    )
    limits = ", ".join(f"{name} {number}" for name, number in over.items())
    lines.append(f"{len(infeasible)} measured trials are infeasible" + (f": over {limits}." if limits else "."))
    return tuple(without_paths(line) for line in lines)


def left_out(trials: LeftOut) -> tuple[str, ...]:
    """Return a line for each trial that another program added or changed, which the report ignores."""
    return tuple(without_paths(f"trial {number} is left out: {trials[number]}") for number in sorted(trials))


def notes(definition: StudyDefinition, rows: Sequence[FrontRow]) -> tuple[str, ...]:
    """Explain how the figures were made."""
    offline = definition.space.mode == "offline"
    loop = (
        "of the released pipeline, on one whole recording"
        if offline
        else "of the real loop, one update at a time, batch 1, nothing cached"
    )
    threads = definition.cost.threads
    found = [
        "DER: false alarm, missed detection and confusion as a share of the scored reference speech, pooled over "
        "recordings, with a collar of 0.5 s (± 0.25 s around each boundary), overlapped speech scored, inside the UEM.",
        f"The split {definition.split} is what the search saw, so it flatters the best of many points.",
        "Size: the segmentation model on disk, in MiB (bytes / 2**20), the paper's MB.",
        f"RTF: seconds of compute per second of audio {loop}, after a warm-up, on {threads} "
        f"thread{'s' if threads > 1 else ''}, nothing else of the explorer running on the machine: median of "
        f"{definition.cost.repeats} repeats with the smallest and the largest. × base is the ratio to the FP32 "
        "baseline timed in turns with the point, so that a drifting machine cancels out.",
        "Emulated: this machine has no kernel for the precision. The DER is that of the rounded model; the RTF is the "
        "emulation's, says nothing about a gain, and has no ratio.",
        "Front: feasible operating points to which no other feasible one is at least as good in DER, size and RTF and "
        "better in one. An emulated mode stands there with the RTF that was measured.",
        "Fixed points are measured whatever the search proposes: the baseline, points of the paper, and points that "
        "the study names.",
        "Published: printed in the paper (SIMSAMU, offline, NVIDIA L40S). Everything else was measured in this study.",
    ]
    if not offline:
        latency = (
            "Latency: what the algorithm waits, C + R, and in the online mode the pauses that it waits for "
            "(min_duration_off) as well; the time to compute comes on top."
        )
        found.insert(4, latency)
    if any(row.measurement and (row.measurement.kernel or "").startswith("torch ") for row in rows):
        found.append("Windows for the DER were run by torch; the RTF is the CPU's.")
    return tuple(found)


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

    _, ends = bulk_sql.settle(study, bulk_sql.skim(study, ()), first_and_last)
    start, end = ends[min(ends)].datetime_start, ends[max(ends)].datetime_complete
    return " to ".join(moment.strftime("%Y-%m-%d %H:%M") for moment in (start, end) if moment is not None)
