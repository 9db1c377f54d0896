"""`explorer report`: one self-contained page about a study, its figures as PNG and its data as CSV."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import jinja2
import markupsafe
import optuna

from explorer.atomic_files import appearing, refuse_existing, writing
from explorer.figures import data, per_recording
from explorer.figures.style import as_bytes, as_inline_svg
from explorer.front.frames import as_csv
from explorer.front.mode_pairs import mode_pairs
from explorer.front.pareto import whole_front
from explorer.front.rows import Comparison, FrontRow
from explorer.report import breakdown, front, paper
from explorer.report import facts as report_facts
from explorer.report.exhibit import Absent, Exhibit
from explorer.report.facts import Headline
from explorer.report.modes import modes_exhibit
from explorer.report.pairs import pairs_exhibit
from explorer.report.stress import stress_exhibit
from explorer.search.status import StudyStatus, status
from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.foreign_trials import LeftOut, in_words
from explorer.storage.study_record import stored_definition
from explorer.storage.urls import without_paths
from explorer.terminal.corpus_remarks import print_remarks
from objectives.errors import AssetError, CorpusError, StudyError
from studies.definition import StudyDefinition
from studies.fixed_points import SWEEPS
from studies.paper_results import PaperTable

if TYPE_CHECKING:  # imports pyannote
    from objectives.corpora.summary import SpeechSummary

MARKER = "report.json"  # marks a folder as a report, so that a newer one may replace it
PAGE = "index.html"
MEASURED_BY = {  # the packaged study that measures each figure or table of the paper
    "figure1": "right_context",
    "figure2": "chunk_length",
    "figure3": "quantization",
    "table1": "pruning",
    "table2": "quantization",
}
PAPER_TABLES: tuple[PaperTable, ...] = get_args(PaperTable)
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """All content of a report. sections: heading → figures, tables and what is left out. infeasible: how many trials,
    and how many by limit. left_out: trials that another program added or changed, and why. by_torch: whether torch ran
    windows for the DER."""

    title: str
    description: str
    headline: tuple[Headline, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[tuple[str, tuple[Exhibit | Absent, ...]], ...]
    definition: StudyDefinition
    progress: StudyStatus
    infeasible: tuple[int, Mapping[str, int]]
    left_out: LeftOut
    by_torch: bool
    made: str

    @property
    def exhibits(self) -> tuple[Exhibit, ...]:
        """All exhibits, in order."""
        return tuple(item for _, items in self.sections for item in items if isinstance(item, Exhibit))


def compose(study: optuna.Study, on_step: OnStep = lambda step: None) -> Report:
    """Compose the report of a study, with its figures drawn. on_step: called with a description of each step.

    Raises StudyError if the study was not made by `explorer run`, or has nothing measured yet.
    """
    definition = stored_definition(study)
    found = whole_front(study)
    rows = [replace(row, error=row.error and without_paths(row.error)) for row in found.rows]
    measured = [row for row in rows if row.measurement]
    if not measured:
        raise StudyError(
            f"the study {study.study_name!r} has nothing to report yet: no operating point of it was measured; "
            f"`explorer run {study.study_name}` goes on"
        )
    progress = status(study)
    left_out = {**found.left_out, **progress.left_out}
    if left_out:
        on_step(in_words(left_out))
    trials = bulk_sql.read(study, [row.number for row in measured])
    on_step(f"reading the references of {report_facts.corpus_name(progress.definition, study)}")
    speech = _speech(study, definition, trials[next(iter(trials))].user_attrs[record.RECORDINGS])
    on_step("drawing")
    joint = data.joint_front(rows, data.other_trials(study, rows))
    return Report(
        title=f"Streaming speaker diarization: the study {study.study_name}",
        description=without_paths(definition.description),
        headline=report_facts.headlines(rows, progress),
        facts=report_facts.facts(study, definition, progress, rows, trials, _overlap_share(speech)),
        sections=(
            ("The joint front", front.front_exhibits(joint)),
            ("The paper's figures and tables, measured here", _paper(rows, trials, found.comparisons)),
            ("What these recordings can tell apart", (pairs_exhibit(rows, found.comparisons),)),
            ("Names that are final at once", (modes_exhibit(mode_pairs(rows, found.comparisons)),)),
            (
                "Where the compute goes, and where the errors are",
                (_stages(joint, definition), _overlap(rows, trials, speech)),
            ),
            ("Overlap and noise, made up", (stress_exhibit(study),)),
            ("The front as a table", (front.whole_front(rows, found.comparisons),)),
        ),
        definition=definition,
        progress=progress,
        infeasible=report_facts.infeasible(study),
        left_out=left_out,
        by_torch=any((row.figures.kernel or "").startswith("torch ") for row in measured),
        made=report_facts.made_by(),
    )


def write_report(study: optuna.Study, folder: Path, force: bool = False, on_step: OnStep = lambda step: None) -> Path:
    """Compose the report of a study and write it to `folder`, which appears complete or not at all. Returns the page.

    force: replace a folder that is itself a report; nothing else is ever replaced.
    Raises StudyError as `compose` does, if the folder exists already, and if it cannot be written.
    """
    folder = folder.resolve()
    refuse_existing(folder, force, "report", MARKER, StudyError)
    with appearing(folder, force, StudyError) as staged:
        report = compose(study, on_step)
        on_step("writing")
        with writing(folder, StudyError):
            _fill(staged, report, study.study_name)
        refuse_existing(folder, force, "report", MARKER, StudyError)  # again: drawing took a while
    return folder / PAGE


def render(report: Report) -> str:
    """Render the page: self-contained HTML that needs no other files, no network and no scripts."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("explorer.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["without_paths"] = without_paths
    drawn = {
        item.name: markupsafe.Markup(as_inline_svg(item.figure, item.name, item.alternative))
        for item in report.exhibits
        if item.figure is not None
    }
    fields = {field: getattr(report, field) for field in report.__dataclass_fields__}
    return environment.get_template("report.html").render(**fields, drawn=drawn)


def _fill(folder: Path, report: Report, study: str) -> None:
    (folder / PAGE).write_text(render(report), encoding="utf-8")
    for name in ("figures", "data"):
        (folder / name).mkdir()
    for item in report.exhibits:
        if item.figure is not None:
            (folder / "figures" / f"{item.name}.png").write_bytes(as_bytes(item.figure, "png"))
        for name, sheet in (item.sheets or {}).items():
            (folder / "data" / f"{name}.csv").write_text(as_csv(sheet), encoding="utf-8")
    (folder / MARKER).write_text(json.dumps({"study": study, "made": report.made}, indent=2) + "\n", encoding="utf-8")


def _paper(
    rows: Sequence[FrontRow], trials: Mapping[int, optuna.trial.FrozenTrial], compared: Sequence[Comparison]
) -> tuple[Exhibit | Absent, ...]:
    shown: list[Exhibit | Absent] = []
    for figure in SWEEPS:
        curve = data.sweep_curve(rows, figure)
        shown.append(paper.sweep_exhibit(curve) if curve else _absent(figure, "fewer than two points of this curve"))
    for table in PAPER_TABLES:
        found = paper.table_exhibit(rows, table, compared)
        shown.append(found or _absent(table, "no measured row of this table"))
    deltas = per_recording.precision_deltas(rows, trials, compared)
    lack = "no row of Table 2 in lower precision beside FP32 of the same model"
    shown.append(paper.delta_exhibit(deltas) if deltas else _absent("figure3", lack))
    return tuple(shown)


def _absent(name: str, lack: str) -> Absent:
    title = f"{name[:-1].capitalize()} {name[-1]}"
    return Absent(name, title, f"this study has {lack}.", f"explorer run {MEASURED_BY[name]}")


def _stages(joint: data.JointFront, definition: StudyDefinition) -> Exhibit | Absent:
    found = data.stage_shares(joint.points)
    if found:
        return breakdown.stage_exhibit(found)
    why = "no trial of this study recorded its stages (an earlier version did not)"
    if definition.space.mode == "offline":
        why = "the offline mode does not time its stages separately"
    return Absent("stages", "Where the compute goes", f"{why}.", "explorer run joint")


def _overlap(
    rows: Sequence[FrontRow],
    trials: Mapping[int, optuna.trial.FrozenTrial],
    speech: "Mapping[str, SpeechSummary] | str",
) -> Exhibit | Absent:
    title = "DER against overlapped speech"
    series, same = breakdown.overlap_series(rows, trials)
    if isinstance(speech, str):
        return Absent("overlap", title, without_paths(speech))
    return breakdown.overlap_exhibit(per_recording.overlap_figure(series, speech), same)


def _speech(
    study: optuna.Study, definition: StudyDefinition, recordings: Mapping[str, object]
) -> "Mapping[str, SpeechSummary] | str":
    """Return the speech of each scored recording in the references, or why it is not known any more."""
    from objectives.corpora.sources import load_corpus
    from objectives.corpora.summary import in_brief, summarize_recordings

    try:
        corpus = load_corpus(definition.corpus, seed=definition.seed)
        print_remarks(in_brief(corpus, definition.corpus))
        changed = corpus.fingerprint != report_facts.identified_corpus(study)[1]
    except (CorpusError, AssetError) as error:
        return f"the corpus cannot be read any more ({error})."
    found = {str(summary.uri): summary for summary in summarize_recordings(corpus) if summary.uri in recordings}
    if changed or set(found) != set(recordings):
        return "the corpus is not the one that was measured: its recordings, references or splits have changed."
    return found


def _overlap_share(speech: "Mapping[str, SpeechSummary] | str") -> float | None:
    if isinstance(speech, str):
        return None
    spoken = sum(summary.speech for summary in speech.values())
    return sum(summary.overlap for summary in speech.values()) / spoken if spoken else None
