"""The timing process: real ones, which are killed. Each takes seconds to start, so that the tests share one."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import pytest

from objectives.cache.assets import fetch
from objectives.compression.compressor import FinishedModel
from objectives.errors import EvaluationError
from objectives.evaluation.cost import OFFLINE_SECONDS, OFFLINE_WARM_UP_SECONDS
from objectives.evaluation.timing_process import CostSettings, Stopwatch, _Bench
from objectives.measurement import STAGES, Run
from objectives.models.contract import SAMPLE_RATE
from objectives.operating_point import BASELINE, OFFLINE_BASELINE, OperatingPoint
from objectives.runtime.runtime import OnnxRuntime, Runtime
from objectives.runtime.torch_runtime import open_runtime
from objectives.streaming.clustering import ClusteringSettings
from tests.support.networks import finish
from tests.support.system_processes import busy_threads, is_alive, pids_of_spawned, thread_seconds, wait_until

REPEATS = 2
PidOf = Callable[[Stopwatch], int]


@pytest.fixture(scope="module")
def model() -> FinishedModel:
    return finish(fetch("segmentation-3.0"), "fp32")


@pytest.fixture(scope="module")
def settings(excerpt: np.ndarray, model: FinishedModel) -> CostSettings:
    """12 s of audio, one thread."""
    return CostSettings(
        waveform=excerpt[: 12 * SAMPLE_RATE],
        embedding="campplus",
        clustering=ClusteringSettings(0.8),
        baseline=model,
        repeats=REPEATS,
    )


def _measure_for_ever(settings: CostSettings, model: FinishedModel, pipe: Connection) -> None:
    stopwatch = Stopwatch(settings)
    stopwatch.measure(BASELINE, model)
    pipe.send(pids_of_spawned())
    while True:
        stopwatch.measure(OperatingPoint(0.02, 0.0), model)


@pytest.fixture(scope="module")
def parent(settings: CostSettings, model: FinishedModel) -> Iterator[tuple[ForkProcess, Connection]]:
    """A process that measures for ever, and where it tells its timing process. Starts beside this module's own."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_measure_for_ever, args=(settings, model, theirs))
    process.start()
    yield process, ours
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def stopwatch(parent: object, settings: CostSettings) -> Iterator[Stopwatch]:
    stopwatch = Stopwatch(settings)
    yield stopwatch
    stopwatch.close()


@pytest.fixture(scope="module")
def pid_of() -> PidOf:
    """Finds the process of a stopwatch, started where it was not, beside those that other tests have started."""
    others = pids_of_spawned()

    def find(stopwatch: Stopwatch) -> int:
        stopwatch.start()
        (pid,) = pids_of_spawned() - others
        return pid

    return find


def kill_in_the_middle(pid: int) -> None:
    """Stop a process at once, and kill it when somebody has come to wait for it."""
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()


def test_a_process_that_is_killed_fails_one_measurement_and_not_the_next(
    pid_of: PidOf, stopwatch: Stopwatch, model: FinishedModel
) -> None:
    pid = pid_of(stopwatch)
    kill_in_the_middle(pid)
    with pytest.raises(EvaluationError, match=r"chunk_length=0\.5.* the timing process died .*run again"):
        stopwatch.measure(OperatingPoint(0.5, 0.0), model)
    assert not is_alive(pid)
    assert stopwatch.measure(BASELINE, model).median > 0


def test_the_process_ends_with_its_parent_even_when_that_is_killed_in_mid_measurement(
    parent: tuple[ForkProcess, Connection],
) -> None:
    process, pipe = parent
    assert pipe.poll(60)
    (pid,) = pipe.recv()
    assert is_alive(pid)
    process.kill()
    process.join()
    wait_until(lambda: not is_alive(pid), patience=3.0)  # its measurements take longer


def test_each_repeat_is_paired_with_the_baseline(stopwatch: Stopwatch, model: FinishedModel) -> None:
    timing = stopwatch.measure(BASELINE, model)
    assert len(timing.rtf) == len(timing.baseline_rtf) == REPEATS
    assert all(0 < rtf < 10 for rtf in (*timing.rtf, *timing.baseline_rtf))
    assert timing.threads == 1


def test_updates_stages_and_memory_come_with_it(stopwatch: Stopwatch, model: FinishedModel) -> None:
    """C = 1 s in 12 s of audio: 10 updates a repeat."""
    timing = stopwatch.measure(BASELINE, model)
    assert len(timing.updates) == 10 * REPEATS
    assert timing.stage_shares is not None
    assert sum(timing.stage_shares.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in timing.stage_shares.values())
    # compute of 10 s of audio a repeat, of which the clustering belongs to no update
    compute = 10.0 * sum(timing.rtf)
    assert sum(timing.stages.values()) == pytest.approx(compute)
    assert 0 < sum(timing.updates) <= compute - timing.stages["clustering"]
    if sys.platform == "linux":
        assert timing.peak_memory_mib is not None
        assert 100 < timing.peak_memory_mib < 4000  # torch, ONNX Runtime and two models


def test_the_offline_mode_is_timed_there_too(stopwatch: Stopwatch, model: FinishedModel) -> None:
    timing = stopwatch.measure(OFFLINE_BASELINE, model)
    assert len(timing.rtf) == len(timing.baseline_rtf) == REPEATS
    assert all(0 < rtf < 10 for rtf in (*timing.rtf, *timing.baseline_rtf))
    assert timing.update_latency is None
    assert timing.stage_shares is not None
    assert sum(timing.stage_shares.values()) == pytest.approx(1.0)


def run(rtf: float) -> Run:
    return Run(1.0, rtf, dict.fromkeys(STAGES, rtf / 4))


def test_the_offline_mode_takes_turns_with_the_offline_baseline(
    settings: CostSettings, model: FinishedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = _Bench(settings)
    narrow = finish(fetch("segmentation-3.0"), "fp16")
    timed: list[tuple[str, float]] = []

    def note(waveform: np.ndarray, runtime: OnnxRuntime, embedding: object, clustering: object, seconds: float) -> Run:
        timed.append((runtime.execution, seconds))
        return run(float(len(timed)))

    monkeypatch.setattr("objectives.evaluation.timing_process.time_offline", note)
    timing = bench.time(OperatingPoint(precision="fp16", mode="offline"), narrow)
    baseline_and_point = ["native", "emulated"]
    assert [execution for execution, _ in timed] == baseline_and_point * (1 + REPEATS)
    assert [seconds for _, seconds in timed] == [OFFLINE_WARM_UP_SECONDS] * 2 + [OFFLINE_SECONDS] * 2 * REPEATS
    assert (timing.baseline_rtf, timing.rtf) == ((3.0, 5.0), (4.0, 6.0))


def test_only_the_baseline_and_what_is_timed_are_loaded(
    settings: CostSettings, model: FinishedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def note(model: FinishedModel, threads: int) -> Runtime:
        opened.append(model.key)
        return open_runtime(model, threads)

    monkeypatch.setattr("objectives.evaluation.timing_process.open_runtime", note)
    monkeypatch.setattr("objectives.evaluation.timing_process.time_loop", lambda *arguments: run(1.0))
    bench = _Bench(settings)
    first, second = (replace(model, key=f"{model.key}{name}") for name in "ab")
    for each in (first, first, second, first, model):
        bench.time(BASELINE, each)
    assert opened == [model.key, first.key, second.key, first.key]


def test_five_times_the_updates_cost_more_on_the_one_thread_that_was_asked_for(
    pid_of: PidOf, stopwatch: Stopwatch, model: FinishedModel
) -> None:
    pid = pid_of(stopwatch)
    before = thread_seconds(pid)
    timing = stopwatch.measure(OperatingPoint(0.2, 0.0), model)
    assert timing.ratio > 1.5  # five windows where the baseline has one, the same features
    assert busy_threads(before, thread_seconds(pid)) == 1


def test_what_cannot_be_run_is_an_evaluation_error_and_the_process_goes_on(
    pid_of: PidOf, stopwatch: Stopwatch, model: FinishedModel, tmp_path: Path
) -> None:
    pid = pid_of(stopwatch)
    (tmp_path / "broken.bin").write_bytes(b"broken")
    broken = replace(model, key="broken", checkpoint=tmp_path / "broken.bin")
    with pytest.raises(EvaluationError, match=r"broken\.bin: not a pyannote\.audio checkpoint"):
        stopwatch.measure(BASELINE, broken)
    assert stopwatch.measure(BASELINE, model).median > 0
    assert pid_of(stopwatch) == pid


def test_a_bug_inside_is_raised_as_what_it_is(stopwatch: Stopwatch, model: FinishedModel) -> None:
    with pytest.raises(AttributeError):
        stopwatch.measure(BASELINE, None)


def test_a_process_that_is_killed_in_mid_measurement_fails_it(
    pid_of: PidOf, stopwatch: Stopwatch, model: FinishedModel
) -> None:
    stopwatch.measure(BASELINE, model)
    kill_in_the_middle(pid_of(stopwatch))
    with pytest.raises(EvaluationError, match="the timing process died"):
        stopwatch.measure(BASELINE, model)


def test_close_ends_the_process_and_may_be_called_twice(pid_of: PidOf, stopwatch: Stopwatch) -> None:
    pid = pid_of(stopwatch)
    stopwatch.close()
    stopwatch.close()
    assert not is_alive(pid)
