"""What a study records of a trial under overlap and noise. Needs neither torch nor a corpus."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import optuna

from explorer.statistics import bootstrap
from explorer.storage import trial_record as record
from explorer.storage.study_record import damaged, kept_json, user_attributes

SCORE = "stress:{trial}:{conditions}"  # study attribute of a trial under some conditions, given as a short hash
ROUNDING = 1e-6  # points of DER by which a sum over recordings may differ when it is read again
_KEY = re.compile(r"stress:\d+:[0-9a-f]{12}", re.ASCII)
PARTS = ("der", "false_alarm", "missed_detection", "confusion")


@dataclass(frozen=True)
class Cell:
    """One level of overlap and noise. overlap: the share of the speech that was asked for; overlap_share: the share
    that came out. noise: dB of speech over noise, None for none. der and its parts: percent, pooled. recordings: errors
    by URI."""

    overlap: float
    noise: float | None
    overlap_share: float
    der: float
    false_alarm: float
    missed_detection: float
    confusion: float
    recordings: Mapping[str, Mapping[str, float | None]]

    @classmethod
    def of(
        cls,
        overlap: float,
        noise: float | None,
        share: float,
        pooled: Mapping[str, Any],
        recordings: Mapping[str, Mapping[str, float | None]],
    ) -> "Cell":
        """Build a cell from the output of `trial_record.errors_of`, for all recordings together and for each."""
        figures = {part: float(pooled[part]) for part in PARTS}
        return cls(overlap, noise, share, **figures, recordings=recordings)

    @property
    def scored(self) -> bootstrap.Scored:
        """Seconds of error and of reference speech by recording."""
        return record.scored_seconds(self.recordings)


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
        """The study attribute that keeps it; other conditions have another one."""
        conditions = json.dumps(self.conditions, sort_keys=True)
        return SCORE.format(trial=self.trial, conditions=hashlib.sha256(conditions.encode()).hexdigest()[:12])

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return asdict(self)


def of_few(recordings: int) -> str:
    """Return the caveat of differences over so few recordings; empty if there are enough."""
    if recordings < bootstrap.FEWEST:
        return "a single recording: no difference has an interval"
    return f"few recordings ({recordings}): intervals tend to be too narrow" if recordings < bootstrap.FEW else ""


def read_stressed(key: str, stored: Mapping[str, Any]) -> Stressed:
    """Read what `as_json` wrote under a key. Raises KeyError, TypeError or ValueError if it is something else."""
    cells = tuple(Cell(**each) for each in stored["cells"])
    if not cells:
        raise ValueError("it has no cells")
    grid = [
        (overlap, noise) for overlap in stored["conditions"]["overlaps"] for noise in stored["conditions"]["noises"]
    ]
    if [(cell.overlap, cell.noise) for cell in cells] != grid:
        raise ValueError("its cells are not those of its grid")
    for cell in cells:
        if cell.recordings.keys() != cells[0].recordings.keys():
            raise ValueError("its cells are not of the same recordings")
        figures = [getattr(cell, part) for part in PARTS]
        if not all(isinstance(figure, float) and math.isfinite(figure) for figure in figures):
            raise ValueError(f"a DER of {figures}")
        if abs((pooled := bootstrap.pooled_der(cell.scored)) - cell.der) > ROUNDING:
            raise ValueError(f"a DER of {cell.der:g}, and of its recordings together {pooled:g}")
    found = Stressed(
        stored["trial"],
        stored["point"],
        stored["model_key"],
        stored["conditions"],
        cells,
        stored["machine"],
        str(stored["made"]),
    )
    if found.key != key:
        raise ValueError(f"it would be kept as {found.key!r}")
    return found


def stressed_trials(study: optuna.Study) -> tuple[Stressed, ...]:
    """Return what the study keeps, by trial, oldest first within a trial. Raises StudyError if it was damaged."""
    found = []
    for key in user_attributes(study):
        if _KEY.fullmatch(key):
            stored = kept_json(study, key)
            assert stored is not None, "it is there"
            try:
                found.append(read_stressed(key, stored))
            except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
                raise damaged(study, key, f"{type(error).__name__}: {error}") from error
    return tuple(sorted(found, key=lambda one: (one.trial, one.made, one.key)))
