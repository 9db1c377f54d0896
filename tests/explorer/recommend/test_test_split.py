"""The split `test`: scored once, by real models on a small real corpus, and by a formula where that is enough."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import objectives.evaluation.evaluator
from explorer.recommend.budgets import Budgets
from explorer.recommend.recommendation import recommend
from explorer.recommend.test_split import SCORE, SETTINGS, held_out, other_machine
from explorer.statistics.bootstrap import pooled_der
from explorer.storage import trial_record as record
from explorer.storage.study_record import IDENTITY, stored_definition
from objectives.errors import ModelError, StudyError
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.measurement import ErrorCounts
from objectives.operating_point import OperatingPoint
from tests.support.analytic_evaluator import AnalyticEvaluator, small_study
from tests.support.corpora import write_recording
from tests.support.real_excerpts import EVAL, write_excerpts
from tests.support.recommendation_study import add, add_baseline, empty_study

TEST_URIS = ("trn00", "dev01")


# --- on real models


@pytest.fixture(scope="module")
def excerpts_with_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of short real recordings with a split test."""
    return write_excerpts(tmp_path_factory.mktemp("held-out"), TEST_URIS)


@pytest.fixture
def real(excerpts_with_test: Path, url: str) -> optuna.Study:
    """A study of that corpus by the evaluator's identity, with figures on eval by hand: nothing had to be timed."""
    definition = small_study(corpus=str(excerpts_with_test))
    study = empty_study(definition, url)
    with build_evaluator(definition.evaluator_settings()) as evaluator:
        told = definition.identity() | {f"evaluator.{key}": value for key, value in evaluator.identity.items()}
    study.set_user_attr(IDENTITY, json.dumps(told))
    add_baseline(study, [20.0, 22.0])
    add(study, [19.0, 22.0], 6.0, point=OperatingPoint(2.0))
    return study


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[OperatingPoint, tuple[str, ...]]]:
    """Every scoring: the point, and on which recordings."""
    made: list[tuple[OperatingPoint, tuple[str, ...]]] = []
    score = Evaluator.errors

    def counted(self: Evaluator, point: OperatingPoint, *more: Any) -> Mapping[str, ErrorCounts]:
        made.append((point, tuple(recording.uri for recording in self.recordings)))
        return score(self, point, *more)

    monkeypatch.setattr(Evaluator, "errors", counted)
    return made


def test_each_recommended_point_is_scored_on_test_once(
    real: optuna.Study, excerpts_with_test: Path, calls: list[tuple[OperatingPoint, tuple[str, ...]]]
) -> None:
    stages: list[tuple[str, float]] = []
    # the baseline is recommended, and the reference besides: one scoring
    first = recommend(real, Budgets(latency=1.0), on_progress=lambda stage, done: stages.append((stage, done)))
    assert calls == [(OperatingPoint(1.0), TEST_URIS)]
    assert first.test.status == "scored"
    assert stages[-1] == ("trial 0 on test, 1 of 1: accuracy", 1.0)
    (one,) = first.recommendations
    assert one.test is not None
    assert set(one.test.recordings) == set(TEST_URIS)
    assert one.test.der == pytest.approx(pooled_der(one.test.scored))
    assert one.test.der != one.row.figures.der
    assert one.baseline is not None
    assert one.baseline.test is not None
    assert one.baseline.test.points == 0.0
    assert "few recordings in test: 2" in one.caveats
    assert not any("chosen on the split" in caveat for caveat in one.caveats)

    # the same again, from what the study keeps, in another process if need be: nothing is scored
    again = optuna.load_study(study_name="study", storage=real._storage)
    assert recommend(again, Budgets(latency=1.0)) == first
    assert len(calls) == 1

    # other budgets add a point, and only that
    wider = recommend(again, Budgets())
    assert [point.chunk_length for point, _ in calls] == [1.0, 2.0]
    assert [one.row.trial for one in wider.recommendations] == [1, 0]
    other = wider.recommendations[0]
    assert other.baseline is not None
    assert other.baseline.test is not None
    assert other.test is not None
    assert other.baseline.test.points == pytest.approx(other.test.der - one.test.der)
    assert other.baseline.test.interval is not None
    assert other.baseline.test.interval.recordings == len(TEST_URIS)

    # what it says of a point is what an evaluator of the split says
    with build_evaluator(EvaluatorSettings(corpus=str(excerpts_with_test), split="test")) as evaluator:
        counts = evaluator.errors(OperatingPoint(2.0), lambda stage, done: None)
    assert {uri: one.der for uri, one in counts.items()} == pytest.approx(
        {uri: told["der"] for uri, told in other.test.recordings.items()}
    )


def test_a_corpus_that_changed_is_not_scored(
    real: optuna.Study, excerpts_with_test: Path, calls: list[tuple[OperatingPoint, tuple[str, ...]]]
) -> None:
    """Swapped splits: what was searched on would be the test."""
    splits = excerpts_with_test / "splits.json"
    before = splits.read_text()
    splits.write_text(json.dumps({"eval": TEST_URIS, "calib": ["trn05"], "test": EVAL}))
    try:
        advice = recommend(real, Budgets())
    finally:
        splits.write_text(before)
    assert calls == []
    assert advice.test.status == "unavailable"
    assert "something has changed since the study was run: corpus: " in advice.test.note
    assert all(one.test is None for one in advice.recommendations)


# --- by formula, with a corpus on disk that nobody needs to hear


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for uri in ("a", "b", "c"):
        write_recording(tmp_path / "corpus", uri)
    (tmp_path / "corpus" / "splits.json").write_text('{"eval": ["a", "b"], "test": ["c"]}')
    return tmp_path / "corpus"


@pytest.fixture
def study(corpus: Path) -> optuna.Study:
    study = empty_study(small_study(corpus=str(corpus)))
    add_baseline(study, [20.0, 22.0])
    add(study, [25.0, 23.0], 1.0)
    return study


Build = Callable[[EvaluatorSettings], AnalyticEvaluator]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[[Build], None]:
    """Have evaluators built by a function."""
    return lambda function: monkeypatch.setattr(objectives.evaluation.evaluator, "build_evaluator", function)


def test_the_evaluator_is_the_studys_but_for_the_split(study: optuna.Study, build: Callable[[Build], None]) -> None:
    built: list[EvaluatorSettings] = []

    def remember(settings: EvaluatorSettings) -> AnalyticEvaluator:
        built.append(settings)
        return AnalyticEvaluator()

    build(remember)
    definition = stored_definition(study)
    assert recommend(study, Budgets()).test.status == "scored"
    assert built == [replace(definition.evaluator_settings(), split="test")]
    assert built[0].device == "cpu"


def test_a_study_of_a_gpu_is_scored_on_one(study: optuna.Study, build: Callable[[Build], None]) -> None:
    study.set_user_attr(IDENTITY, '{"evaluator.corpus": "analytic", "evaluator.accuracy": "cuda NVIDIA"}')

    def refuse(settings: EvaluatorSettings) -> AnalyticEvaluator:
        assert settings.device == "cuda"
        raise ModelError("device 'cuda': no GPU is visible")

    build(refuse)
    told = recommend(study, Budgets())
    assert told.test.status == "unavailable"
    assert "no GPU is visible" in told.test.note
    assert len(told.recommendations) == 2


def test_what_was_scored_before_an_interruption_is_kept(study: optuna.Study, build: Callable[[Build], None]) -> None:
    def interrupt(point: OperatingPoint) -> None:
        if len(evaluator.calls) == 1:
            raise KeyboardInterrupt

    evaluator = AnalyticEvaluator(before=interrupt)
    build(lambda settings: evaluator)
    with pytest.raises(KeyboardInterrupt):
        recommend(study, Budgets())
    assert evaluator.closed
    later = AnalyticEvaluator()
    build(lambda settings: later)
    assert set(recommend(study, Budgets()).test.scores) == {0, 1}
    assert len(evaluator.calls) == len(later.calls) == 1
    assert evaluator.calls != later.calls


def test_a_point_that_cannot_be_scored_is_told_and_the_others_have_their_figure(
    study: optuna.Study, build: Callable[[Build], None]
) -> None:
    build(lambda settings: AnalyticEvaluator(fails=frozenset([OperatingPoint(1.0)])))
    advice = recommend(study, Budgets())
    assert (advice.test.status, set(advice.test.scores)) == ("unavailable", {1})
    assert "trial 0 could not be scored on test (no answer at C = 1 s" in advice.test.note
    assert [one.row.trial for one in advice.recommendations if one.test] == [1]
    (other,) = (one for one in advice.recommendations if one.row.trial == 1)
    assert other.baseline is not None
    assert other.baseline.test is None


def test_another_machine_is_a_caveat_and_other_weights_are_refused(
    study: optuna.Study, build: Callable[[Build], None]
) -> None:
    identity = {"corpus": "analytic", "machine": "another formula"}
    build(lambda settings: AnalyticEvaluator(identity=identity))
    advice = recommend(study, Budgets(size=2.0), top=1)
    assert advice.test.status == "scored"
    assert any("another machine" in caveat for caveat in advice.recommendations[0].caveats)

    # the study keeps what the first scores were made with: others must not stand beside them
    study.set_user_attr(IDENTITY, "{}")
    build(lambda settings: AnalyticEvaluator(identity=identity | {"segmentation": "other weights"}))
    add(study, [10.0, 11.0], 0.5)
    changed = recommend(study, Budgets(size=2.0), top=1)
    assert changed.test.status == "unavailable"
    assert "segmentation: (absent) → other weights" in changed.test.note


def gone(study: optuna.Study, corpus: Path) -> None:
    corpus.rename(corpus.with_name("elsewhere"))


def without_test(study: optuna.Study, corpus: Path) -> None:
    (corpus / "splits.json").write_text('{"eval": ["a", "b"]}')


def searched_on(split: str) -> Callable[[optuna.Study, Path], None]:
    def happened(study: optuna.Study, corpus: Path) -> None:
        study.set_user_attr("definition", small_study(corpus=str(corpus), split=split).model_dump_json())

    return happened


@pytest.mark.parametrize(
    ("happened", "status", "note"),
    [
        (gone, "unavailable", "CorpusError: unknown corpus"),
        (without_test, "absent", "has no split 'test'"),
        (searched_on("test"), "searched", "the search itself looked at 'test'"),
        (searched_on("all"), "searched", "the search itself looked at 'all'"),  # of which test is a part
    ],
)
def test_why_there_is_no_figure(
    study: optuna.Study,
    corpus: Path,
    build: Callable[[Build], None],
    happened: Callable[[optuna.Study, Path], None],
    status: str,
    note: str,
) -> None:
    def refuse(settings: EvaluatorSettings) -> AnalyticEvaluator:
        raise AssertionError("nothing is to be built")

    build(refuse)
    happened(study, corpus)
    advice = recommend(study, Budgets())
    assert advice.test.status == status
    assert note in advice.test.note
    assert all("chosen on the split that it is scored on" in one.caveats[0] for one in advice.recommendations)
    assert not [key for key in study.user_attrs if key.startswith(SETTINGS)]


def test_what_the_study_keeps_needs_no_corpus(
    study: optuna.Study, corpus: Path, build: Callable[[Build], None]
) -> None:
    build(lambda settings: AnalyticEvaluator())
    before = recommend(study, Budgets())
    gone(study, corpus)
    assert recommend(study, Budgets()) == before
    add(study, [10.0, 11.0], 0.5)
    after = recommend(study, Budgets())
    assert (after.test.status, set(after.test.scores)) == ("unavailable", {0})  # 2 beats both; 0 is the baseline
    assert after.baseline_test == before.baseline_test


def kept(der: float = 20.0, **more: object) -> dict[str, object]:
    """What a study keeps of a point on test: of two recordings, no two figures alike."""
    counts = {"c": ErrorCounts(1.0, 2.0, 3.0, 40.0), "d": ErrorCounts(0.5, 0.5, 5.0, 20.0)}
    pooled = record.errors_of(counts["c"] + counts["d"])
    recordings = {uri: record.errors_of(one) for uri, one in counts.items()}
    return {"der": {**pooled, "der": der}, "recordings": recordings, "machine": {}} | more


def test_what_was_kept_is_read_to_the_digit(study: optuna.Study) -> None:
    study.set_user_attr(SCORE.format(trial=0), json.dumps(kept()))
    told = held_out(study, stored_definition(study), study.trials[:1])
    assert told.status == "scored"
    score = told.scores[0]
    assert (score.der, score.false_alarm, score.missed_detection, score.confusion) == pytest.approx(
        (20.0, 2.5, 100 * 2.5 / 60, 100 * 8 / 60)
    )
    assert score.scored == {"c": (6.0, 40.0), "d": (6.0, 20.0)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (kept(der=20.01), "a DER of 20.01, and of its recordings together 20"),
        (kept(der=float("nan")), "cannot be read"),
        (kept(machine="here"), "machine = 'here'"),
        ({"der": {}}, "KeyError"),
    ],
)
def test_a_score_that_was_damaged_is_named(study: optuna.Study, damage: dict[str, object], message: str) -> None:
    study.set_user_attr(SCORE.format(trial=0), json.dumps(damage))
    with pytest.raises(StudyError, match=rf"its attribute 'test_split:0' .*{message}"):
        held_out(study, stored_definition(study), study.trials)


def test_scores_on_different_recordings_are_not_compared(study: optuna.Study) -> None:
    study.set_user_attr(SCORE.format(trial=0), json.dumps(kept()))
    only = {"c": record.errors_of(ErrorCounts(1.0, 2.0, 5.0, 40.0))}
    study.set_user_attr(SCORE.format(trial=1), json.dumps(kept(recordings=only)))
    with pytest.raises(StudyError, match=r"'test_split:1' .*not of the recordings that trial 0 was scored on"):
        held_out(study, stored_definition(study), study.trials)


def test_what_the_first_were_scored_with_is_written_once(study: optuna.Study, build: Callable[[Build], None]) -> None:
    build(lambda settings: AnalyticEvaluator())
    held_out(study, stored_definition(study), study.trials[:1])
    first = study.user_attrs[SETTINGS]
    build(lambda settings: AnalyticEvaluator(identity={"corpus": "analytic", "machine": "another formula"}))
    told = held_out(study, stored_definition(study), study.trials)
    assert (told.status, set(told.scores)) == ("scored", {0, 1})
    assert study.user_attrs[SETTINGS] == first == json.dumps({"corpus": "analytic", "machine": "a formula"})
    assert [other_machine(study, told.scores[trial]) for trial in (0, 1)] == [False, True]


def test_a_storage_that_cannot_be_written_stops_it_before_anything_is_scored(
    study: optuna.Study, build: Callable[[Build], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = AnalyticEvaluator()
    build(lambda settings: evaluator)

    def refuse(*words: Any) -> None:
        raise optuna.exceptions.StorageInternalError("read-only")

    monkeypatch.setattr(study._storage, "set_study_user_attr", refuse)
    with pytest.raises(StudyError, match="--no-test"):
        held_out(study, stored_definition(study), study.trials)
    assert evaluator.calls == []
