"""The notes of a study and of each of its trials, in Markdown."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from explorer import markdown
from explorer.front import comparisons
from explorer.front.comparisons import MATCHED, of_differences
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
LEFT_OUT = ("latency s", "params M", "FA / miss / conf %")  # columns, from the table of the front
MOST_NAMED = 4  # of the trials that dominate a row
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
    settings = definition.identity() | definition.model_dump(mode="json", include=set(BUDGET))
    mixed = mixed_versions({trial.number: versions_of(trial) for trial in measured})
    columns = [name for name in columns_of(rows) if name not in LEFT_OUT]
    return _render(
        "study.md.j2",
        name=name,
        definition=definition,
        settings={key: _json(value) for key, value in settings.items() if value not in (None, [])},
        states=Counter(trial.state.name.lower() for trial in trials),
        measured=measured,
        reference_seconds=record.reference_seconds(measured[0]) if measured else 0.0,
        machine=_machine(measured[-1]) if measured else {},
        mixed_versions=in_words(mixed) if mixed else "",
        columns=columns,
        rows=[[cells(row, MOST_NAMED)[name] for name in columns] for row in rows],
        emulated=any(row.emulated for row in rows),
        differences=" ".join(of_differences(rows, compared)),
        pairs=[one for one in compared if one.kind in MATCHED],
        look=look,
        left_out=left_out_in_words(left_out or {}),
    )


def trial_note(trial: FrozenTrial, row: FrontRow | None) -> str:
    """Write the note of a trial. row: its standing in the study; None if its parameters were never all drawn."""
    return _render(
        "trial.md.j2",
        trial=trial,
        state=trial.state.name,
        origin=record.origin_of(trial),
        error=trial.user_attrs.get(record.ERROR, "nobody wrote down why"),
        why_stopped=record.why_stopped(trial),
        exceeded=record.exceeded(trial),
        recordings=trial.user_attrs.get(record.RECORDINGS) or {},
        reference_seconds=record.reference_seconds(trial) if row is not None and row.measurement else 0.0,
        row=row,
        point=describe(row.point) if row else "",
        paper=published(row.origin) if row else None,
    )


def unread_note(name: str, why: str) -> str:
    """Write the note of a study that another version of the explorer made, whose definition is unreadable here."""
    return _render("unread.md.j2", name=name, lines=why.splitlines())


def _render(template: str, **values: Any) -> str:
    constants = {"EMULATED": EMULATED, "FEW_SECONDS": FEW_SECONDS, "NEAR_REAL_TIME": NEAR_REAL_TIME}
    return markdown.render("explorer.dashboard", template, constants | {"comparisons": comparisons} | values)


def _machine(trial: FrozenTrial) -> dict[str, object]:
    """Return what a trial was measured on and with, by name."""
    described = {**trial.user_attrs[record.MACHINE], "threads of the model": trial.user_attrs.get(record.THREADS, "–")}
    return described | {name: value for name, value in (versions_of(trial) or {}).items() if name not in described}


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
