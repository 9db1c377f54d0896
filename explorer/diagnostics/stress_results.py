"""What a study records of a trial under overlap and noise. Needs neither torch nor a corpus."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import optuna

from explorer.storage.study_record import damaged, kept_json, user_attributes
from explorer.storage.trial_record import PooledErrors

_KEY = re.compile(r"stress:\d+:[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Cell(PooledErrors):
    """One level of overlap and noise. overlap: the share of the speech that was asked for; overlap_share: the share
    that came out. noise: dB of speech over noise, None for none."""

    overlap: float
    noise: float | None
    overlap_share: float


@dataclass(frozen=True)
class Stressed:
    """A trial in each cell, overlap by overlap. conditions: all that trials must share to be compared: the grid, the
    speech, and a hash of the audio. machine, made: where and when it was scored (made: UTC, ISO 8601)."""

    trial: int
    point: str
    model_key: str
    conditions: Mapping[str, Any]
    cells: tuple[Cell, ...]
    machine: Mapping[str, str]
    made: str

    @property
    def key(self) -> str:
        """The study attribute that keeps it, with a short hash of the conditions; other conditions have another one."""
        conditions = json.dumps(self.conditions, sort_keys=True)
        return f"stress:{self.trial}:{hashlib.sha256(conditions.encode()).hexdigest()[:12]}"

    @property
    def recordings(self) -> int:
        """The number of recordings in each cell."""
        return len(self.cells[0].recordings)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return asdict(self)


def read_stressed(key: str, stored: Mapping[str, Any]) -> Stressed:
    """Read what `as_json` wrote under a key. Raises KeyError, TypeError or ValueError if it is something else."""
    cells = tuple(Cell(**each) for each in stored["cells"])
    found = Stressed(**{**stored, "cells": cells, "made": str(stored["made"])})
    if not found.cells:
        raise ValueError("it has no cells")
    grid = product(found.conditions["overlaps"], found.conditions["noises"])
    if [(cell.overlap, cell.noise) for cell in found.cells] != list(grid):
        raise ValueError("its cells are not those of its grid")
    for cell in found.cells:
        if cell.recordings.keys() != found.cells[0].recordings.keys():
            raise ValueError("its cells are not of the same recordings")
        cell.check()
    if found.key != key:
        raise ValueError(f"it would be kept as {found.key!r}")
    return found


def stressed_trials(study: optuna.Study) -> tuple[Stressed, ...]:
    """Return what the study keeps, by trial, oldest first within a trial. Raises StudyError if it was damaged."""
    found = []
    for key in filter(_KEY.fullmatch, user_attributes(study)):
        stored = kept_json(study, key)
        assert stored is not None, "it is there"
        try:
            found.append(read_stressed(key, stored))
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise damaged(study, key, f"{type(error).__name__}: {error}") from error
    return tuple(sorted(found, key=lambda one: (one.trial, one.made, one.key)))
