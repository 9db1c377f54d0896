"""While one process takes time, another one's trial waits: when it measures, and when it makes its model."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from objectives import machine
from objectives.cache.files import CACHE_VARIABLE
from objectives.compression import compressor, low_bit, recovery, training_windows
from objectives.evaluation import evaluator as evaluation
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import BASELINE, OperatingPoint
from tests.objectives.compression.test_precisions import CALIB, EVAL, LINEAR_40, TINY, TRAIN, write_corpus
from tests.objectives.test_machine import GLIMPSE, PATIENCE, Holders, hold, wait_until_gate_is_taken
from tests.support.empty_cache import fresh_cache

__all__ = ["hold"]  # a fixture

HEAVY = [
    (training_windows, "forward_head"),
    (compressor, "folded"),
    (compressor, "calibration_features"),
    (low_bit, "observe_ranges"),
    (low_bit, "quantize"),
    (recovery, "held_back_loss"),
    (recovery, "_one_step"),
    (evaluation, "open_runtime"),
]


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    """Whose cache holds little but assets, and what it made itself."""
    folder = tmp_path_factory.mktemp("quiet")
    cache = fresh_cache(folder / "cache")
    write_corpus(folder / "corpus", train=TRAIN, calib=CALIB, eval=EVAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        with build_evaluator(EvaluatorSettings(corpus=str(folder / "corpus"), compression=TINY)) as evaluator:
            yield evaluator


def somebody_works() -> bool:
    """Whether nobody could have quiet right now."""
    folder = os.environ[machine.LOCK_VARIABLE]
    lock = os.open(Path(folder) / "explorer-machine.lock", os.O_RDONLY | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def test_a_trial_waits_while_another_process_takes_time(evaluator: Evaluator, hold: Holders) -> None:
    evaluator.runtime(BASELINE)
    heard: list[float] = []

    def told(stage: str, fraction: float) -> None:
        heard.append(fraction)

    trial = threading.Thread(target=evaluator.errors, args=(BASELINE, told), daemon=True)
    other = hold("quiet")
    assert other.is_in()
    trial.start()
    trial.join(GLIMPSE)
    assert trial.is_alive()
    assert set(heard) <= {0.0}
    other.leave()
    trial.join(PATIENCE)
    assert heard[-1] == 1.0


def test_all_that_makes_a_model_is_done_while_nobody_takes_time(
    evaluator: Evaluator, hold: Holders, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    outside: set[str] = set()

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            (seen if somebody_works() else outside).add(name)
            return function(*given, **named)

        return call

    for module, name in HEAVY:
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    evaluator.runtime(OperatingPoint(pruning=LINEAR_40, precision="int8_qat"))
    assert outside == set()
    assert seen == {name for _, name in HEAVY}


def test_work_inside_work_does_not_wait_for_who_wants_quiet(hold: Holders, tmp_path: Path) -> None:
    went: list[str] = []
    quiet = threading.Event()

    def take_time() -> None:
        with machine.quiet():
            quiet.set()

    def work() -> None:
        with machine.working():
            timer.start()
            wait_until_gate_is_taken(tmp_path / "locks")
            with machine.working():
                went.append("inside")
            went.append("too early" if quiet.wait(GLIMPSE) else "still inside the outer one")

    timer, worker = threading.Thread(target=take_time, daemon=True), threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(PATIENCE)
    assert went == ["inside", "still inside the outer one"]
    assert quiet.wait(PATIENCE)
