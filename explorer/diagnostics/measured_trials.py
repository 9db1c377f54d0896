"""The trials of a study that were measured, and an evaluator that measures them again."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState

from explorer.storage import bulk_sql
from explorer.storage import trial_record as record
from explorer.storage.study_record import device_of, refuse_other_data, stored_definition
from explorer.terminal.corpus_remarks import print_remarks
from explorer.workers.protocol import OnStage
from objectives.errors import StudyError
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.machine import Device
from objectives.operating_point import OperatingPoint
from studies.search_space import SearchSpace, recall

MEASURED = (TrialState.COMPLETE, TrialState.PRUNED)


def measured_trials(study: optuna.Study, numbers: Sequence[int]) -> tuple[list[FrozenTrial], dict[int, FrozenTrial]]:
    """Return the requested trials, and the trials that measured them by number.

    Raises StudyError if the study has no such trial, or if it was not measured.
    """
    found = {number: bulk_sql.read_own(study, number) for number in numbers}
    for number, trial in found.items():
        measured = trial.user_attrs.keys() & {record.MODEL_KEY, record.STOP}
        if trial.state not in MEASURED or not measured:
            why = trial.user_attrs.get(record.ERROR)
            state = {TrialState.FAIL: "failed", TrialState.PRUNED: "was stopped by another program"}
            raise StudyError(
                f"trial {number} of {study.study_name!r} {state.get(trial.state, f'is {trial.state.name.lower()}')}"
                f"{f' ({why})' if why else ''}, so nothing was measured that could be compared: choose a "
                "complete one, or one that was stopped"
            )
    asked = list(found.values())
    left_out: dict[int, str] = {}
    found |= bulk_sql.read(study, {source_of(trial) for trial in asked} - found.keys(), left_out)
    for trial in asked:
        if (source := source_of(trial)) not in found:
            raise StudyError(
                f"trial {trial.number} of the study {study.study_name!r} took over what trial {source} measured, which "
                f"is left out ({left_out.get(source, 'there is no such trial')}): nothing can be compared with it"
            )
    return asked, {source_of(trial): found[source_of(trial)] for trial in asked}


def source_of(trial: FrozenTrial) -> int:
    """Return the number of the trial that measured this one's operating point."""
    return int(trial.user_attrs.get(record.REUSED_FROM, trial.number))


def point_of(trial: FrozenTrial, space: SearchSpace) -> OperatingPoint:
    """Return the operating point of a trial. Raises StudyError if it has none."""
    point = recall(trial, space)
    if point is None:
        raise StudyError(f"trial {trial.number}: its parameters are outside the study's search space")
    return point


@contextmanager
def evaluator_of(
    study: optuna.Study,
    trials: Iterable[FrozenTrial],
    device: Device | None,
    trusted: frozenset[str],
    on_progress: OnStage,
) -> Iterator[Evaluator]:
    """Build an evaluator that measures trials of a study again, and print the remarks on its corpus.

    device: where windows are run; the study's own by default.
    Raises StudyError if the trials were measured on other recordings, or with other weights or settings.
    """
    on_progress("getting ready", 0.0)
    settings = stored_definition(study).evaluator_settings(device or device_of(study), trusted)
    with build_evaluator(settings) as evaluator:
        print_remarks(evaluator.remarks)
        refuse_other_data(study, trials, evaluator.identity)
        yield evaluator


def same_model(trial: FrozenTrial, point: OperatingPoint, evaluator: Evaluator, on_progress: OnStage) -> str:
    """Return the key of the trial's model. Raises StudyError if its settings now make another one."""
    key = evaluator.model(point, on_progress).key
    then = trial.user_attrs.get(record.MODEL_KEY, key)  # a trial that was stopped at once has none
    if key != then:
        raise StudyError(
            f"trial {trial.number} ran the model {then}, and the same settings make {key} now, whose errors are its "
            "own. Run the study again under another --name"
        )
    return key
