"""`explorer explain`: by hand, and on real recordings and models."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

from explorer.cli import app
from explorer.diagnostics.explanation import Explanation, added_by_compression, explain, explanation
from explorer.storage import trial_record as record
from objectives.errors import StudyError
from objectives.evaluation.evaluator import Evaluator
from objectives.evaluation.oracle import CONDITIONS, Condition, Isolated, isolate
from objectives.measurement import ErrorCounts, pool
from objectives.operating_point import BASELINE, OperatingPoint
from tests.support.analytic_evaluator import measurement
from tests.support.export_study import LOW_BIT, real_definition, real_study, real_trial, tell
from tests.support.recommendation_study import add, empty_study

PLAIN = dataclasses.replace(LOW_BIT, precision="fp32")


def isolated(**confusion: Sequence[float]) -> Isolated:
    """Under each condition, what is confused in each recording, out of 100 s; 10 s are missed besides."""
    names: dict[str, Condition] = {name: name for name in CONDITIONS}
    return {
        names[condition]: {
            f"r{place:02d}": ErrorCounts(missed_detection=10.0, confusion=seconds, total=100.0)
            for place, seconds in enumerate(told)
        }
        for condition, told in confusion.items()
    }


def by_hand(theirs: Isolated | None = None, **confusion: Sequence[float]) -> Explanation:
    study = empty_study()
    number = add(study, [20.0, 20.0], rtf=0.2)
    ours = isolated(**confusion)
    added = added_by_compression(ours, theirs, 7) if theirs else None
    data = {"corpus": "analytic 0", "split": "eval"}
    return explanation("study", study.trials[number], BASELINE, "key", data, ours, added)


def test_costs_are_what_the_reference_would_win() -> None:
    told = by_hand(none=[20.0] * 12, segmentation=[2.0] * 12, clustering=[15.0] * 12, both=[0.0] * 12)
    assert [one.der for one in told.errors] == [30.0, 12.0, 25.0, 10.0]
    assert [one.perfect for one in told.errors] == list(CONDITIONS)
    assert (told.segmentation.points, told.clustering.points, told.apart.points) == pytest.approx((18.0, 5.0, 13.0))
    assert not told.segmentation.tied
    assert told.added is None
    assert "20.00 points are confusion" in told.said[0]
    assert told.said[1].startswith(
        "So the segmentation costs more points (+18.00 [+18.00, +18.00]) than the clustering"
    )
    assert not any("few recordings" in caveat for caveat in told.caveats)
    assert any("20.0000 %, and 30.0000 % were measured now" in caveat for caveat in told.caveats)


def test_what_the_recordings_cannot_tell_is_tied() -> None:
    told = by_hand(none=[20.0] * 4, segmentation=[0.0, 20.0] * 2, clustering=[20.0, 0.0] * 2, both=[0.0] * 4)
    assert told.apart.tied
    assert told.said[1].startswith("These 4 recordings cannot show whether the ")
    assert any("few recordings (4)" in caveat for caveat in told.caveats)


def test_a_single_recording_has_no_interval_and_no_tie() -> None:
    told = by_hand(none=[20.0], segmentation=[20.0], clustering=[12.0], both=[0.0])
    assert (told.segmentation.interval, told.apart.tied) == (None, None)
    assert told.said[1] == "So the clustering costs more points (+8.00) than the segmentation (+0.00)."
    assert any("a single recording" in caveat for caveat in told.caveats)


def test_what_compression_adds_is_the_segmentations_where_names_are_perfect() -> None:
    confusion = {"none": [20.0] * 12, "segmentation": [2.0] * 12, "clustering": [15.0] * 12, "both": [0.0] * 12}
    told = by_hand(isolated(none=[10.0] * 12, clustering=[8.0] * 12), **confusion).added
    assert told is not None
    assert told.trial == 7
    assert [one.der for one in told.errors] == [20.0, 18.0]
    # 15 - 8 with perfect names; (20 - 15) - (10 - 8) besides
    parts = (told.total.points, told.segmentation.points, told.clustering.points)
    assert parts == pytest.approx((10.0, 7.0, 3.0))


@pytest.fixture(scope="module")
def study_and_evaluator(
    excerpts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[optuna.Study, Evaluator]]:
    """A low-bit point, which the study has uncompressed as well, and what measures them, built once."""
    url = f"sqlite:///{tmp_path_factory.mktemp('explained')}/studies.db"
    study, evaluator = real_study(real_definition(excerpts), url)
    for point in (LOW_BIT, PLAIN):
        real_trial(study, evaluator, point)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("explorer.diagnostics.measured_trials.build_evaluator", lambda settings: evaluator)
        yield study, evaluator


@pytest.fixture(scope="module")
def told(study_and_evaluator: tuple[optuna.Study, Evaluator]) -> Explanation:
    return explain(study_and_evaluator[0], 0)


def test_a_low_bit_trial_is_explained(told: Explanation, study_and_evaluator: tuple[optuna.Study, Evaluator]) -> None:
    trial, plain = study_and_evaluator[0].trials
    as_it_is, segmentation, clustering, both = told.errors
    assert as_it_is.der == pytest.approx(trial.values[0], abs=1e-9)
    assert dict(as_it_is.recordings) == trial.user_attrs[record.RECORDINGS]
    for one in told.errors:
        assert one.der == pytest.approx(one.false_alarm + one.missed_detection + one.confusion)
    same = [(one.false_alarm, one.missed_detection) for one in (as_it_is, clustering, segmentation, both)]
    assert same[0] == pytest.approx(same[1])
    assert same[2] == pytest.approx(same[3])
    assert both.der <= segmentation.der < as_it_is.der
    assert told.segmentation.points == pytest.approx(as_it_is.der - segmentation.der)
    assert told.clustering.points == pytest.approx(as_it_is.der - clustering.der)
    added = told.added
    assert added is not None
    assert added.trial == plain.number
    assert added.errors[0].der == pytest.approx(plain.values[0], abs=1e-9)
    assert added.total.points == pytest.approx(trial.values[0] - plain.values[0])
    assert added.total.points == pytest.approx(added.segmentation.points + added.clustering.points)
    assert told.time is not None
    assert told.time.rtf == trial.values[2]
    assert told.time.stages is not None
    assert sum(told.time.stages.values()) == pytest.approx(told.time.rtf)
    assert not any("were measured now" in caveat for caveat in told.caveats)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_every_mode_is_isolated(study_and_evaluator: tuple[optuna.Study, Evaluator], mode: str) -> None:
    """Offline, pauses are closed after naming, so that who speaks when depends on the names a little."""
    evaluator = study_and_evaluator[1]
    point = OperatingPoint(mode=mode)
    found: Mapping[str, ErrorCounts] = {name: pool(one.values()) for name, one in isolate(evaluator, point).items()}
    assert found["none"] == pool(evaluator.errors(point).values())
    assert len({round(one.total, 6) for one in found.values()}) == 1
    assert found["both"].der <= found["segmentation"].der < found["none"].der
    assert found["both"].confusion == pytest.approx(0.0, abs=1e-9)
    within = 1e-9 if mode == "online" else 0.05 * found["none"].total
    for kind in ("false_alarm", "missed_detection"):
        assert getattr(found["clustering"], kind) == pytest.approx(getattr(found["none"], kind), abs=within)


def test_another_model_corpus_or_trial_is_refused(
    study_and_evaluator: tuple[optuna.Study, Evaluator],
) -> None:

    study = empty_study(real_definition(Path("any")))
    other = tell(study, measurement(BASELINE))
    with pytest.raises(StudyError, match=r"trial 0 of 'study' cannot be compared: .*corpus: analytic → "):
        explain(study, other)
    key = dataclasses.replace(measurement(BASELINE), data={})
    study = empty_study(real_definition(Path("any")))
    study.set_user_attr("identity", "{}")
    with pytest.raises(StudyError, match="trial 0 ran the model model-fp32, and the same settings make "):
        explain(study, tell(study, key))
    with pytest.raises(StudyError, match="no trial 9"):
        explain(study, 9)


def test_the_command_prints_a_table_and_json(told: Explanation, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    empty_study(url=url)
    monkeypatch.setattr("explorer.diagnostics.explanation.explain", lambda *given: told)
    words = ["explain", "study", "0", "--storage", url]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    for needle in ("oracle segmentation", "unpruned fp32 (trial 1)", "added by compression", "embedding", *told.said):
        assert needle in shown.stdout
    said = json.loads(CliRunner().invoke(app, [*words, "--format", "json"]).stdout)
    assert said == json.loads(json.dumps(dataclasses.asdict(told)))
    assert said["errors"][3]["perfect"] == "both"
    assert "explorer explain quickstart 13" in CliRunner().invoke(app, ["explain", "--help"]).output
