"""The notes of a study and of each of its trials, in Markdown."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from explorer.figures.front_plotly import MOST_NAMED, rtf_in_words
from explorer.front.comparisons import MATCHED, difference_in_words, of_differences
from explorer.front.rows import Comparison, FrontRow
from explorer.front.table import cells, columns_of
from explorer.recommend.caveats import NEAR_REAL_TIME
from explorer.storage import trial_record as record
from explorer.storage.foreign_trials import LeftOut
from explorer.storage.foreign_trials import in_words as left_out_in_words
from explorer.storage.provenance import in_words, mixed_versions, versions_of
from objectives.operating_point import describe
from studies.definition import BUDGET, StudyDefinition
from studies.paper_results import published

EMULATED = (
    "**Emulated**: the machine has no kernel for this precision. The DER is that of the low-bit weights, the size that "
    "of the stored file, and the RTF that of a stand-in: never a gain."
)
GAP = "&emsp;"
FEW_SECONDS = 600.0  # of scored speech: with less, one recording can change the DER by several percent


@dataclass(frozen=True)
class Look:
    """How a study was read. taken: a local time in words. source: the storage, without password. missing: why a figure
    could not be drawn, by its name. left_out: number of measured points that the figures leave out."""

    taken: str
    source: str
    missing: Mapping[str, str]
    left_out: int = 0


def study_note(
    name: str,
    definition: StudyDefinition,
    trials: Sequence[FrozenTrial],
    rows: Sequence[FrontRow],
    look: Look,
    compared: Sequence[Comparison] = (),
    left_out: LeftOut | None = None,
) -> str:
    """Write the note of a study. rows: the front and the fixed points, in display order. compared: among these.
    left_out: trials of the storage that are not shown, and why."""
    measured = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    parts = [
        f"# {cell(name)}",
        definition.description,
        f"A copy of {code(look.source)}, taken {look.taken}: {_counts(trials)}. "
        "Nothing that you click here changes the study. This note was made for this copy.",
        cell(left_out_in_words(left_out or {})),
        "## Front and fixed points",
        _front_table(rows),
        "DER: missed detection + false alarm + confusion, percent of scored speech, 0.5 s collar, overlap scored, "
        "pooled over the recordings. RTF: median [smallest–largest] of the repeats; × base: ratio to the FP32 baseline "
        "timed in turns with the point. Size: of the segmentation model on disk.",
        cell(" ".join(of_differences(rows, compared))),
        _pairs([one for one in compared if one.kind in MATCHED]),
        EMULATED if any(row.emulated for row in rows) else "",
        "## How to read the figures",
        _reading(look),
        "## Data",
        _data(definition, measured),
        "## Machine",
        _machine(measured),
        "## Definition",
        _definition(definition),
    ]
    return "\n\n".join(part for part in parts if part)


def trial_note(trial: FrozenTrial, row: FrontRow | None) -> str:
    """Write the note of a trial. row: its standing in the study; None if its parameters were never all drawn."""
    parts = [f"## Trial {trial.number}: {cell(record.origin_of(trial))}", _stands(trial, row)]
    if row is not None:
        parts.append(_point(row))
    if row is not None and row.measurement:
        parts += [_figures(row), _list(_caveats(trial, row))]
    elif trial.user_attrs.get("recordings"):
        known = trial.user_attrs["recordings"]
        parts.append(f"{len(known)} recordings were scored before it was stopped; they are among the artifacts.")
    return "\n\n".join(part for part in parts if part)


def unread_note(name: str, why: str) -> str:
    """Write the note of a study that another version of the explorer made, whose definition is unreadable here."""
    lines = "\n".join(f"    {line}" for line in why.splitlines())
    return f"# {cell(name)}\n\nMade by another version of the explorer, so that it is shown as it is:\n\n{lines}"


def cell(text: object) -> str:
    """Escape text for Markdown and its tables."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", str(text)).replace("\n", " ")


def code(text: object) -> str:
    """Put text between backticks."""
    return f"`{str(text).replace('`', chr(39))}`"


def _stands(trial: FrozenTrial, row: FrontRow | None) -> str:
    match trial.state:
        case TrialState.WAITING:
            return "Waits for its turn."
        case TrialState.RUNNING:
            return "Was running when this copy was taken."
        case TrialState.FAIL:
            return f"**Failed**: {cell(trial.user_attrs.get(record.ERROR, 'nobody wrote down why'))}"
        case TrialState.PRUNED:
            over = record.exceeded(trial)
            what = f"**Infeasible** (over the budget of {', '.join(over)}), and stopped" if over else "**Stopped**"
            return f"{what} before it was measured to the end: {cell(record.why_stopped(trial))}."
    if row is None:
        return "Complete, but outside the search space of the study."
    if row.standing == "infeasible":
        return f"**Infeasible**: over the budget of {', '.join(row.exceeded)}."
    if row.standing == "front":
        return "**On the front**: nothing feasible is at least as good in DER, size and RTF, and better in one."
    shown = ", ".join(map(str, row.dominated_by[:10])) + (", …" if len(row.dominated_by) > 10 else "")
    return f"**Dominated** by trial {shown}."


def _point(row: FrontRow) -> str:
    if row.latency is None:
        return f"Operating point: {describe(row.point)}: the whole recording is heard first."
    return f"Operating point: {describe(row.point)}; latency {row.latency:.4g} s."


def _figures(row: FrontRow) -> str:
    found, paper = row.figures, published(row.origin)
    lines = {
        "DER": f"{found.der:.2f} % = {found.missed_detection:.2f} missed + {found.false_alarm:.2f} false alarm "
        f"+ {found.confusion:.2f} confusion",
        **_beside(row),
        "size": f"{found.size:.3f} MiB",
        "parameters": f"{found.params:,}",
        "units kept": ", ".join(f"{key} {value}" for key, value in found.kept.items()) or "all",
        "RTF": rtf_in_words(found),
    }
    if found.update_latency:
        lines["compute of an update"] = (
            "median {median:.4f} s, 95 % below {p95:.4f} s, 99 % below {p99:.4f} s ({updates:.0f} updates)".format(
                **found.update_latency
            )
        )
    if found.stage_shares:
        lines["shares of the RTF"] = ", ".join(f"{stage} {share:.0%}" for stage, share in found.stage_shares.items())
    if found.peak_memory_mib is not None:
        lines["peak memory"] = f"{found.peak_memory_mib:.0f} MiB, of the timing process"
    if found.kernel is not None:
        lines["windows run by"] = found.kernel
    if found.model_key is not None:
        lines["model"] = found.model_key
    if found.data:
        lines["measured on"] = ", ".join(f"{key} {value}" for key, value in found.data.items())
    if found.versions:
        lines["versions"] = ", ".join(f"{key} {value}" for key, value in found.versions.items())
    if paper is not None:
        lines["the paper's"] = (
            f"DER {paper.der:.2f} %, {paper.size:.2f} MiB, RTF {paper.rtf:.4f} "
            "(published: SIMSAMU, offline, NVIDIA L40S; not comparable across)"
        )
    return _table(("", ""), list(lines.items()))


def _beside(row: FrontRow) -> dict[str, str]:
    """Describe how its DER compares; empty for a row that is compared with none."""
    if row.comparison is None:
        return {}
    which = {"front": "the next better one of the front", "dominated": "which dominates it"}.get(
        row.standing, "the baseline"
    )
    lines = {f"DER beside trial {row.comparison.versus}, {which}": f"{difference_in_words(row.comparison)} points"}
    if row.tied_with_best is not None:
        said = "tied: these recordings cannot tell them apart" if row.tied_with_best else "told apart"
        lines["DER beside the lowest of the front"] = said
    return lines


def _caveats(trial: FrozenTrial, row: FrontRow) -> list[str]:
    found, measured = [], row.figures
    if measured.emulated:
        found.append(EMULATED)
    if measured.reused_from is not None:
        found.append(f"Not measured again: the same operating point as trial {measured.reused_from}.")
    if measured.rtf >= 1.0:
        found.append("RTF of 1 or more: it cannot keep up with live audio on this machine.")
    elif measured.rtf > NEAR_REAL_TIME:
        found.append(f"RTF near 1: a machine {1 / measured.rtf:.1f} times as busy falls behind.")
    if measured.update_latency and measured.update_latency["p99"] > row.point.chunk_length:
        found.append("At least 1 update in 100 takes longer than C: live output would stutter.")
    if record.reference_seconds(trial) < FEW_SECONDS:
        found.append(
            f"Only {record.reference_seconds(trial):.0f} s of scored speech in {len(trial.user_attrs['recordings'])} "
            "recordings: small differences of DER mean nothing."
        )
    return found


def _counts(trials: Sequence[FrozenTrial]) -> str:
    counted = Counter(trial.state.name.lower() for trial in trials)
    return ", ".join(f"{number} {name}" for name, number in counted.items()) or "no trial yet"


def _front_table(rows: Sequence[FrontRow]) -> str:
    head = [name for name in columns_of(rows) if name not in ("latency s", "params M", "FA / miss / conf %")]
    return _table(head, [[cells(row, MOST_NAMED)[name] for name in head] for row in rows])


def _pairs(matched: Sequence[Comparison]) -> str:
    """Tabulate points that differ in one choice alone."""
    if not matched:
        return ""
    head = ("pair", "trial", "operating point", "DER %", "to trial", "operating point", "DER %", "Δ DER")
    lines = [
        (
            m.kind,
            m.trial,
            m.point,
            f"{m.der:.2f}",
            m.versus,
            m.versus_point,
            f"{m.versus_der:.2f}",
            difference_in_words(m),
        )
        for m in matched
    ]
    return _table(head, lines)


def _reading(look: Look) -> str:
    lines = [
        "**front**: DER over size, and beside it over RTF; a point has the same height in both. Down and to the left "
        "is better. Colour is the precision, shape the pruning, a ring a fixed point; large is on the front, "
        "faint is dominated, x is over a budget, hollow is emulated. Hover for everything, click the legend to hide.",
        "**der-against-latency**: what hearing more, or waiting longer, buys. Lines: the paper's sweeps of C and R.",
        "**hypervolume**: how much the front has gained, trial by trial. Flat: the search finds nothing more.",
        "**importance**: which parameters decide whether a trial is among the best by one objective.",
        "A trial's own note and its artifacts (DER by recording, as a plot and as CSV) are on its page under "
        "*Trial (List)*. The dashboard's own plots show an emulated RTF like any other; these mark it.",
    ]
    if look.left_out:
        lines.append(
            f"{look.left_out} of the earlier dominated or infeasible search trials are left out of the figures."
        )
    return _list([*lines, *(f"Not drawn: **{name}**: {cell(why)}." for name, why in look.missing.items())])


def _data(definition: StudyDefinition, measured: Sequence[FrozenTrial]) -> str:
    source = f"Corpus {code(definition.corpus)}, split *{definition.split}*"
    if not measured:
        return f"{source}."
    recordings = measured[0].user_attrs["recordings"]
    return f"{source}: {len(recordings)} recordings, {record.reference_seconds(measured[0]):.0f} s of scored speech."


def _machine(measured: Sequence[FrozenTrial]) -> str:
    if not measured:
        return "Nothing is measured yet."
    described = {
        **measured[-1].user_attrs["machine"],
        "threads of the model": measured[-1].user_attrs.get("threads", "–"),
    }
    versions = versions_of(measured[-1]) or {}
    described |= {name: value for name, value in versions.items() if name not in described}
    mixed = mixed_versions({trial.number: versions_of(trial) for trial in measured})
    caveat = f"\n\n**Caveat**: {cell(in_words(mixed))}." if mixed else ""
    return _table(("", ""), list(described.items())) + caveat


def _definition(definition: StudyDefinition) -> str:
    settings = definition.identity() | definition.model_dump(mode="json", include=set(BUDGET))
    shown = {key: value for key, value in settings.items() if value not in (None, [])}
    lines = [(code(key), code(_value(value)).replace("|", r"\|")) for key, value in shown.items()]
    return _table(("key", "value"), lines, safe=True)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(head: Sequence[str], lines: Sequence[Sequence[object]], safe: bool = False) -> str:
    """Format a table in GitHub's Markdown. safe: the cells are Markdown already."""
    rows = [head, *([str(one) if safe else cell(one) for one in line] for line in lines)]
    gap = f"{GAP} | "  # the dashboard leaves no space between cells
    first, *rest = (f"| {(gap if any(row) else ' | ').join(row)} |" for row in rows)
    return "\n".join([first, f"|{' --- |' * len(head)}", *rest])


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
