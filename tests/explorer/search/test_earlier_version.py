"""Studies of the version that tracked speakers chunk-wise only: they go on, and stay what they were."""

import json
from pathlib import Path

import optuna
import pytest

from explorer.storage.connection import load_study
from explorer.storage.study_record import IDENTITY
from objectives.errors import CorpusError, ModelError, StudyError
from objectives.evaluation import evaluator
from objectives.operating_point import OnlineTracking
from studies.definition import parse
from tests.support.analytic_evaluator import AnalyticEvaluator, run_study, small_study
from tests.support.corpora import write_recording
from tests.support.sign_models import sign_embedding

NOW = {"corpus": "analytic", "machine": "a formula", "tracking": "delta_new 0.35"}


@pytest.fixture
def study(url: str) -> optuna.Study:
    """As that version left it."""
    run_study("study", small_study(trials=1), AnalyticEvaluator(), url)
    study = load_study("study", url)
    told = json.loads(study.user_attrs[IDENTITY])
    earlier = {key: value for key, value in told.items() if key not in ("space.tracking", "evaluator.tracking")}
    study.set_user_attr(IDENTITY, json.dumps(earlier | {"space.mode": "chunk-wise"}))
    return study


def test_it_is_resumed(study: optuna.Study, url: str) -> None:
    outcome = run_study("study", small_study(trials=3), AnalyticEvaluator(identity=NOW), url)
    assert outcome.trials == 2


def test_it_is_refused_where_speakers_are_to_be_tracked_otherwise(study: optuna.Study, url: str) -> None:
    online = small_study(trials=3, space={"tracking": ["chunk-wise", "online"]})
    with pytest.raises(StudyError, match=r"space\.tracking: \['chunk-wise'\] → \['chunk-wise', 'online'\]"):
        run_study("study", online, AnalyticEvaluator(identity=NOW), url)


def test_other_thresholds_than_those_that_it_names_are_refused(url: str) -> None:
    run_study("study", small_study(trials=0), AnalyticEvaluator(identity=NOW), url)
    other = AnalyticEvaluator(identity={**NOW, "tracking": "delta_new 0.4"})
    with pytest.raises(StudyError, match=r"delta_new 0\.35 → delta_new 0\.4"):
        run_study("study", small_study(trials=1), other, url)


@pytest.mark.parametrize(
    ("space", "refused"),
    [
        ({}, False),
        ({"tracking": "online"}, False),
        ({"tracking": "online", "min_duration_off": 0.5}, False),
        ({"tracking": "online", "delta_new": 0.5}, True),
        ({"tracking": ["chunk-wise", "online"], "delta_new": [0.2, 0.5]}, True),
    ],
)
def test_an_embedding_without_thresholds_is_refused_before_anything_is_made_if_some_are_asked_for(
    space: dict[str, object], refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = sign_embedding()
    object.__setattr__(embedding, "online", OnlineTracking())
    monkeypatch.setattr(evaluator, "load_embedding", lambda *_, **__: embedding)

    def goes_on(source: str) -> None:
        raise CorpusError("the first model is made")

    monkeypatch.setattr(evaluator, "segmentation_checkpoint", goes_on)
    write_recording(tmp_path, "a")
    definition = parse({"corpus": str(tmp_path), "space": space}, "a test")
    error: type[Exception] = ModelError if refused else CorpusError
    message = r"tau_active, rho_update.* never tuned .*calibrate --online" if refused else "the first model is made"
    with pytest.raises(error, match=message):
        evaluator.build_evaluator(definition.evaluator_settings())
