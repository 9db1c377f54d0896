"""What diarization would output if its segmentation, or its clustering, were perfect: where the errors come from.

**Oracle segmentation** (`ReferenceWindows`) replaces the model. In each window it outputs what a perfect model could: a
local speaker is active in the frames whose centres lie in one of its turns of the reference. It has the model's frames,
`contract.speakers` local speakers in each window, and at most `contract.max_at_once` of them at a time. If the
reference has more, those who speak most in the window stay, and the speech of the others is left out and counts as
missed detection. The rest is the operating point's own: embedding features, clustering or online tracking, closed
pauses, blocks.

**Oracle clustering** (`name_by_reference`) replaces the embedding, the clustering and the online tracking. In each
window, the model's local speakers are named after the people of the reference with whom they share the most frames, one
to one (the Hungarian method). A local speaker who shares no frame with anybody left gets a name of its own. The model
still decides when somebody speaks, so false alarm and missed detection do not change. The confusion that remains is
what the model causes within a window, such as one local speaker for two people. It is not a lower bound: the right name
for a voice in its window is not always the best one for the block that is emitted. (Pauses that are closed after naming
depend on the names, so false alarm and missed detection may change a little in the offline mode, and in the online mode
with min_duration_off.)

**Both** together give the floor set by frames, blocks, closed pauses and the number of local speakers.

Diarization sees the reference here and nowhere else.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from typing import Literal, get_args

import numpy as np
from pyannote.core import Annotation
from scipy.optimize import linear_sum_assignment

from objectives import machine
from objectives.corpora.corpus import Recording
from objectives.evaluation.accuracy import AccuracyPlane
from objectives.evaluation.evaluator import Evaluator, OnProgress
from objectives.evaluation.scoring import refuse_unscored, score
from objectives.measurement import ErrorCounts
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.windows import LocalSpeakers
from objectives.operating_point import OperatingPoint
from objectives.streaming.clustering import UNNAMED
from objectives.streaming.hypothesis import Hypothesis, Turns
from objectives.streaming.loop import batches
from objectives.streaming.offline import diarize_offline, offline_ends
from objectives.streaming.schedule import Schedule, cut_block


class ReferenceWindows:
    """Oracle segmentation: a recording's windows according to the reference, in place of a model's (LocalSpeakers).

    waveform: (samples,) float32; only its length is used.
    reference: who speaks when. Overlapping turns of one person are merged.
    """

    def __init__(self, waveform: np.ndarray, contract: Contract, reference: Annotation):
        self.waveform = waveform
        self.contract = contract
        self._bounds = [
            np.array([round(second * SAMPLE_RATE) for turn in timeline for second in (turn.start, turn.end)])
            for timeline in (reference.label_timeline(label).support() for label in sorted(reference.labels(), key=str))
        ]  # for each person: first sample and last sample + 1 of each turn, in order of time

    @property
    def people(self) -> int:
        """Number of people in the reference."""
        return len(self._bounds)

    def everybody_ending_at(self, ends: Iterable[int]) -> np.ndarray:
        """Return who speaks at the centre of each frame of the windows that end at these samples: (windows, frames,
        people) bool, people in the order of their labels."""
        offsets = np.arange(self.contract.frames) * self.contract.step + self.contract.centre - self.contract.window
        centres = np.array(list(ends), int)[:, None] + offsets  # (windows, frames)
        speaking = np.zeros((*centres.shape, self.people), bool)
        for person, bounds in enumerate(self._bounds):
            # a centre lies within a turn if an odd number of bounds precede it
            speaking[..., person] = np.searchsorted(bounds, centres, side="right") % 2 == 1
        return speaking

    def activity_ending_at(self, ends: Iterable[int]) -> np.ndarray:
        """Return what a perfect model could output for these windows: (windows, frames, speakers) bool."""
        rows = [most_heard(everybody, self.contract) for everybody in self.everybody_ending_at(ends)]
        return np.array(rows, bool).reshape(-1, self.contract.frames, self.contract.speakers)


def most_heard(everybody: np.ndarray, contract: Contract) -> np.ndarray:
    """Reduce everybody in a window to local speakers: (frames, people) bool → (frames, speakers) bool.

    They are sorted by how much they speak in the window, most first. People beyond `contract.speakers` are left out of
    the window, and those beyond `contract.max_at_once` out of the frame.
    """
    chosen = np.argsort(-everybody.sum(axis=0), kind="stable")[: contract.speakers]
    activity = np.zeros((len(everybody), contract.speakers), bool)
    activity[:, : len(chosen)] = everybody[:, chosen]
    return activity & (np.cumsum(activity, axis=1) <= contract.max_at_once)


def name_by_reference(activity: np.ndarray, everybody: np.ndarray, beyond: int) -> np.ndarray:
    """Name a window's local speakers after the people with whom they share the most frames, one to one.

    Return (speakers,) int: a person; or `beyond` and up for a local speaker who shares no frame with anybody left; or
    UNNAMED for one who is not active.

    activity: (frames, speakers) bool.
    everybody: (frames, people) bool.
    """
    shared = activity.T.astype(int) @ everybody.astype(int)
    # (speakers, people)
    names = np.where(activity.any(axis=0), beyond + np.arange(activity.shape[1]), UNNAMED)
    for local, person in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        if shared[local, person] > 0:
            names[local] = person
    return names


def stream_named(windows: LocalSpeakers, reference: ReferenceWindows, point: OperatingPoint) -> Hypothesis:
    """Run chunk-wise or online streaming with oracle clustering. windows, reference: of the same recording."""
    contract = windows.contract
    schedule = Schedule(len(windows.waveform), point.chunk_length, point.right_context)
    turns = Turns(wait=round(point.online.min_duration_off * SAMPLE_RATE))
    ended = []
    for updates in batches(len(schedule)):
        ends = [schedule.heard(update) for update in updates]
        heard = zip(updates, windows.activity_ending_at(ends), reference.everybody_ending_at(ends), strict=True)
        for update, activity, everybody in heard:
            names = name_by_reference(activity, everybody, beyond=reference.people + update * contract.speakers)
            block = cut_block(schedule, contract, update, activity)
            for start, cell in zip(block.starts, block.frames, strict=True):
                ended += turns.cell(int(start), names[cell].tolist())
    ended += turns.end(schedule.total)
    return Hypothesis(schedule.total, tuple(sorted(ended)))


def names_of_windows(reference: ReferenceWindows) -> Callable[[np.ndarray], np.ndarray]:
    """Return the oracle clustering of the offline mode: (windows, frames, speakers) bool → (windows, speakers) int.

    Names beyond the reference's, one for each local speaker of a window, are shared by all windows: the released
    pipeline averages one row for each name over the whole recording.
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
    """Return who speaks when, according to an operating point with oracle clustering. Raises CorpusError."""
    if point.mode != "offline":
        return stream_named(windows, reference, point).annotation("recording")
    features_of = plane.features_of_windows(recording, windows.contract)
    return diarize_offline(windows, features_of, plane.embedding, plane.clustering, names=names_of_windows(reference))


# What is perfect (see the top of this file), in the order in which it is reported
Condition = Literal["none", "segmentation", "clustering", "both"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
Isolated = Mapping[Condition, Mapping[str, ErrorCounts]]  # errors by recording (URI)


def isolate(
    evaluator: Evaluator,
    point: OperatingPoint,
    on_progress: OnProgress = lambda stage, fraction: None,
    conditions: Collection[Condition] = CONDITIONS,
) -> Isolated:
    """Return the errors of each of the evaluator's recordings under these conditions, from the same windows.

    Raises EvaluationError if a recording cannot be read or nothing can be scored, and what `Evaluator.model` raises.
    """
    model = evaluator.model(point, on_progress)
    counts: dict[Condition, dict[str, ErrorCounts]] = {condition: {} for condition in conditions}
    report: Callable[[float], None] = lambda done: on_progress("accuracy", done)  # noqa: E731
    plane = evaluator.accuracy
    with closing(plane.heard(evaluator.recordings, point, model.key, evaluator.runtime(point), report)) as heard:
        for recording, windows in heard:
            with machine.working():
                reference = ReferenceWindows(windows.waveform, windows.contract, recording.reference)
                for condition, scored in counts.items():
                    hypothesis = _labels(plane, recording, point, windows, reference, condition)
                    scored[recording.uri] = score(recording.reference, hypothesis, recording.annotated)
    for scored in counts.values():
        refuse_unscored(scored.values())
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
