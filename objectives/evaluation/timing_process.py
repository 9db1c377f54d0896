"""The process in which timings are taken, and its peak memory."""

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import numpy as np
import threadpoolctl
import torch

from objectives.backends.library_errors import failing_the_trial
from objectives.compression.compressor import FinishedModel
from objectives.errors import AssetError, EvaluationError, ExplorerError
from objectives.evaluation.cost import (
    OFFLINE_SECONDS,
    OFFLINE_WARM_UP_SECONDS,
    WARM_UP_UPDATES,
    time_loop,
    time_offline,
)
from objectives.measurement import Run, Timing
from objectives.models.embedding_loading import load_embedding
from objectives.operating_point import BASELINE, OFFLINE_BASELINE, OperatingPoint
from objectives.runtime.runtime import Runtime
from objectives.runtime.torch_runtime import open_runtime
from objectives.streaming.clustering import ClusteringSettings

DYING = 5.0  # most seconds to wait for a process that closed its pipe to end


@dataclass(frozen=True)
class CostSettings:
    """How timings are taken.

    waveform: (samples,) float32, the recording that is run on, or a section of it.
    trusted: as in `load_embedding`.
    """

    waveform: np.ndarray
    embedding: str
    clustering: ClusteringSettings
    baseline: FinishedModel
    repeats: int = 3
    threads: int = 1
    trusted: frozenset[str] = frozenset()


class Stopwatch:
    """Times operating points in a process of its own, which ends when this one does, for whatever reason.

    Hold `machine.quiet()` while calling `measure`.
    """

    def __init__(self, settings: CostSettings):
        self._settings = settings
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        # whether the process has the settings; they hold a waveform, which it reads only once it has started
        self._has_settings = False

    def start(self) -> None:
        """Start the process if it is not running. It imports its libraries while the caller continues."""
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self._has_settings = False
        theirs.close()

    def measure(self, point: OperatingPoint, model: FinishedModel) -> Timing:
        """Time one operating point, in turns with the baseline of its mode.

        Raises EvaluationError if the process dies or the loop cannot run.
        """
        self.start()
        assert self._pipe is not None
        try:
            if not self._has_settings:
                self._pipe.send(self._settings)
                self._has_settings = True
            self._pipe.send((point, model))
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise EvaluationError(f"{point}: the timing process died ({self._bury()}); run again") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _bury(self) -> str:
        """Wait for the process that died. Return what is known about the cause, in words."""
        assert self._process is not None
        self._process.join(DYING)
        code = self._process.exitcode
        self.close()
        return death_in_words(code)

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()  # it ignores all other signals
            self._process.join()
        self._process = self._pipe = None


def death_in_words(code: int | None) -> str:
    """Return what the exit code of a dead process says about the cause."""
    if code is None:
        return "cause unknown: it has not ended yet"
    if code == -signal.SIGKILL:
        return "killed by SIGKILL, as the system does if memory runs out: see `dmesg`"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"it ended with exit code {code}"


def _serve(pipe: Connection) -> None:
    """Answer requests until the other end closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to the whole group; the parent handles them
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        settings: CostSettings = pipe.recv()
        torch.set_num_threads(settings.threads)
        with threadpoolctl.threadpool_limits(settings.threads):
            bench = _Bench(settings)
            while True:
                pipe.send(_answer(bench, *pipe.recv()))
    except EOFError:
        return


def _answer(bench: "_Bench", point: OperatingPoint, model: FinishedModel) -> Timing | Exception:
    try:
        with failing_the_trial("while it was timed", bench.let_go):
            return bench.time(point, model)
    except AssetError as error:  # for example a full disk: not the point's fault, and other points would fail too
        return error
    except ExplorerError as error:
        return EvaluationError(f"{point}: {error}")
    except Exception as error:  # noqa: BLE001 — a bug: handed to the parent, which raises it there
        return error


def _end_with_parent() -> None:
    """End at once if the parent ends: during a measurement nobody reads the pipe, and the machine is no longer
    quiet."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class _Bench:
    """Models that are loaded once, so that only their use is timed."""

    def __init__(self, settings: CostSettings):
        self._settings = settings
        self._embedding = load_embedding(settings.embedding, settings.threads, settings.trusted)
        self._runtimes: Mapping[str, Runtime] = {}

    def time(self, point: OperatingPoint, model: FinishedModel) -> Timing:
        settings = self._settings
        baseline = OFFLINE_BASELINE if point.mode == "offline" else BASELINE
        self._open(settings.baseline, model)
        self._run(baseline, settings.baseline, warm_up=True)
        self._run(point, model, warm_up=True)
        own, base, peaks = [], [], []
        for _ in range(settings.repeats):
            base.append(self._run(baseline, settings.baseline))
            run, peak = with_peak_memory(lambda: self._run(point, model))
            own.append(run)
            peaks.append(peak)
        known = [peak for peak in peaks if peak is not None]
        return Timing.of(own, base, settings.threads, max(known, default=None))

    def let_go(self) -> None:
        """Unload all models."""
        self._runtimes = {}

    def _run(self, point: OperatingPoint, model: FinishedModel, warm_up: bool = False) -> Run:
        settings, runtime = self._settings, self._runtimes[model.key]
        if point.mode == "offline":
            seconds = OFFLINE_WARM_UP_SECONDS if warm_up else OFFLINE_SECONDS
            return time_offline(settings.waveform, runtime, self._embedding, settings.clustering, seconds)
        updates = WARM_UP_UPDATES if warm_up else None
        return time_loop(settings.waveform, point, runtime, self._embedding, settings.clustering, updates)

    def _open(self, *models: FinishedModel) -> None:
        """Load these models and unload all others. A study makes hundreds, and each keeps its working memory."""
        known, threads = self._runtimes, self._settings.threads
        self._runtimes = {model.key: known.get(model.key) or open_runtime(model, threads) for model in models}


Result = TypeVar("Result")
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)
RESET_PEAK = "5"  # proc(5): sets the peak to what is resident now; resource.getrusage only reports the all-time peak


def with_peak_memory(action: Callable[[], Result]) -> tuple[Result, int | None]:
    """Run `action`. Return its result, and the peak resident memory of this process during the run, in bytes.

    The peak is None if it cannot be reset: on systems other than Linux, and in containers that forbid it.
    """
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        return action(), None
    result = action()
    return result, int(PEAK.findall(STATUS.read_text())[0]) * 1024
