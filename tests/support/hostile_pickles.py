"""Checkpoints that touch a file, the sentinel, when they are unpickled."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.support.checkpoints import changed_checkpoint

Writer = Callable[[Path, Path], object]  # (path to write, sentinel)


class Touch:
    """What is pickled as the call that touches a file."""

    def __init__(self, sentinel: Path):
        self._sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._sentinel), "w")


class Run(Touch):
    """The same by way of a shell."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self._sentinel}'",)


class Evaluate(Touch):
    """The same by way of Python's own words."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('pathlib').Path({str(self._sentinel)!r}).touch()",)


def nothing_else(path: Path, sentinel: Path) -> None:
    torch.save(Run(sentinel), path)


def among_training_state(path: Path, sentinel: Path) -> None:
    changed_checkpoint(path, lambda checkpoint: checkpoint.update(callbacks={"early stopping": Touch(sentinel)}))


def among_weights(path: Path, sentinel: Path) -> None:
    changed_checkpoint(path, lambda checkpoint: checkpoint["state_dict"].update(bias=Evaluate(sentinel)))


def within_specifications(path: Path, sentinel: Path) -> None:
    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["pyannote.audio"]["specifications"].classes = [Run(sentinel)]

    changed_checkpoint(path, change)


def bare_pickle(path: Path, sentinel: Path) -> None:
    path.write_bytes(pickle.dumps(Run(sentinel), protocol=2))


def of_old_torch(path: Path, sentinel: Path) -> None:
    torch.save({"state_dict": Evaluate(sentinel)}, path, _use_new_zipfile_serialization=False)


HOSTILE: tuple[Writer, ...] = (
    nothing_else,
    among_training_state,
    among_weights,
    within_specifications,
    bare_pickle,
    of_old_torch,
)
