"""What a snapshot adds to the trials: figures, notes and artifacts, stored where optuna-dashboard 0.21 looks for them.

They are written into the tables at once, as in explorer/storage/bulk_sql.py: the dashboard's own functions cut every
text into pieces of two thousand characters, with one transaction each. The tests read them back through the dashboard's
own functions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from io import BytesIO
from typing import BinaryIO

import optuna
import plotly.graph_objects as go
from optuna.artifacts import ArtifactMeta
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import delete, insert, select

from explorer.dashboard.notes import Look, study_note, trial_note, unread_note
from explorer.figures.front_plotly import CARD, der_against_latency, front_figure
from explorer.figures.recordings import as_png
from explorer.figures.search_plotly import hypervolume_history, importance
from explorer.front import comparisons
from explorer.front.frames import as_csv, frame_of
from explorer.front.pareto import every_row, in_order, whole_front
from explorer.front.recordings import RecordingErrors, by_recording
from explorer.front.rows import FrontRow
from explorer.storage import trial_record as record
from explorer.storage.snapshot import SnapshotStorage
from explorer.storage.study_record import DEFINITION, stored_definition
from objectives.errors import StudyError
from studies.definition import StudyDefinition

MOST_POINTS = 1000  # in a figure: the front, fixed points, and the latest of the others
NOTE_VERSION, NOTE = "dashboard:note_ver", "dashboard:note_str:0"
FIGURE = "dashboard:plot_data:{}:0"
FIGURES = ("front", "der-against-latency", "hypervolume", "importance")  # ids, in display order
ARTIFACT = "artifacts:{}"
PNG, CSV = "0", "1"  # the kind of an artifact, at the end of its id
RECORDINGS = "recordings"


@dataclass(frozen=True)
class Annotations:
    """What a study's page shows besides the tables. notes: of trials, by trial id. front: numbers of the trials on it;
    None for a study that the explorer did not make."""

    notes: Mapping[int, str]
    front: frozenset[int] | None


def annotate(storage: SnapshotStorage, source: str, taken: datetime) -> dict[int, Annotations]:
    """Draw and write everything for every study that `explorer run` made; by study id. source: of the snapshot."""
    _write_artifacts(storage)
    found = {}
    for summary in storage.get_all_studies():
        study = optuna.Study(summary.study_name, storage)
        found[study._study_id] = Annotations({}, None)
        if DEFINITION in summary.user_attrs:
            try:
                found[study._study_id] = _annotate(study, stored_definition(study), storage, source, taken)
            except StudyError as error:
                _write(study, storage, {NOTE_VERSION: 1, NOTE: unread_note(study.study_name, str(error))})
    return found


def _annotate(
    study: optuna.Study, definition: StudyDefinition, storage: SnapshotStorage, source: str, taken: datetime
) -> Annotations:
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    rows = {row.trial: row for row in every_row(study, trials)}
    drawn = _drawn(list(rows.values()))
    figures, missing = _figures(trials, drawn)
    left_out = sum(row.measurement is not None for row in rows.values()) - len(drawn)
    look = Look(f"{taken:%Y-%m-%d %H:%M:%S}", source, missing, left_out)
    front = whole_front(study)
    unshown = storage.left_out.get(study._study_id, {})
    note = study_note(study.study_name, definition, trials, front.rows, look, front.comparisons, unshown)
    rows |= {row.trial: row for row in _compared(study, drawn, trials)}
    attributes = {FIGURE.format(name): figure.to_json() for name, figure in figures.items()}
    _write(study, storage, {NOTE_VERSION: 1, NOTE: note, **attributes})
    return Annotations(
        notes={trial._trial_id: trial_note(trial, rows.get(trial.number)) for trial in trials},
        front=frozenset(number for number, row in rows.items() if number is not None and row.standing == "front"),
    )


def _write(study: optuna.Study, storage: SnapshotStorage, attributes: Mapping[str, object]) -> None:
    """Set system attributes of a study, in the copy. Notes and figures made with the dashboard itself stay unchanged in
    the original."""
    study_id, table = study._study_id, models.StudySystemAttributeModel
    rows = [{"study_id": study_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    with storage.engine.begin() as connection:
        connection.execute(delete(table).where(table.study_id == study_id, table.key.in_(list(attributes))))
        connection.execute(insert(table), rows)


def _figures(trials: Sequence[FrozenTrial], rows: Sequence[FrontRow]) -> tuple[dict[str, go.Figure], dict[str, str]]:
    """Return the figures by id, and why others are missing."""
    makers: dict[str, Callable[[], go.Figure]] = {
        "front": lambda: front_figure(rows, CARD),
        "der-against-latency": lambda: der_against_latency(rows, CARD),
        "hypervolume": lambda: hypervolume_history(trials),
        "importance": lambda: importance(trials),
    }
    figures, missing = {}, {}
    for name, make in makers.items():
        try:
            figures[name] = make()
        except StudyError as error:
            missing[name] = str(error)
    return figures, missing


def _compared(study: optuna.Study, rows: Sequence[FrontRow], trials: Sequence[FrozenTrial]) -> tuple[FrontRow, ...]:
    """Return the measured rows, with their comparisons."""
    numbers = {row.trial for row in rows}
    of_rows = {trial.number: trial for trial in trials if trial.number in numbers}
    ordered = in_order(rows)
    return comparisons.beside(ordered, comparisons.compare(ordered, of_rows))


def _drawn(rows: Sequence[FrontRow]) -> list[FrontRow]:
    """Return the rows of a figure that stays quick to load and to turn: all that matter, and the latest of the rest."""
    measured = [row for row in rows if row.measurement]
    matter = [row for row in measured if row.standing == "front" or row.origin != record.SEARCH]
    others = [row for row in measured if not (row.standing == "front" or row.origin != record.SEARCH)]
    return [*matter, *others[max(0, len(others) - max(0, MOST_POINTS - len(matter))) :]]


def _write_artifacts(storage: SnapshotStorage) -> None:
    """List artifacts for each trial that has recordings; they are made when they are requested."""
    user, study = models.TrialUserAttributeModel, models.StudyUserAttributeModel
    trial = models.TrialModel
    with storage.engine.begin() as connection:
        with_recordings = (
            select(trial.trial_id, trial.number)
            .join(user, user.trial_id == trial.trial_id)
            .join(study, study.study_id == trial.study_id)
            .where(user.key == RECORDINGS, user.value_json != "{}", study.key == DEFINITION)
        )
        rows = [
            _artifact(trial_id, ArtifactMeta(f"{trial_id:x}-{kind}", f"trial-{number}-recordings.{suffix}", mime, None))
            for trial_id, number in connection.execute(with_recordings).all()
            for kind, suffix, mime in ((PNG, "png", "image/png"), (CSV, "csv", "text/csv"))
        ]
        if rows:
            connection.execute(insert(models.TrialSystemAttributeModel), rows)


def _artifact(trial_id: int, meta: ArtifactMeta) -> dict[str, object]:
    value = json.dumps(json.dumps(asdict(meta)))  # Optuna keeps text
    return {"trial_id": trial_id, "key": ARTIFACT.format(meta.artifact_id), "value_json": value}


class Artifacts:
    """The artifact store of a snapshot (optuna.artifacts' protocol): makes what is requested, and keeps nothing."""

    def __init__(self, storage: SnapshotStorage) -> None:
        self._storage = storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return the plot or the CSV of a trial. Raises ArtifactNotFound if the id is not one of ours."""
        trial, kind = self._find(artifact_id)
        recordings = by_recording(trial.user_attrs[RECORDINGS])
        if kind == CSV:
            return BytesIO(as_csv(frame_of(RecordingErrors, recordings)).encode())
        der = trial.user_attrs.get(record.POOLED)  # a stopped trial has none
        pooled = f"DER {der['der']:.2f} % in all" if der else f"stopped after {len(recordings)} recordings"
        return BytesIO(as_png(recordings, f"Trial {trial.number}, {record.origin_of(trial)}: {pooled}"))

    def has(self, artifact_id: str) -> bool:
        """Return whether an id is one of ours; other programs' uploads are in a store of their own."""
        try:
            self._find(artifact_id)
        except ArtifactNotFound:
            return False
        return True

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Refuse: a snapshot accepts no artifacts."""
        raise NotImplementedError("a snapshot takes no artifacts")

    def remove(self, artifact_id: str) -> None:
        """Refuse: a snapshot deletes no artifacts."""
        raise NotImplementedError("a snapshot loses no artifacts")

    def _find(self, artifact_id: str) -> tuple[FrozenTrial, str]:
        trial_id, dash, kind = artifact_id.partition("-")
        if not (dash and kind in (PNG, CSV) and trial_id):
            raise ArtifactNotFound(f"{artifact_id} is none of the explorer's artifacts")
        try:
            trial = self._storage.get_trial(int(trial_id, 16))
        except (KeyError, ValueError, OverflowError) as error:
            raise ArtifactNotFound(f"{artifact_id}: there is no such trial") from error
        if not trial.user_attrs.get(RECORDINGS):
            raise ArtifactNotFound(f"{artifact_id}: the trial has no recordings")
        return trial, kind
