"""Hand-made answers of `explorer stress`."""

import json
from collections.abc import Sequence

import optuna

from explorer.diagnostics.stress_results import Cell, Stressed
from objectives.measurement import ErrorCounts

COMMON = {"overlaps": [0.0, 0.2], "noises": [None, 10.0], "rounds": 1, "band": "wide", "noise_kind": "pink"}


def stressed(trial: int, *errors: Sequence[float], made: str = "2026-01-01", **conditions: object) -> Stressed:
    """A trial whose cells have so many seconds of confusion in each recording, out of 100 s."""
    cells = []
    for (overlap, noise), each in zip([(0.0, None), (0.0, 10.0), (0.2, None), (0.2, 10.0)], errors, strict=True):
        counts = {f"r{place}": ErrorCounts(confusion=one, total=100.0) for place, one in enumerate(each)}
        cells.append(Cell.of(counts, overlap=overlap, noise=noise, overlap_share=overlap))
    speech = {"name": "calls", "found": "by hand", "people": 3}
    return Stressed(trial, f"point {trial}", "key", COMMON | {"speech": speech} | conditions, tuple(cells), {}, made)


def kept(study: optuna.Study, *each: Stressed) -> None:
    for one in each:
        study.set_user_attr(one.key, json.dumps(one.as_json()))
