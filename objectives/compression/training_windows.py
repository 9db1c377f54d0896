"""Draw the windows that recovery trains on: augmented, with SincNet's output and both kinds of targets.

SincNet is neither pruned nor trained, so its output is computed once for all models of a study. Some recordings of
`train` are held back whole; the loss on them decides when to stop.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pyannote.core import Segment
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from objectives import machine
from objectives.backends.pyannote import PyanNet
from objectives.cache.files import content_key, kept_file
from objectives.compression.pyannet_head import features_of, forward_head
from objectives.compression.training_data import CalibrationData, TrainingData
from objectives.corpora.corpus import SAMPLE_RATE, Recording
from objectives.corpora.simulation.channel import augmented
from objectives.models.contract import Contract
from objectives.models.segmentation import contract_of
from objectives.models.windows import sliding_windows, window_at

CODE_VERSION = 2  # raise it if the same recordings would give different windows
HELD_BACK = 1 / 6  # of the recordings of train, at least one
HELD_BACK_STEP = 5  # seconds from one held-back window to the next
MOST_HELD_BACK = 48  # windows
MOST_CALIBRATING = 64  # windows
OUTSIDE = 5.0  # seconds by which a window may extend beyond a recording on either side, as in streaming
AT_ONCE = 8  # windows per batch: SincNet alone is fastest in small batches


@dataclass(frozen=True)
class TrainingWindows:
    """Windows with their targets.

    features: (windows, frames, 60), SincNet's output. teacher: (windows, frames, classes) log-probabilities of the
    unpruned model. classes: (windows, frames), the reference's powerset class. annotated: (windows, frames), whether
    the frame is annotated. The first `trained` windows are trained on, the others held back.
    """

    features: torch.Tensor
    teacher: torch.Tensor
    classes: torch.Tensor
    annotated: torch.Tensor
    trained: int

    @property
    def held_back(self) -> range:
        """Indices of the windows that are never trained on."""
        return range(self.trained, len(self.features))


def draw_windows(
    teacher: PyanNet,
    front: PyanNet,
    names: tuple[str, str],
    data: TrainingData,
    windows: int,
    seed: int,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> TrainingWindows:
    """Return the windows for these recordings and this seed. They are computed once and kept.

    teacher: the unpruned network. front: the network whose SincNet the trained model will use. names: identify teacher
    and front in the cache key. windows: number to train on; held-back windows are added to them.
    """
    key = content_key(models=names, train=data.fingerprint, windows=windows, seed=seed, code=CODE_VERSION)

    def make(path: Path) -> None:
        save_file(_draw(teacher, front, data, windows, seed, on_progress), path)

    stored = _loaded(f"{key}.safetensors", make)
    return TrainingWindows(**{**stored, "classes": stored["classes"].long()}, trained=windows)


def _loaded(name: str, make: Callable[[Path], None]) -> dict[str, torch.Tensor]:
    path = kept_file("recovery", name, make)
    try:
        return load_file(path)
    except SafetensorError:  # damaged after it was written
        path.unlink(missing_ok=True)
        return load_file(kept_file("recovery", name, make))


def calibration_features(base: PyanNet, data: CalibrationData) -> torch.Tensor:
    """Run SincNet on windows spread evenly over the calibration recordings: (windows, frames, 60)."""
    contract = contract_of(base)
    windows = np.concatenate(
        [sliding_windows(recording.waveform(), contract.window, contract.window) for recording in data.recordings]
    )
    chosen = np.linspace(0, len(windows) - 1, min(len(windows), MOST_CALIBRATING)).round().astype(int)
    return _features(base, windows[chosen])


def class_of_frames(recording: Recording, start: int, contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    """Return the reference's powerset class for every frame of a window, and whether it is annotated: (frames,) each.

    start: first sample of the window. If there are more speakers than the model has local speakers, or more at once
    than it has classes for, those who speak most in the window count.
    """
    times = (start + contract.centre + contract.step * np.arange(contract.frames)) / SAMPLE_RATE
    speaking = np.array(
        [_covered(times, recording.reference.label_timeline(who)) for who in recording.reference.labels()]
    )
    loudest = np.argsort(-speaking.sum(1), kind="stable")[: contract.speakers]
    active = np.zeros((contract.speakers, contract.frames), bool)
    active[: len(loudest)] = speaking[loudest]
    active &= np.cumsum(active, axis=0) <= contract.max_at_once
    return contract.class_of(active.T), _covered(times, recording.annotated)


def _covered(times: np.ndarray, timeline: Iterable[Segment]) -> np.ndarray:
    """Return which of the times lie in a timeline's segments, (times,) bool."""
    inside = np.zeros(len(times), bool)
    for segment in timeline:
        inside |= (times >= segment.start) & (times < segment.end)
    return inside


def _draw(
    teacher: PyanNet,
    front: PyanNet,
    data: TrainingData,
    windows: int,
    seed: int,
    on_progress: Callable[[float], None],
) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(seed)
    contract = contract_of(teacher)
    trained, held = _hold_back(data.recordings, random)
    places = _random_places(trained, windows, contract, random) + _regular_places(held, contract)
    waveforms = {recording.uri: recording.waveform() for recording in data.recordings}
    features, answers, classes, annotated = [], [], [], []
    for first in range(0, len(places), AT_ONCE):
        batch = []
        for number, (recording, start) in enumerate(places[first : first + AT_ONCE], start=first):
            window = window_at(waveforms[recording.uri], start, contract.window)
            batch.append(augmented(window, random) if number < windows else window)
            target, believed = class_of_frames(recording, start, contract)
            classes.append(target)
            annotated.append(believed)
        with machine.working(), torch.inference_mode():
            features.append(_features(front, np.stack(batch)))
            heard = features[-1] if front is teacher else _features(teacher, np.stack(batch))
            answers.append(forward_head(teacher, heard))
        on_progress(min(1.0, (first + AT_ONCE) / len(places)))
    return {
        "features": torch.cat(features),
        "teacher": torch.cat(answers),
        "classes": torch.tensor(np.array(classes), dtype=torch.uint8),
        "annotated": torch.tensor(np.array(annotated)),
    }


Place = tuple[Recording, int]  # (recording, first sample)


def _hold_back(
    recordings: tuple[Recording, ...], random: np.random.Generator
) -> tuple[list[Recording], list[Recording]]:
    """Return (trained on, held back). A single recording is both, because nothing else can decide when to stop."""
    order = [recordings[index] for index in random.permutation(len(recordings))]
    held = max(1, round(len(order) * HELD_BACK))
    return order[held:] or order, order[:held]


def _random_places(
    recordings: list[Recording], windows: int, contract: Contract, random: np.random.Generator
) -> list[Place]:
    """Draw places uniformly over the total duration of the recordings."""
    length, outside = contract.window, round(OUTSIDE * SAMPLE_RATE)
    durations = np.array([recording.duration for recording in recordings])
    chosen = random.choice(len(recordings), size=windows, p=durations / durations.sum())
    places = []
    for index in chosen:
        last = max(-outside, round(durations[index] * SAMPLE_RATE) - length + outside)
        places.append((recordings[index], int(random.integers(-outside, last + 1))))
    return places


def _regular_places(recordings: list[Recording], contract: Contract) -> list[Place]:
    places = []
    for recording in recordings:
        last = max(0, round(recording.duration * SAMPLE_RATE) - contract.window)
        places += [(recording, start) for start in range(0, last + 1, HELD_BACK_STEP * SAMPLE_RATE)]
    chosen = np.linspace(0, len(places) - 1, min(len(places), MOST_HELD_BACK)).round().astype(int)
    return [places[index] for index in chosen]


@torch.inference_mode()
def _features(base: PyanNet, windows: np.ndarray) -> torch.Tensor:
    """Run SincNet in batches: (windows, samples) → (windows, frames, 60)."""
    batches = torch.tensor(windows)[:, None].split(AT_ONCE)
    return torch.cat([features_of(base, batch).contiguous() for batch in batches])
