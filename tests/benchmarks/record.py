"""Measure a dense grid of operating points for a recorded table: `python -m tests.benchmarks.record --out TABLE.csv`.

The same command goes on with a table that is there. Everything in it is measured: nothing is interpolated. What makes a
grid cheap is that C and R are multiples of half a second: a model then runs each window once for all of its points (see
objectives.runtime.window_predictions).

RTF: the real loop, once a point, as the product times it (objectives.evaluation.cost) but in this process. The points
of one model
and one C are timed in a row under the machine-wide lock, with the FP32 baseline before and after; their mean is the
baseline of the same breath. The clock counts CPU seconds of this process, where one thread works, so that a machine
busy with other things bends it little; on an idle one they are the seconds of the wall. `--retime` takes only the times
anew.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import threadpoolctl
import torch
from rich.console import Console

from explorer.commands.measure import progress
from objectives import machine
from objectives.compression import compressor
from objectives.compression.settings import CompressionSettings, RecoverySettings
from objectives.evaluation import evaluator as evaluation
from objectives.evaluation.cost import WARM_UP_UPDATES, time_loop
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.models.contract import SAMPLE_RATE
from objectives.operating_point import BASELINE, PRECISIONS, OperatingPoint
from objectives.runtime.runtime import Runtime
from tests.benchmarks import recorded
from tests.benchmarks.recorded import RecordedPoint, RecordedTable

TIMED_SECONDS = 20.0  # of audio, around the section that is timed: what the loop hears before it takes time too
CLOCK = time.process_time
Points = dict[OperatingPoint, RecordedPoint]
Times = dict[OperatingPoint, tuple[float, float]]  # RTF, and the baseline's of the same breath


@dataclass(frozen=True)
class Watch:
    """Times the real loop in this process. waveform: (samples,) float32."""

    evaluator: Evaluator
    waveform: np.ndarray

    @classmethod
    def of(cls, evaluator: Evaluator) -> "Watch":
        """Of the middle of the longest recording."""
        longest = max(evaluator.recordings, key=lambda recording: (recording.duration, recording.uri)).waveform()
        samples = min(len(longest), round(TIMED_SECONDS * SAMPLE_RATE))
        first = (len(longest) - samples) // 2
        return cls(evaluator, longest[first : first + samples])

    def breath(self, points: Sequence[OperatingPoint], repeats: int) -> Times:
        """RTF of these points, of one model, and of the baseline around them; medians over the repeats."""
        # before quiet: to open a model is work, which would wait for the end of this very quiet
        baseline, runtime = self.evaluator.runtime(BASELINE), self.evaluator.runtime(points[0])
        own: dict[OperatingPoint, list[float]] = {point: [] for point in points}
        base = []
        with machine.quiet():
            self._rtf(BASELINE, baseline, WARM_UP_UPDATES)
            self._rtf(points[0], runtime, WARM_UP_UPDATES)
            for _ in range(repeats):
                before = self._rtf(BASELINE, baseline)
                for point in points:
                    own[point].append(self._rtf(point, runtime))
                base.append(fmean((before, self._rtf(BASELINE, baseline))))
        reference = median(base)
        ratios = {
            point: median(mine / theirs for mine, theirs in zip(rtfs, base, strict=True)) for point, rtfs in own.items()
        }
        return {point: (ratio * reference, reference) for point, ratio in ratios.items()}

    def _rtf(self, point: OperatingPoint, runtime: Runtime, updates: int | None = None) -> float:
        plane = self.evaluator.accuracy
        return time_loop(self.waveform, point, runtime, plane.embedding, plane.clustering, updates, CLOCK).rtf


def measure(
    groups: Sequence[Sequence[OperatingPoint]],
    evaluator: Evaluator,
    points: Points,
    repeats: int,
    on_progress: Callable[[str, float], None],
) -> Iterator[None]:
    """Put what is not yet there into `points`, a group (one model, one C) at a time."""
    watch = Watch.of(evaluator)
    for number, group in enumerate(groups):
        missing = [point for point in group if point not in points]
        if not missing:
            continue
        done = number / len(groups)
        model = evaluator.model(missing[0], lambda stage, _, done=done: on_progress(stage, done))
        counts = {}
        for point in missing:
            on_progress(_told(point), done)
            counts[point] = evaluator.errors(point)
        times = watch.breath(missing, repeats)
        for point in missing:
            points[point] = RecordedPoint(point, model.size_bytes / 2**20, *times[point], counts[point])
        yield


def retime(
    groups: Sequence[Sequence[OperatingPoint]],
    evaluator: Evaluator,
    points: Points,
    repeats: int,
    on_progress: Callable[[str, float], None],
) -> Iterator[None]:
    """Take the times of all that is in `points` anew, a group (one model, one C) at a time."""
    watch = Watch.of(evaluator)
    for number, group in enumerate(groups):
        known = [point for point in group if point in points]
        if not known:
            continue
        on_progress(f"timing {_told(known[0])}", number / len(groups))
        times = watch.breath(known, repeats)
        for point, (own, base) in times.items():
            points[point] = replace(points[point], rtf_measured=own, baseline_rtf=base)
        yield


def _told(point: OperatingPoint) -> str:
    return f"{point.pruning} {point.precision} C {point.chunk_length:g} s, R {point.right_context:g} s"


def grid(given: argparse.Namespace) -> list[list[OperatingPoint]]:
    """Groups of one model and one C, model by model, so that a model's windows are run together; the baseline is among
    the first, or a table that is not finished could not be read."""
    models = list(product(map(recorded.pruning_named, given.prunings), given.precisions))
    if (BASELINE.pruning, BASELINE.precision) not in models or not (
        BASELINE.chunk_length in given.chunk_lengths and BASELINE.right_context in given.right_contexts
    ):
        raise ValueError("the grid must hold the baseline: pruning none, fp32, C = 1 s, R = 0")
    models.sort(key=lambda model: model != (BASELINE.pruning, BASELINE.precision))
    lengths = sorted(given.chunk_lengths, key=lambda length: length != BASELINE.chunk_length)
    return [
        [OperatingPoint(length, context, pruning, precision) for context in given.right_contexts]
        for (pruning, precision), length in product(models, lengths)
    ]


def setup(evaluator: Evaluator, given: argparse.Namespace) -> dict[str, Any]:
    """What all points of a table must share."""
    known = evaluator.identity
    return {
        "corpus": known["corpus"],
        "split": given.split,
        "recordings": len(evaluator.recordings),
        "clustering_threshold": evaluator.accuracy.clustering.threshold,
        "embedding": known["embedding"],
        "compression": asdict(evaluator.compressor.settings),
        "machine": dict(evaluator.machine),
        "code": {"evaluation": evaluation.CODE_VERSION, "compression": compressor.CODE_VERSION},
    }


def about(setup: dict[str, Any], points: Points, repeats: int, seconds: float) -> dict[str, Any]:
    """The file beside the table."""
    return {
        "points": len(points),
        "measured": {
            "errors": "every point on every recording, on the accuracy plane (batched; labels equal the loop's)",
            "size_mib": "the model's file",
            "rtf_measured": "every point: the real loop on up to 10 s, in CPU seconds of its process, one thread, "
            f"median of {repeats}",
            "baseline_rtf": "the FP32 baseline (C = 1 s, R = 0) before and after the points of one model and one C",
            "rtf": "derived: rtf_measured / baseline_rtf, times the median baseline_rtf of the table",
            "interpolated": "nothing",
        },
        **setup,
        "commit": _commit(),
        "finished": datetime.now(UTC).isoformat(timespec="minutes"),
        "seconds_of_last_run": round(seconds),
        "load_average_of_15_minutes": round(os.getloadavg()[2], 1),
    }


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


@contextmanager
def one_thread() -> Iterator[None]:
    """As in the product's timing process."""
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        yield


def resumed(path: Path, shared: dict[str, Any]) -> Points:
    """What a table holds already. Raises ValueError where it was measured in another setup."""
    if not path.exists():
        return {}
    before = json.loads(recorded.about_path(path).read_text())
    different = [name for name, value in json.loads(json.dumps(shared)).items() if before.get(name) != value]
    if different:
        raise ValueError(f"{path} was recorded with another {', '.join(different)}: choose another --out")
    return dict(recorded.read(path).points)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    recovery = RecoverySettings()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.record", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="ami-excerpts", help="name, folder or protocol")
    parser.add_argument("--split", default="eval")
    parser.add_argument("--threshold", type=float, help="of the speaker clustering")
    parser.add_argument("--steps", type=int, default=recovery.steps, help="of recovery")
    parser.add_argument("--qat-steps", type=int, default=recovery.qat_steps)
    parser.add_argument("--windows", type=int, default=recovery.windows, help="that recovery learns from")
    parser.add_argument("--prunings", nargs="+", default=["none", "Hidden-40", "Hidden-80", "Linear-40"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8_ptq", "int4_ptq"], choices=PRECISIONS)
    parser.add_argument("--chunk-lengths", nargs="+", type=float, default=[0.5, 1.0, 2.0, 5.0], help="seconds")
    parser.add_argument("--right-contexts", nargs="+", type=float, default=[0.0, 0.5, 1.0, 2.0, 5.0], help="seconds")
    parser.add_argument("--repeats", type=int, default=1, help="of the timing")
    parser.add_argument("--lanes", type=int, default=machine.cores(), help="cores for the windows")
    parser.add_argument("--minutes", type=float, help="begin no other model and C after so many")
    parser.add_argument("--retime", action="store_true", help="only take the times of a table's points anew")
    parser.add_argument("--out", type=Path, required=True, help="CSV; a JSON file is written beside it")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    given = parse(arguments)
    started = time.monotonic()
    groups = grid(given)
    settings = RecoverySettings(steps=given.steps, qat_steps=given.qat_steps, windows=given.windows)
    with ExitStack() as stack:
        evaluator = stack.enter_context(
            build_evaluator(
                EvaluatorSettings(
                    corpus=given.corpus,
                    split=given.split,
                    clustering_threshold=given.threshold,
                    compression=CompressionSettings(recovery=settings),
                    accuracy_threads=given.lanes,
                )
            )
        )
        shared = setup(evaluator, given)
        points = resumed(given.out, shared)
        durations = {recording.uri: recording.duration for recording in evaluator.recordings}
        show = stack.enter_context(progress())
        stack.enter_context(one_thread())
        evaluator.prepare(lambda fraction: show("reading the recordings", fraction))
        for _ in (retime if given.retime else measure)(groups, evaluator, points, given.repeats, show):
            seconds = time.monotonic() - started
            recorded.write(given.out, RecordedTable(points, durations), about(shared, points, given.repeats, seconds))
            if given.minutes is not None and seconds > 60 * given.minutes:
                break
    wanted = sum(map(len, groups))
    Console().print(f"{given.out}: {len(points)} points, {wanted} asked for, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
