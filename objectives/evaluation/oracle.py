"""What diarization would say if its segmentation, or its clustering, knew the reference: where the errors come from.

**Oracle segmentation** (`ReferenceWindows`) stands in the place of the model. In each window it says what a perfect
model could: a local speaker is active in the frames whose centres lie in its turns of the reference. It has the model's
frames, `contract.speakers` local speakers a window and `contract.max_at_once` of them at a time. Where the reference
has more, those who speak most in the window stay, and the speech of the others is left out: there it is a missed
detection. What follows is the operating point's own: embedding features, clustering or online tracking, closed pauses,
blocks.

**Oracle clustering** (`name_by_reference`) stands in the place of the embedding, the clustering and the online
tracking. The model's local speakers are named, window by window, by the people of the reference with whom they share
the most frames, one to one (the Hungarian method). One who shares no frame with anybody who is left gets a name of its
own. So whoever speaks when is the model's to say: false alarm and missed detection stay what they are, and of the
confusion what the model makes within a window: one local speaker for two people, and the like. It is no bound: the name
that is right for a voice in its window need not be the luckiest one for the block that is emitted. (A pause that is
closed after naming follows the names: in the offline mode, and in the online mode with min_duration_off, false alarm
and missed detection may move a little.)

**Both** is the floor that frames, blocks, closed pauses and the number of local speakers leave.

The reference enters here and nowhere else.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from typing import Literal, get_args

import numpy as np
from pyannote.core import Annotation
from scipy.optimize import linear_sum_assignment

from objectives import machine
from objectives.corpora.corpus import Recording
from objectives.errors import EvaluationError
from objectives.evaluation.accuracy import AccuracyPlane
from objectives.evaluation.evaluator import Evaluator, OnProgress
from objectives.evaluation.scoring import score
from objectives.measurement import ErrorCounts, pool
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.windows import LocalSpeakers
from objectives.operating_point import OperatingPoint
from objectives.streaming.clustering import UNNAMED
from objectives.streaming.hypothesis import Hypothesis, Turns
from objectives.streaming.loop import batches
from objectives.streaming.offline import diarize_offline, offline_ends
from objectives.streaming.schedule import Schedule, cut_block


class ReferenceWindows:
    """Oracle segmentation: a recording's windows as the reference has them, in the place of a model's (LocalSpeakers).

    waveform: (samples,) float32, of which only the length matters. reference: who speaks when; of one person,
    overlapping turns are one.
    """

    def __init__(self, waveform: np.ndarray, contract: Contract, reference: Annotation):
        self.waveform = waveform
        self.contract = contract
        self._bounds = [
            np.array([round(second * SAMPLE_RATE) for turn in timeline for second in (turn.start, turn.end)])
            for timeline in (reference.label_timeline(label).support() for label in sorted(reference.labels(), key=str))
        ]  # of each person: first sample, last sample + 1 of each turn, in the order of time

    @property
    def people(self) -> int:
        """Number of people in the reference."""
        return len(self._bounds)

    def everybody_ending_at(self, ends: Iterable[int]) -> np.ndarray:
        """(windows, frames, people) bool: who speaks at the centre of each frame of the windows that end at these
        samples, in the order of their labels."""
        offsets = np.arange(self.contract.frames) * self.contract.step + self.contract.centre - self.contract.window
        centres = np.array(list(ends), int)[:, None] + offsets
        # (windows, frames)
        speaking = np.zeros((*centres.shape, self.people), bool)
        for person, bounds in enumerate(self._bounds):
            # within a turn, an odd number of bounds was passed
            speaking[..., person] = np.searchsorted(bounds, centres, side="right") % 2 == 1
        return speaking

    def activity_ending_at(self, ends: Iterable[int]) -> np.ndarray:
        """(windows, frames, speakers) bool: what a perfect model could say of these windows."""
        rows = [most_heard(everybody, self.contract) for everybody in self.everybody_ending_at(ends)]
        return np.array(rows, bool).reshape(-1, self.contract.frames, self.contract.speakers)


def most_heard(everybody: np.ndarray, contract: Contract) -> np.ndarray:
    """Everybody in a window as its local speakers: (frames, people) bool → (frames, speakers) bool.

    They come in the order of how much they speak in the window, most first. Who is beyond `contract.speakers` is left
    out of the window, who is beyond `contract.max_at_once` out of the frame.
    """
    chosen = np.argsort(-everybody.sum(axis=0), kind="stable")[: contract.speakers]
    activity = np.zeros((len(everybody), contract.speakers), bool)
    activity[:, : len(chosen)] = everybody[:, chosen]
    return activity & (np.cumsum(activity, axis=1) <= contract.max_at_once)


def name_by_reference(activity: np.ndarray, everybody: np.ndarray, beyond: int) -> np.ndarray:
    """Name a window's local speakers by those with whom they share the most frames, one to one.

    activity: (frames, speakers) bool. everybody: (frames, people) bool. Returns (speakers,) int: a person, or
    `beyond` and more for who shares no frame with anybody who is left, or UNNAMED for who is not active.
    """
    shared = activity.T.astype(int) @ everybody.astype(int)
    # (speakers, people)
    names = np.where(activity.any(axis=0), beyond + np.arange(activity.shape[1]), UNNAMED)
    for local, person in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        if shared[local, person] > 0:
            names[local] = person
    return names


def stream_named(windows: LocalSpeakers, reference: ReferenceWindows, point: OperatingPoint) -> Hypothesis:
    """Chunk-wise or online streaming with oracle clustering. windows, reference: of the same recording."""
    contract = windows.contract
    schedule = Schedule(len(windows.waveform), point.chunk_length, point.right_context)
    turns = Turns(wait=round(point.online.min_duration_off * SAMPLE_RATE))
    told = []
    for updates in batches(len(schedule)):
        ends = [schedule.heard(update) for update in updates]
        heard = zip(updates, windows.activity_ending_at(ends), reference.everybody_ending_at(ends), strict=True)
        for update, activity, everybody in heard:
            names = name_by_reference(activity, everybody, beyond=reference.people + update * contract.speakers)
            block = cut_block(schedule, contract, update, activity)
            for start, cell in zip(block.starts, block.frames, strict=True):
                told += turns.cell(int(start), names[cell].tolist())
    told += turns.end(schedule.total)
    return Hypothesis(schedule.total, tuple(sorted(told)))


def names_of_windows(reference: ReferenceWindows) -> Callable[[np.ndarray], np.ndarray]:
    """Oracle clustering of the offline mode: (windows, frames, speakers) bool → (windows, speakers) int.

    Names beyond the reference's are one for each of a window's local speakers and are shared by all windows, since the
    released pipeline averages a row for each name over the whole recording.
    """

    def names(activity: np.ndarray) -> np.ndarray:
        everybody = reference.everybody_ending_at(offline_ends(len(reference.waveform), reference.contract))
        named = [name_by_reference(*one, beyond=reference.people) for one in zip(activity, everybody, strict=True)]
        return np.array(named)

    return names


def labels_named(
    plane: AccuracyPlane,
    recording: Recording,
    point: OperatingPoint,
    windows: LocalSpeakers,
    reference: ReferenceWindows,
) -> Annotation:
    """Who speaks when, by an operating point with oracle clustering. Raises CorpusError."""
    if point.mode != "offline":
        return stream_named(windows, reference, point).annotation("recording")
    features_of = plane.features_of_windows(recording, windows.contract)
    return diarize_offline(windows, features_of, plane.embedding, plane.clustering, names=names_of_windows(reference))


# What is perfect (objectives/evaluation/oracle.py says how), in the order in which it is told
Condition = Literal["none", "segmentation", "clustering", "both"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
Isolated = Mapping[Condition, Mapping[str, ErrorCounts]]  # errors by recording (URI)


def isolate(
    evaluator: Evaluator,
    point: OperatingPoint,
    on_progress: OnProgress = lambda stage, fraction: None,
    conditions: Collection[Condition] = CONDITIONS,
) -> Isolated:
    """Errors of each of the evaluator's recordings under these conditions, from the same windows.

    Raises EvaluationError where a recording cannot be read or nothing can be scored, and what `Evaluator.model` raises.
    """
    model = evaluator.model(point, on_progress)
    counts: dict[Condition, dict[str, ErrorCounts]] = {condition: {} for condition in conditions}
    tell: Callable[[float], None] = lambda done: on_progress("accuracy", done)  # noqa: E731
    plane = evaluator.accuracy
    with closing(plane.heard(evaluator.recordings, point, model.key, evaluator.runtime(point), tell)) as heard:
        for recording, windows in heard:
            with machine.working():
                reference = ReferenceWindows(windows.waveform, windows.contract, recording.reference)
                for condition, scored in counts.items():
                    said = _labels(plane, recording, point, windows, reference, condition)
                    scored[recording.uri] = score(recording.reference, said, recording.annotated)
    if any(pool(scored.values()).total == 0 for scored in counts.values()):
        raise EvaluationError("no reference speech is left to score outside the collar: use longer recordings")
    return counts


def _labels(
    plane: AccuracyPlane,
    recording: Recording,
    point: OperatingPoint,
    windows: LocalSpeakers,
    reference: ReferenceWindows,
    condition: Condition,
) -> Annotation:
    if condition in ("segmentation", "both"):
        windows = reference
    if condition in ("none", "segmentation"):
        return plane.labels(recording, point, windows)
    return labels_named(plane, recording, point, windows, reference)
