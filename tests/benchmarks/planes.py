"""Speed of both planes on the AMI excerpts: `make bench`. Run it on a machine that does nothing else.

Prints, for each operating point, the RTF of the real loop over ten repeats with its spread, its ratio to the FP32
baseline timed in turns with it, what an update takes, and the seconds of compute per second of audio that the accuracy
plane takes for the same labels once embedding features are kept and no window is (in a cache of its own).
"""

import time
from statistics import median

from rich.console import Console
from rich.table import Table

from objectives import machine
from objectives.evaluation.evaluator import build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import OperatingPoint
from tests.benchmarks.trial import WINDOWS, forget, temporary_cache

POINTS = (
    OperatingPoint(1.0, 0.0),
    OperatingPoint(1.0, 0.5),
    OperatingPoint(0.5, 0.5),
    OperatingPoint(0.1, 0.0),
    OperatingPoint(1.0, 0.0, precision="fp16"),
)
REPEATS = 10


def main() -> None:
    """Measure and print."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (
        "C s",
        "R s",
        "precision",
        "RTF median",
        "RTF min–max",
        "min–max / median",
        "x base",
        "update ms p50 / p95 / p99",
        "accuracy plane",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    with temporary_cache(), build_evaluator(EvaluatorSettings(repeats=REPEATS)) as evaluator:
        evaluator.prepare()
        seconds = sum(recording.duration for recording in evaluator.recordings)
        for point in POINTS:
            model = evaluator.model(point)
            evaluator.runtime(point)
            forget(WINDOWS)
            started = time.perf_counter()
            evaluator.errors(point)
            accuracy = (time.perf_counter() - started) / seconds
            with machine.quiet():
                timing = evaluator.stopwatch.measure(point, model)
            low, high = timing.spread
            ratios = sorted(own / base for own, base in zip(timing.rtf, timing.baseline_rtf, strict=True))
            updates = timing.update_latency
            assert updates is not None, "every section has an update"
            table.add_row(
                f"{point.chunk_length:g}",
                f"{point.right_context:g}",
                point.precision,
                f"{timing.median:.4f}",
                f"{low:.4f}–{high:.4f}",
                f"{100 * (high - low) / timing.median:.0f} %",
                f"{median(ratios):.2f} [{ratios[0]:.2f}–{ratios[-1]:.2f}]",
                " / ".join(f"{1000 * seconds:.1f}" for seconds in (updates.median, updates.p95, updates.p99)),
                f"{accuracy:.4f}",
            )
        console = Console(width=140)
        console.print(table)
        console.print(
            f"{seconds:g} s of audio, {REPEATS} repeats, 1 thread; accuracy plane on {evaluator.accuracy.lanes}"
        )
        console.print(", ".join(f"{name} {value}" for name, value in evaluator.machine.items()))


if __name__ == "__main__":
    main()
