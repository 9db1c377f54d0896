"""Rows of a study's database that somebody changed or cut short: attributes of its trials, read as commands do."""

import json
import random
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import optuna

from explorer.bundle import export
from explorer.diagnostics import verification
from explorer.figures.data import joint_front, other_trials
from explorer.front.pareto import front
from explorer.recommend.budgets import Budgets
from explorer.recommend.recommendation import recommend
from explorer.report import facts, report
from explorer.report.front import whole_front
from explorer.search import driver
from explorer.search.status import status
from explorer.storage import trial_record as record
from explorer.storage.connection import load_study
from explorer.storage.study_record import refuse_other_data, stored_definition
from objectives.measurement import Measurement
from objectives.operating_point import OperatingPoint
from studies.search_space import recall
from tests.fuzz.cases import Format
from tests.fuzz.mutation import mutated_json
from tests.support.analytic_evaluator import VERSIONS, AnalyticEvaluator, measurement, run_study, small_study

DEFINED = small_study(trials=4, fixed={"right_context": [0.5], "chunk_length": [0.5], "variants": ["Hidden-40"]})
UNUSUAL = ((record.REUSED_FROM, 0), (record.STOP, {"kind": "raced", "reason": "hopeless", "least_der": 30.0}))


@dataclass(frozen=True)
class _Prepared:
    """A database, and its rows of attributes: (number of the trial, key, value)."""

    file: Path
    study: optuna.Study
    rows: tuple[tuple[int, str, Any], ...]


def _prepare(folder: Path) -> _Prepared:
    """A study with what is complete, reused, infeasible, stopped and failed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = folder / "studies.db"
    fails = frozenset({OperatingPoint(0.5)})
    definition = DEFINED.vary("a test", limits={"latency": 4.0, "size": 3.9})
    run_study("study", definition, AnalyticEvaluator(fails=fails), f"sqlite:///{file}")
    study = load_study("study", f"sqlite:///{file}")
    rows = [(trial.number, key, value) for trial in study.trials for key, value in trial.user_attrs.items()]
    return _Prepared(file, study, tuple(rows))


def _spoil(prepared: Any, draw: random.Random) -> bytes:
    """`number key` in a line, and below it what the row holds; no row at all where there is nothing below."""
    number, key, value = draw.choice(prepared.rows)
    if (kind := draw.random()) < 0.05:
        return f"{number} {key}\n".encode()
    if kind < 0.1:
        key, value = draw.choice(UNUSUAL)
    if kind < 0.25:  # cut short
        text = json.dumps(value).encode()
        return f"{number} {key}\n".encode() + text[: draw.randrange(len(text))]
    return f"{number} {key}\n".encode() + mutated_json(value, draw)


def _load(prepared: Any, path: Path) -> None:
    content = path.read_bytes()
    where, _, value = content.partition(b"\n")
    number, key = where.decode().split()
    with closing(sqlite3.connect(prepared.file)) as connection, connection:
        trial_id = int(number) + 1
        before = connection.execute("SELECT * FROM trial_user_attributes").fetchall()
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("DELETE FROM trial_user_attributes WHERE trial_id = ? AND key = ?", (trial_id, key))
        if value:
            text = value.decode("utf-8", "replace")
            connection.execute(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)", (trial_id, key, text)
            )
    try:
        thorough = zlib.crc32(content) % 50 == 0  # to open a storage and to draw take a second and more
        study = load_study("study", f"sqlite:///{prepared.file}") if thorough else prepared.study
        _look(study, int(number), drawn=thorough)
    finally:
        with closing(sqlite3.connect(prepared.file)) as connection, connection:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("DELETE FROM trial_user_attributes")
            connection.executemany("INSERT INTO trial_user_attributes VALUES (?, ?, ?, ?)", before)


def _look(study: optuna.Study, number: int, drawn: bool) -> None:
    """What `front`, `status`, `recommend`, `report`, `verify`, `export` and `run` do with what they read. drawn: with
    the report's figures, which take seconds."""
    rows = front(study)
    told = status(study)
    assert len(rows) == len(front(study))
    recommend(study, Budgets(), test=False)
    definition = stored_definition(study)
    whole_front(rows)
    joint_front(rows, other_trials(study, rows))
    trials = driver.bulk_sql.read(study, [row.number for row in rows if row.measurement])
    facts.facts(study, definition, told, rows, trials, None)
    facts.headlines(rows, told)
    facts.infeasible(study)
    if drawn:
        report.render(report.compose(study))
    driver.bulk_sql.read(study)
    _verify(study, number)
    export._complete(study, number)


def _verify(study: optuna.Study, number: int) -> None:
    """`verify`, all but its measurement."""
    asked, sources = verification.measured_trials(study, [number])
    for trial in sources.values():
        point = recall(trial, stored_definition(study).space)
        assert point is not None
        cache = SimpleNamespace(models={})
        refuse_other_data(study, [trial], _Evaluator.identity)
        found = verification._verify_one(
            trial,
            point,
            _Evaluator(),
            cache,
            {},
            True,
            lambda stage, fraction: None,  # type: ignore[arg-type]
        )
        for one in asked:
            verification._as(one, found, trial)


class _Evaluator:
    """Measures again what was measured, by the same formula."""

    identity: ClassVar = {
        "corpus": "analytic",
        "split": "eval",
        "segmentation": "s",
        "embedding": "e",
        "clustering": "c",
    }
    machine = measurement(OperatingPoint()).machine

    def model(self, point: OperatingPoint, on_progress: object) -> SimpleNamespace:
        told = measurement(point)
        assert isinstance(told, Measurement)
        assert told.versions == VERSIONS
        return SimpleNamespace(
            key=told.model_key, params=told.params, size_bytes=told.size_bytes, kept=told.kept, sha256=told.model_sha256
        )

    def errors(self, point: OperatingPoint, on_progress: object, only: object) -> object:
        return measurement(point).counts

    def timing(self, point: OperatingPoint, on_progress: object) -> object:
        return measurement(point).timing


TRIAL_FORMATS = (Format("trial attributes", ".txt", _prepare, _spoil, _load, speaks_of="'study'"),)
