"""Stand-ins that worker processes build, without torch, so that they are there at once."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from objectives import machine
from objectives.errors import CorpusError, DeviceError, EvaluationError
from objectives.operating_point import OperatingPoint

PATIENCE = 30.0  # seconds for what must happen
CORPUS = "STAND_IN_CORPUS"  # of a worker process
# chunk lengths of points that
MEASURED, FAILS, BREAKS, CANNOT_TRAVEL, KILLS, KILLS_ONCE, WAITS = 1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.5
HOLDS, LOSES_GPU = 2.0, 2.5


@dataclass(frozen=True)
class StandIn:
    """Builds evaluators that leave a line in files of `folder` for all that happens to them.

    The chunk length of a point says what becomes of it (below). corpus: part of the identity, unless the process has
    CORPUS in its environment; `missing`: there is none.
    """

    folder: Path
    corpus: str = "one"
    seconds: float = 0.0

    def __call__(self, accuracy_threads: int | None) -> "StandInEvaluator":
        if self.corpus == "missing":
            raise CorpusError("no corpus 'missing' here: name another")
        note(self.folder, "built", f"{os.getpid()} {accuracy_threads}")
        return StandInEvaluator(self, {"corpus": os.environ.get(CORPUS, self.corpus), "machine cores": "2"})


class Crooked(Exception):
    """Pickles, and cannot be put together again."""

    def __init__(self, one: str, two: str):
        super().__init__(f"{one} {two}")


@dataclass(frozen=True)
class StandInEvaluator:
    settings: StandIn
    identity: Mapping[str, str]
    remarks: tuple[str, ...] = ("a remark",)

    def __call__(self, point: OperatingPoint, on_progress: Callable[[str, float], None], judge: Any = None) -> Any:
        folder = self.settings.folder
        note(folder, "started", f"{os.getpid()} {point.chunk_length:g}")
        on_progress("accuracy", np.float64(0.5))  # as training tells it
        time.sleep(self.settings.seconds)
        what = point.chunk_length
        if what == FAILS:
            raise EvaluationError("no answer: a fault made for a test")
        if what == BREAKS:
            raise KeyError("a bug")
        if what == LOSES_GPU:
            raise DeviceError("the GPU failed: a fault made for a test")
        if what == CANNOT_TRAVEL:
            raise Crooked("one", "two")
        tries = sum(line.split()[1] == f"{what:g}" for line in notes(folder, "started"))
        # in the end it lives, so that whoever begins it again for ever fails a test instead of hanging it
        if tries <= {KILLS: 5, KILLS_ONCE: 1}.get(what, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if what == HOLDS and tries == 1:  # the machine, as whoever takes time does
            with machine.quiet():
                note(folder, "holds", str(os.getpid()))
                time.sleep(PATIENCE)
        if what == WAITS:
            wait_for((folder / "go on").exists, lambda: on_progress("waiting", 0.75))
        return ("measured", point, judge)

    def calibration_errors(self, point: OperatingPoint, on_progress: Callable[[str, float], None]) -> Any:
        on_progress("calib", 0.25)
        return {"c": point}

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        note(self.settings.folder, "prepared", str(os.getpid()))
        on_progress(0.5)

    def __enter__(self) -> "StandInEvaluator":
        return self

    def __exit__(self, *error: object) -> None:
        note(self.settings.folder, "closed", str(os.getpid()))


def note(folder: Path, name: str, line: str) -> None:
    with (folder / name).open("a") as file:
        file.write(f"{line}\n")


def notes(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines() if (folder / name).exists() else []


def wait_for(happened: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {PATIENCE:g} s"
        meanwhile()
        time.sleep(0.02)
