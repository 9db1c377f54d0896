"""Check that an exported operating point does what its trial did, by measuring it again with the exported files."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from explorer.bundle.bundle import CHECKPOINT, Bundle
from explorer.bundle.stream import Listener, Spoken
from objectives import machine
from objectives.backends.checkpoint import load_as_stock
from objectives.compression.compressor import FinishedModel
from objectives.corpora.corpus import Recording
from objectives.errors import BundleError
from objectives.evaluation.accuracy import ends_of
from objectives.evaluation.evaluator import Evaluator
from objectives.evaluation.scoring import score
from objectives.measurement import ErrorCounts, pool
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import features_of
from objectives.models.windows import sliding_windows
from objectives.runtime.runtime import Runtime
from objectives.runtime.window_predictions import WindowClasses
from objectives.streaming.hypothesis import Hypothesis
from objectives.streaming.loop import stream_batched

# Frames are compared on this machine, so only ties may differ. The trial's DER may have been measured on another
# processor
LEAST_AGREEMENT = 0.999  # share of frames that must have the same class
MOST_DER = 0.5  # points

LIVE_SECONDS = 30.0  # of audio that goes through the real loop; less if that would take longer than
LIVE_COMPUTE = 30.0  # seconds
STOCK_WINDOWS = 16  # most windows that stock pyannote.audio runs on

OnProgress = Callable[[str, float], None]


@dataclass(frozen=True)
class Parity:
    """How well the files of a bundle agree with its trial.

    recordings, windows: how many were compared: all of the trial's split. agreement: share of frames with the same
    powerset class. der_trial, der_bundle: percent, pooled. stock_agreement: share of frames with the same class between
    `model.onnx` and the checkpoint as stock pyannote.audio loads it, on `stock_windows` windows; None if there is no
    checkpoint. live_seconds: of audio on which the bundle's own loop gave the labels of the accuracy plane; None in the
    offline mode.
    """

    recordings: int
    windows: int
    agreement: float
    der_trial: float
    der_bundle: float
    stock_agreement: float | None
    stock_windows: int
    live_seconds: float | None


def measure_parity(
    bundle: Bundle,
    evaluator: Evaluator,
    model: FinishedModel,
    der: float,
    rtf: float,
    on_progress: OnProgress = lambda stage, fraction: None,
) -> Parity:
    """Run the bundle's files on the recordings that the trial was scored on, and compare.

    der, rtf: the trial's. Raises BundleError if they do not agree, saying in what and by how much.
    """
    point, runtime = bundle.point, bundle.runtime()
    counts: dict[str, ErrorCounts] = {}
    same: list[np.ndarray] = []
    windows = 0

    def run(recording: Recording) -> tuple[WindowClasses, np.ndarray]:
        with machine.working():
            theirs = evaluator.windows(recording, point)
            ours = WindowClasses(theirs.waveform, runtime)
            ends = ends_of(point, recording, runtime.contract)
            return ours, ours.ending_at(ends) == theirs.ending_at(ends)

    evaluator.runtime(point)  # opened here, before several threads ask for it
    with ThreadPoolExecutor(machine.cores()) as threads:
        for recording, (ours, equal) in zip(evaluator.recordings, threads.map(run, evaluator.recordings), strict=True):
            on_progress("measuring the bundle", len(counts) / len(evaluator.recordings))
            labels = evaluator.accuracy.labels(recording, point, ours)
            counts[recording.uri] = score(recording.reference, labels, recording.annotated)
            same.append(equal.ravel())
            windows += len(equal)
    on_progress("running the bundle's own loop", 1.0)
    stock = _stock_agreement(bundle, runtime, ours.waveform)
    live = None if point.mode == "offline" else min(LIVE_SECONDS, LIVE_COMPUTE / rtf)
    if live is not None:
        live = _live(bundle, runtime, ours.waveform[: round(live * SAMPLE_RATE)])
    parity = Parity(
        recordings=len(counts),
        windows=windows,
        agreement=float(np.concatenate(same).mean()),
        der_trial=der,
        der_bundle=pool(counts.values()).der,
        stock_agreement=None if stock is None else float(stock.mean()),
        stock_windows=0 if stock is None else len(stock),
        live_seconds=live,
    )
    _refuse(parity, runtime.metadata.get("model_key"), model.key)
    return parity


def _stock_agreement(bundle: Bundle, runtime: Runtime, waveform: np.ndarray) -> np.ndarray | None:
    """Return whether the checkpoint, loaded by stock pyannote.audio, agrees with `model.onnx`: (windows, frames) bool.

    None if there is no checkpoint.
    """
    checkpoint = bundle.folder / CHECKPOINT
    if CHECKPOINT not in bundle.manifest.files:
        return None
    stock = load_as_stock(checkpoint)
    windows = sliding_windows(waveform, runtime.contract.window, SAMPLE_RATE)[:STOCK_WINDOWS].copy()
    with torch.inference_mode():
        scores = stock(torch.from_numpy(windows)[:, None])  # (windows, frames, classes)
    return scores.argmax(dim=-1).numpy() == runtime.scores(windows).argmax(axis=-1)


def _live(bundle: Bundle, runtime: Runtime, waveform: np.ndarray) -> float:
    """Check that the bundle's loop gives the same turns as the accuracy plane. Returns the seconds of audio.

    Raises BundleError if it does not.
    """
    listener = Listener(bundle, on_turn=lambda turn: None)
    listener.hear(waveform)
    turns = listener.end().turns
    embedding = bundle.embedding()
    batched = stream_batched(
        WindowClasses(waveform, runtime), features_of(embedding, waveform), bundle.point, embedding, bundle.clustering
    )
    if not _alike(turns, batched):
        raise BundleError(
            f"nothing is exported: the bundle's own loop and the accuracy plane do not give the same turns on "
            f"{len(waveform)} samples. This is a fault of explorer, please report it"
        )
    return len(waveform) / SAMPLE_RATE


def _alike(turns: tuple[Spoken, ...], expected: Hypothesis) -> bool:
    """Return whether turns are the same except for the speakers' names."""
    ours = ((round(turn.start * SAMPLE_RATE), round(turn.end * SAMPLE_RATE), turn.speaker) for turn in turns)
    return _by_speaker(ours) == _by_speaker(expected.turns)


def _by_speaker(turns: Iterable[tuple[int, int, int | None]]) -> list[list[tuple[int, int]]]:
    """Return the intervals of each speaker, in an order that does not depend on the speakers' names."""
    found: dict[int | None, list[tuple[int, int]]] = {}
    for start, end, speaker in turns:
        found.setdefault(speaker, []).append((start, end))
    return sorted(map(sorted, found.values()))


def _refuse(parity: Parity, exported: str | None, measured: str) -> None:
    faults = []
    if exported != measured:
        faults.append(f"model.onnx is of the model {str(exported)[:12]} and the trial's is {measured[:12]}")
    if not parity.agreement >= LEAST_AGREEMENT:
        faults.append(f"model.onnx gives {100 * parity.agreement:.2f} % of frames the trial's class")
    if parity.stock_agreement is not None and not parity.stock_agreement >= LEAST_AGREEMENT:
        faults.append(f"stock pyannote.audio gives {100 * parity.stock_agreement:.2f} % of frames that of model.onnx")
    if not abs(parity.der_bundle - parity.der_trial) <= MOST_DER:
        faults.append(f"the DER is {parity.der_bundle:.2f} %, and the trial's was {parity.der_trial:.2f} %")
    if faults:
        raise BundleError(
            f"nothing is exported, since the files are not what the trial measured: {'; '.join(faults)} (at least "
            f"{100 * LEAST_AGREEMENT:g} % and at most {MOST_DER:g} points are asked for). Run the study again with "
            "this version, on this machine and these recordings"
        )
