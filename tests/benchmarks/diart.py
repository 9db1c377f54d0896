"""Our online mode beside diart 0.9.2: the same recordings, C, R, models and threads. Nothing else should run.

    python -m tests.benchmarks.diart_env FOLDER          # once: an environment for diart
    python -m tests.benchmarks.diart --python FOLDER/bin/python --repeats 3 --out diart.json

Both hear WAV files of the same samples and emit blocks of C with R of look-ahead, final when emitted. RTF: wall seconds
of the whole pipeline, from the file to the labels, over seconds of audio. Each system lives in a process that has its
models loaded and is warm; they take turns, repeat by repeat, and only one works at a time. Ratios are within a repeat.
DER: objectives/evaluation/scoring.py (0.5 s collar, overlap scored, pooled) for everybody; ours from the accuracy
plane, and the
labels of the timed loop must have the same. The interval is a paired bootstrap over recordings, 95 %. With --repeats 0
nothing is timed.

diart: SpeakerDiarization with a window of 10 s, step C and latency C + R, as its Benchmark runs a file, its thresholds
by default tau 0.6, rho 0.3, delta 1. Ours has none; its constants were chosen on train and calib of ami-excerpts, so
that DER on these and on `all` is not a fair one; `eval` is. Systems:

- `diart`: as it ships, a window at a time, both models in torch; `diart-32`: batches of 32, as its Benchmark does;
- `diart-once`: each window goes through the embedding once, and not once per local speaker; the same labels;
- `diart-once-onnx`: and both models in ONNX Runtime, as ours; what is left is not due to the runtime;
- `online`, `chunk-wise`: ours, one update at a time (objectives/streaming/loop.py). Chunk-wise names speakers at the
end.

CAM++ is the same network behind a Kaldi filterbank on both sides, torchaudio's there and ours in NumPy here, which is
tested to be equal and is the slower one; both are in the time. diart needs 10 s before it emits anything, and then
labels them from one window: it runs about (10 - C - R) / C updates fewer, and sees further ahead there than R.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import threadpoolctl
import torch
from rich.console import Console

from objectives import machine
from objectives.cache.assets import fetch
from objectives.compression.compressor import FinishedModel
from objectives.corpora.corpus import Recording
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding_loading import load_campplus, load_embedding
from objectives.operating_point import BASELINE, OperatingPoint
from objectives.runtime.segmentation_onnx import kept_onnx
from objectives.runtime.torch_runtime import open_runtime
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.loop import stream_live
from objectives.streaming.schedule import Schedule
from tests.benchmarks.diart_peer import BINS, Settings, System
from tests.benchmarks.diart_results import (
    ONLINE,
    Heard,
    Pass,
    Result,
    as_json,
    passed,
    refuse_other_errors,
    score_all,
    table_of,
)

PEER = Path(__file__).with_name("diart_peer.py")
DIART = {
    system.name: system
    for system in (
        System("diart"),
        System("diart-32", batch=32),
        System("diart-once", once=True),
        System("diart-once-onnx", once=True, onnx=True),
    )
}
CHUNKWISE = "chunk-wise"
OURS = (ONLINE, CHUNKWISE)
DEFAULT = ("diart", "diart-once", ONLINE, CHUNKWISE)
WARM_UP_SECONDS = 12.0  # more than a window of diart's


class Peer:
    """diart in its own environment. Raises RuntimeError with its last words where it fails."""

    def __init__(self, python: Path, settings: Settings, log: Path):
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), "-P", str(PEER)],  # -P: this folder has a diart.py, which is not the one to import
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(settings.threads)},
            )
        self.versions: Mapping[str, str] = self._ask(asdict(settings))

    def run(self, system: System, wavs: Mapping[str, Path]) -> Pass:
        """One pass."""
        told = self._ask({"system": asdict(system), "wavs": {uri: str(path) for uri, path in wavs.items()}})
        return passed(told, list(wavs))

    def _ask(self, message: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: what it said last tells why
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"diart's process ended with {self._process.wait()}:\n{self._log.read_text()[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True)
class Task:
    """What our process runs with."""

    model: FinishedModel
    embedding: str
    clustering: ClusteringSettings
    threads: int


_live: Any  # of the process that `prepare` made ready


def prepare(task: Task) -> None:
    """Load both models, once in a process."""
    global _live
    torch.set_num_threads(task.threads)
    threadpoolctl.threadpool_limits(task.threads)
    _live = partial(
        stream_live,
        runtime=open_runtime(task.model, task.threads),
        embedding=load_embedding(task.embedding, task.threads),
        clustering=task.clustering,
    )


def run_ours(point: OperatingPoint, wavs: Mapping[str, Path]) -> Pass:
    """One pass of the real loop, in the process that `prepare` made ready."""
    done = {}
    for uri, path in wavs.items():
        start = time.perf_counter()
        waveform, _ = soundfile.read(path, dtype="float32")
        labels = _live(waveform, point).annotation(uri)
        seconds = time.perf_counter() - start
        turns = tuple((turn.start, turn.end, str(who)) for turn, _, who in labels.itertracks(yield_label=True))
        updates = len(Schedule(len(waveform), point.chunk_length, point.right_context))
        done[uri] = Heard(seconds, updates, turns)
    return done


def write_models(folder: Path, evaluator: Evaluator) -> dict[str, str]:
    """The models as diart_peer.py takes them."""
    model, embedding = load_campplus(fetch("campplus")), evaluator.accuracy.embedding
    with torch.no_grad():
        exported = torch.export.export(
            _Frames(model), (torch.zeros(2, 998, BINS),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
    torch.export.save(exported, folder / "frames.pt2")
    np.savez(folder / "affine.npz", weight=embedding.weight, bias=embedding.bias)
    return {
        "segmentation": str(fetch("segmentation-3.0")),
        "frames": str(folder / "frames.pt2"),
        "affine": str(folder / "affine.npz"),
        "segmentation_onnx": str(kept_onnx(evaluator.model(BASELINE))),
        "frames_onnx": str(embedding.network),
    }


class _Frames(torch.nn.Module):
    """(N, fbank frames, 80) → (N, 512, frames): CAMPPlus.frames_of_fbank of a module that torch.export takes."""

    def __init__(self, model: Any):
        super().__init__()
        self.head, self.xvector = model.head, model.xvector

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        return self.xvector.frames(self.head(fbank.transpose(1, 2)))


def write_wavs(folder: Path, recordings: Sequence[Recording]) -> dict[str, Path]:
    """What both hear, by URI, in 32-bit float."""
    wavs = {}
    for number, recording in enumerate(recordings):
        wavs[recording.uri] = folder / f"{number}.wav"
        soundfile.write(wavs[recording.uri], recording.waveform(), SAMPLE_RATE, subtype="FLOAT")
    return wavs


@contextmanager
def contenders(
    python: Path | None, settings: Settings, task: Task, points: Mapping[str, OperatingPoint], log: Path
) -> Iterator[tuple[Any, Mapping[str, str]]]:
    """(system's name, WAV files by URI) → a pass, in the process of either; and versions of diart and its company."""
    peer = None if python is None else Peer(python, settings, log)
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare, initargs=(task,)) as ours:

        def run(name: str, wavs: Mapping[str, Path]) -> Pass:
            if name in points:
                return ours.submit(run_ours, points[name], wavs).result()
            assert peer is not None, "main asks for the interpreter"
            return peer.run(DIART[name], wavs)

        try:
            yield run, {} if peer is None else peer.versions
        finally:
            if peer is not None:
                peer.close()


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as JSON and as values under `results`, `audio`, `recordings`."""
    point = OperatingPoint(given.chunk_length, given.right_context)
    points = {ONLINE: replace(point, mode="online"), CHUNKWISE: point}
    with (
        tempfile.TemporaryDirectory(prefix="explorer-diart-") as temporary,
        build_evaluator(EvaluatorSettings(given.corpus, given.split, threads=given.threads)) as evaluator,
    ):
        folder, recordings = Path(temporary), evaluator.recordings
        wavs = write_wavs(folder, recordings)
        warm = folder / "warm.wav"
        soundfile.write(warm, recordings[0].waveform()[: round(WARM_UP_SECONDS * SAMPLE_RATE)], SAMPLE_RATE)
        settings = Settings(
            given.chunk_length,
            given.right_context,
            given.tau,
            given.rho,
            given.delta,
            given.threads,
            **write_models(folder, evaluator),
        )
        counts = {name: evaluator.errors(points[name]) for name in given.systems if name in OURS}
        plane = evaluator.accuracy
        task = Task(evaluator.model(BASELINE), plane.embedding.name, plane.clustering, given.threads)
        passes: dict[str, list[Pass]] = {name: [] for name in given.systems}
        with contenders(given.python, settings, task, points, folder / "diart.log") as (run, versions):
            if given.repeats:
                for name in given.systems:
                    run(name, {"warm": warm})
                with machine.quiet():
                    for _ in range(given.repeats):
                        for name in given.systems:
                            passes[name].append(run(name, wavs))
            for name in given.systems:
                for one in passes[name] or ([run(name, wavs)] if name in DIART else []):
                    scored = score_all(recordings, one)
                    refuse_other_errors(name, counts.setdefault(name, scored), scored)
        return {
            "results": [Result(name, passes[name], counts[name]) for name in given.systems],
            "audio": sum(recording.duration for recording in recordings),
            "recordings": len(recordings),
            "identity": {name: evaluator.identity[name] for name in ("corpus", "split")},
            "thresholds": {
                "diart": {"tau_active": given.tau, "rho_update": given.rho, "delta_new": given.delta},
            },
            "machine": {**evaluator.machine, **{f"diart's {name}": value for name, value in versions.items()}},
        }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="of diart's environment (tests.benchmarks.diart_env)")
    parser.add_argument("--corpus", default="ami-excerpts", help="as `explorer measure` takes it")
    parser.add_argument("--split", default="eval")
    parser.add_argument("-C", "--chunk-length", type=float, default=1.0, help="seconds")
    parser.add_argument("-R", "--right-context", type=float, default=0.5, help="seconds")
    parser.add_argument("--systems", nargs="+", choices=[*DIART, *OURS], default=DEFAULT)
    parser.add_argument("--repeats", type=int, default=3, help="0: nothing is timed")
    parser.add_argument("--threads", type=int, default=1, help="of every system, in what is timed")
    parser.add_argument("--tau", type=float, default=0.6, help="diart's tau_active")
    parser.add_argument("--rho", type=float, default=0.3, help="diart's rho_update")
    parser.add_argument("--delta", type=float, default=1.0, help="diart's delta_new")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    if given.repeats < 0 or given.threads < 1:
        parser.error("give 0 or more --repeats, and 1 or more --threads")
    if given.python is None and set(given.systems) - set(OURS):
        parser.error("diart runs in an environment of its own: `python -m tests.benchmarks.diart_env FOLDER`, --python")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    given = parsed(arguments)
    load = f"{os.getloadavg()[0]:.1f}"
    told = measure(given)
    results, audio = told.pop("results"), told["audio"]
    told["machine"] |= {"load before": load}
    told |= {name: getattr(given, name) for name in ("chunk_length", "right_context", "repeats", "threads")}
    console = Console(width=170, highlight=False)
    title = (
        f"{told['identity']['corpus'].split()[0]}, {given.split}: {told['recordings']} recordings, {audio:.0f} s; "
        f"C {given.chunk_length:g} s, R {given.right_context:g} s, {given.repeats} repeats in turns, "
        f"{given.threads} thread(s)"
    )
    console.print(table_of(results, audio, title))
    for whose, thresholds in told["thresholds"].items():
        console.print(f"{whose}: " + ", ".join(f"{name} {value:g}" for name, value in thresholds.items()))
    console.print(
        "online's constants were chosen on train and calib of ami-excerpts: on these its DER is not a fair one"
    )
    console.print(", ".join(f"{name} {value}" for name, value in told["machine"].items()), soft_wrap=True)
    if given.out is not None:
        online = next((result for result in results if result.name == ONLINE), None)
        told["systems"] = [as_json(result, online, audio) for result in results]
        given.out.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
