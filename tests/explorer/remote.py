"""Stand-ins that worker processes build, without torch, so that they are there at once."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from objectives.errors import CorpusError, EvaluationError
from objectives.operating_point import OperatingPoint


@dataclass(frozen=True)
class StandIn:
    """Builds evaluators that leave a line in files of `folder` for all that happens to them.

    The chunk length of a point says what becomes of it. corpus: part of the identity; `by worker`: another one in each
    process that is built after the first; `missing`: there is none.
    """

    folder: Path
    corpus: str = "c"
    seconds: float = 0.0

    def build(self, accuracy_threads: int | None) -> "StandInEvaluator":
        if self.corpus == "missing":
            raise CorpusError("no corpus 'missing' here: name another")
        note(self.folder, "built", f"{os.getpid()} {accuracy_threads}")
        others = {line.split()[0] for line in notes(self.folder, "built")} - {str(os.getpid())}
        corpus = f"another, {os.getpid()}" if self.corpus == "by worker" and others else self.corpus
        return StandInEvaluator(self, {"corpus": corpus, "machine cores": "2"})


FAILS, BREAKS, CANNOT_TRAVEL, KILLS, KILLS_ONCE, WAITS = 0.5, 0.6, 0.7, 0.8, 0.9, 1.5  # chunk lengths


class Crooked(Exception):
    """Pickles, and cannot be put together again."""

    def __init__(self, one: str, two: str):
        super().__init__(f"{one} {two}")


@dataclass(frozen=True)
class StandInEvaluator:
    settings: StandIn
    identity: Mapping[str, str]

    def __call__(self, point: OperatingPoint, on_progress: Callable[[str, float], None], race: Any = None) -> Any:
        folder = self.settings.folder
        note(folder, "started", f"{os.getpid()} {point.chunk_length:g}")
        on_progress("accuracy", 0.5)
        time.sleep(self.settings.seconds)
        match point.chunk_length:
            case 0.5:
                raise EvaluationError("no answer: a fault made for a test")
            case 0.6:
                return {}["a bug"]
            case 0.7:
                raise Crooked("one", "two")
            case 0.8:
                os.kill(os.getpid(), signal.SIGKILL)
            case 0.9 if len(notes(folder, "started")) < 2:
                os.kill(os.getpid(), signal.SIGKILL)
            case 1.5:
                wait_for(lambda: (folder / "go on").exists(), lambda: on_progress("waiting", 0.7))
        return ("measured", point, race)

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


def wait_for(happened: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None, patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {patience:g} s"
        meanwhile()
        time.sleep(0.02)
