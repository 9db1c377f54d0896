"""What the explorer itself wrote and somebody changed: attributes of a study, sidecars of models, an exported point."""

import json
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from explorer.bundle.bundle import EMBEDDING, MODEL, POINT, PROJECTION, FilePart, describe_file, read_bundle
from explorer.front.pareto import front
from explorer.recommend.budgets import Budgets
from explorer.recommend.recommendation import recommend
from explorer.recommend.test_split import SCORE
from explorer.search import driver, fixed_trials
from explorer.search.status import status
from explorer.storage.study_record import DEFINITION, IDENTITY
from objectives.cache.files import CACHE_VARIABLE
from objectives.cache.model_cleaning import stored_models
from objectives.cache.model_store import StoredModel, kept_model, release
from objectives.operating_point import OperatingPoint
from tests.explorer.bundle.test_bundle import SOUND
from tests.fuzz.cases import Format
from tests.fuzz.mutation import mutated_json
from tests.support.analytic_evaluator import small_study
from tests.support.recommendation_study import add, add_baseline, empty_study

DEFINED = small_study(fixed={"right_context": [0.5], "variants": ["Hidden-40"], "precisions": ["int8_ptq"]})
CHOICE = {"on": "calib", "der": {"Hidden-40": 12.5, "Linear-40": 11.5}, "variant": "Linear-40", "error": None}
ERRORS = {
    "der": 20.0, "false_alarm": 5.0, "missed_detection": 5.0, "confusion": 10.0, "false_alarm_seconds": 5.0,
    "missed_detection_seconds": 5.0, "confusion_seconds": 10.0, "total_seconds": 100.0,
}  # fmt: skip
TESTED = {"der": ERRORS, "recordings": {"t1": ERRORS, "t2": ERRORS}, "machine": {"machine.cpu": "a formula"}}
SHAM = {MODEL: b"a model", EMBEDDING: b"an embedding", PROJECTION: b"a projection"}


@dataclass(frozen=True)
class _Study:
    study: optuna.Study
    attribute: str


def _study(attribute: str) -> Any:
    def prepare(folder: Path) -> _Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = empty_study(DEFINED)
        add_baseline(study, [20.0, 22.0])
        add(study, [19.0, 22.0], 6.0, point=OperatingPoint(2.0))
        for number in range(2):
            study.set_user_attr(SCORE.format(trial=number), json.dumps(TESTED))
        study.set_user_attr(fixed_trials.CHOICE, json.dumps(CHOICE))
        return _Study(study, attribute)

    return prepare


def _look(prepared: Any, path: Path) -> None:
    """What the commands do that read a study."""
    prepared.study.set_user_attr(prepared.attribute, path.read_bytes().decode("utf-8", "surrogateescape"))
    front(prepared.study)
    status(prepared.study)
    recommend(prepared.study, Budgets())


def _resume(prepared: Any, path: Path) -> None:
    """What `explorer run` does first."""
    prepared.study.set_user_attr(prepared.attribute, path.read_bytes().decode("utf-8", "surrogateescape"))
    driver._create_or_resume("study", DEFINED, {"corpus": "analytic"}, prepared.study._storage)


def _stored(valid: Any) -> Any:
    return lambda prepared, draw: mutated_json(valid, draw)


@contextmanager
def in_cache(folder: Path) -> Iterator[None]:
    """The cache lies elsewhere for a while."""
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        release()
        os.environ.pop(CACHE_VARIABLE) if before is None else os.environ.update({CACHE_VARIABLE: before})


CONTENT = b"weights"


def _kept() -> StoredModel:
    return kept_model({"what": "a model"}, ".bin", lambda path: {"wrote": path.write_bytes(CONTENT)})


def _models(folder: Path) -> tuple[StoredModel, bytes]:
    with in_cache(folder):
        model = _kept()
    return model, model.path.with_suffix(".json").read_bytes()


def _sidecar_bytes(prepared: Any, draw: random.Random) -> bytes:
    return mutated_json(json.loads(prepared[1]), draw)


def _sidecar(prepared: Any, path: Path) -> None:
    model = prepared[0]
    with in_cache(model.path.parent.parent), warnings.catch_warnings():
        model.path.with_suffix(".json").write_bytes(path.read_bytes())
        (entry,) = stored_models()
        assert entry.state in ("whole", "damaged")
        if entry.state == "whole":
            assert (entry.model, entry.damage) == (model, "")
        again = _kept()  # made again where it was damaged
        assert (again.path, again.sha256) == (model.path, model.sha256)
        assert again.path.read_bytes() == CONTENT


def _sham_bundle(folder: Path) -> dict[str, Any]:
    for name, content in SHAM.items():
        (folder / name).write_bytes(content)
    files = {name: FilePart.model_dump(describe_file(folder / name)) for name in SHAM}
    return SOUND | {"files": files}


def _point(_: object, path: Path) -> None:
    bundle = read_bundle(path.parent)
    point = bundle.point
    assert 0 < point.chunk_length <= 5
    assert 0 <= point.right_context <= 5
    contract = bundle.manifest.segmentation.contract()
    assert len(contract.powerset) < 1000
    assert bundle.clustering.threshold >= 0


STORED_FORMATS = (
    Format("operating_point.json", ".json", _sham_bundle, lambda valid, draw: mutated_json(valid, draw), _point, POINT),
    *(
        Format(f"study: {name}", ".json", _study(attribute), _stored(valid), load, speaks_of="the study 'study'")
        for name, attribute, valid, load in (
            ("definition", DEFINITION, json.loads(DEFINED.model_dump_json()), _look),
            ("identity", IDENTITY, {"evaluator.corpus": "analytic abc", "space.mode": "chunk-wise"}, _look),
            ("identity, resumed", IDENTITY, {"evaluator.corpus": "analytic abc", "space.mode": "chunk-wise"}, _resume),
            ("choice", fixed_trials.CHOICE, CHOICE, _look),
            ("test score", SCORE.format(trial=0), TESTED, _look),
        )
    ),
    Format("model sidecar", ".json", _models, _sidecar_bytes, _sidecar),
)
