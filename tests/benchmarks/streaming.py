"""Streaming on one core: precisions in ONNX Runtime beside FP32 in torch. Run it on a machine that does nothing else.

    python -m tests.benchmarks.streaming --repeats 10 --out streaming.json

Times the real loop on the AMI excerpts. Every runtime lives in a process of its own, with one thread, so that its peak
memory is its own; the processes take turns, repeat by repeat, and only one works at a time. Ratios are to FP32 in ONNX
Runtime, within a repeat.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import threadpoolctl
import torch
from rich.console import Console
from rich.table import Table

from objectives import machine
from objectives.compression.compressor import Compressor, FinishedModel
from objectives.compression.settings import SincnetPrecision
from objectives.evaluation.cost import WARM_UP_UPDATES, time_loop
from objectives.evaluation.evaluator import build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.evaluation.timing_process import with_peak_memory
from objectives.measurement import Run, Timing
from objectives.models.embedding_loading import load_embedding
from objectives.operating_point import UNPRUNED, OperatingPoint, Precision
from objectives.runtime.runtime import Runtime
from objectives.runtime.torch_runtime import TorchRuntime, open_runtime
from objectives.streaming.clustering import ClusteringSettings

REFERENCE = "fp32"  # in ONNX Runtime: what ratios are to
THREADS = 1


@dataclass(frozen=True)
class Variant:
    """One way to run the segmentation model."""

    name: str
    precision: Precision
    sincnet: SincnetPrecision = "fp32"
    torch: bool = False

    def model(self, compressor: Compressor) -> FinishedModel:
        """Its finished model."""
        settings = compressor.settings
        quantization = replace(settings.quantization, sincnet=self.sincnet)
        return replace(compressor, settings=replace(settings, quantization=quantization)).finish(
            UNPRUNED, self.precision
        )


VARIANTS = (
    Variant("fp32, torch", "fp32", torch=True),
    Variant(REFERENCE, "fp32"),
    Variant("int8_ptq", "int8_ptq"),
    Variant("int8_ptq, SincNet int8", "int8_ptq", sincnet="int8"),
    Variant("int4_ptq", "int4_ptq"),
)


@dataclass(frozen=True)
class Task:
    """What a process times. waveform: (samples,) float32."""

    model: FinishedModel
    torch: bool
    waveform: np.ndarray
    point: OperatingPoint
    embedding: str
    clustering: ClusteringSettings


_loop: Callable[..., Run]  # of the process that `prepare` made ready


def prepare(task: Task) -> None:
    """Load what is timed, once in a process, and warm it up."""
    global _loop
    torch.set_num_threads(THREADS)
    threadpoolctl.threadpool_limits(THREADS)
    runtime: Runtime = (
        TorchRuntime(task.model, torch.device("cpu")) if task.torch else open_runtime(task.model, THREADS)
    )
    embedding = load_embedding(task.embedding, THREADS)
    _loop = partial(time_loop, task.waveform, task.point, runtime, embedding, task.clustering)
    _loop(updates=WARM_UP_UPDATES)


def ready() -> int:
    """Nothing: `prepare` came before."""
    return os.getpid()


def repeat() -> tuple[Run, int | None]:
    """One timed run and its peak memory."""
    return with_peak_memory(_loop)


def measure(tasks: Mapping[str, Task], repeats: int) -> dict[str, Timing]:
    """Time all of them in turns."""
    runs: dict[str, list[Run]] = {name: [] for name in tasks}
    peaks: dict[str, list[int]] = {name: [] for name in tasks}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare, initargs=(task,))
            )
            for name, task in tasks.items()
        }
        for process in processes.values():
            process.submit(ready).result()
        with machine.quiet():
            for _ in range(repeats):
                for name, process in processes.items():
                    run, peak = process.submit(repeat).result()
                    runs[name].append(run)
                    peaks[name] += [] if peak is None else [peak]
    base = runs[REFERENCE]
    return {name: Timing.of(own, base, THREADS, max(peaks[name], default=None)) for name, own in runs.items()}


def ratios(timing: Timing) -> list[float]:
    """RTF over the reference's of the same repeat, smallest first."""
    return sorted(own / base for own, base in zip(timing.rtf, timing.baseline_rtf, strict=True))


def print_table(timings: Mapping[str, Timing], console: Console) -> None:
    """One line a variant."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("segmentation", "RTF (min–max)", "x fp32 (min–max)", "update ms p50 / p95 / p99"):
        table.add_column(name, justify="left" if name == "segmentation" else "right", no_wrap=True)
    table.add_column("seg / emb / clust / other %", justify="right", no_wrap=True)
    table.add_column("peak MiB", justify="right", no_wrap=True)
    for name, timing in timings.items():
        (low, high), ratio = timing.spread, ratios(timing)
        updates, shares = timing.update_latency, timing.stage_shares
        assert updates is not None, "every section has an update"
        assert shares is not None, "and takes time"
        table.add_row(
            name,
            f"{timing.median:.4f} ({low:.4f}–{high:.4f})",
            f"{median(ratio):.2f} ({ratio[0]:.2f}–{ratio[-1]:.2f})",
            " / ".join(f"{1000 * seconds:.1f}" for seconds in (updates.median, updates.p95, updates.p99)),
            " / ".join(f"{100 * share:.1f}" for share in shares.values()),
            "–" if timing.peak_memory_mib is None else f"{timing.peak_memory_mib:.0f}",
        )
    console.print(table)


def as_json(timings: Mapping[str, Timing], point: OperatingPoint, about: Mapping[str, str]) -> str:
    """Everything that the table shows, and every repeat."""
    rows = {
        name: {
            "rtf": {"median": timing.median, "repeats": timing.rtf},
            "ratio_to_fp32": {"median": timing.ratio, "smallest": ratios(timing)[0], "largest": ratios(timing)[-1]},
            "update_latency": (told := timing.update_latency) and asdict(told),
            "stage_shares": timing.stage_shares,
            "peak_memory_mib": timing.peak_memory_mib,
        }
        for name, timing in timings.items()
    }
    where = {"chunk_length": point.chunk_length, "right_context": point.right_context, "threads": THREADS}
    return json.dumps({**where, "machine": dict(about), "variants": rows}, indent=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunk-length", type=float, default=0.5, help="C in seconds")
    parser.add_argument("--right-context", type=float, default=0.5, help="R in seconds")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error(f"--repeats {given.repeats}: give 1 or more")
    point = OperatingPoint(given.chunk_length, given.right_context)
    with build_evaluator(EvaluatorSettings()) as evaluator:
        timed = max(evaluator.recordings, key=lambda recording: (recording.duration, recording.uri))
        tasks = {
            variant.name: Task(
                variant.model(evaluator.compressor),
                variant.torch,
                timed.waveform(),
                point,
                evaluator.accuracy.embedding.name,
                evaluator.accuracy.clustering,
            )
            for variant in VARIANTS
        }
        about = evaluator.machine
    timings = measure(tasks, given.repeats)
    console = Console(width=140, highlight=False)
    print_table(timings, console)
    console.print(
        f"C {point.chunk_length:g} s, R {point.right_context:g} s, {timed.uri}, {given.repeats} repeats in turns, "
        f"{THREADS} thread; an update's ms are of compute; peak memory is of the whole process.",
        soft_wrap=True,
    )
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))
    if given.out is not None:
        given.out.write_text(as_json(timings, point, about))


if __name__ == "__main__":
    main()
