"""Operating point × recordings → Measurement, on 12 s of real meetings."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from objectives import machine
from objectives.calibration import threshold_sweep
from objectives.corpus import Recording
from objectives.errors import CorpusError, EvaluationError
from objectives.evaluation import Evaluator, Measurement, build_evaluator
from objectives.operating_point import BASELINE, OperatingPoint
from objectives.scoring import pool
from objectives.sources import load_corpus
from tests.objectives.excerpts import EVAL, SECONDS, write_excerpts

POINT = OperatingPoint(1.0, 0.5)


@pytest.fixture(scope="module")
def evaluator(excerpts: Path) -> Iterator[Evaluator]:
    with build_evaluator(corpus=str(excerpts), repeats=2) as evaluator:
        yield evaluator


@pytest.fixture(scope="module")
def measurement(evaluator: Evaluator) -> Measurement:
    return evaluator(POINT)


def test_every_recording_is_counted_and_the_counts_add_up(measurement: Measurement) -> None:
    assert sorted(measurement.counts) == sorted(EVAL)
    first, second = measurement.counts.values()
    assert measurement.pooled == first + second
    assert 0 < measurement.pooled.total <= 4 * SECONDS * len(EVAL)
    assert 0 < measurement.pooled.der < 100


def test_size_time_and_what_was_measured_are_told(measurement: Measurement, evaluator: Evaluator) -> None:
    assert measurement.operating_point == POINT
    assert measurement.size_mib == pytest.approx(5.63, abs=0.01)
    assert measurement.params == 1_473_265
    assert measurement.execution == "native"
    assert len(measurement.timing.rtf) == 2
    assert measurement.timing.threads == 1
    assert measurement.machine == machine.describe()
    assert measurement.model_key == evaluator.model("fp32").key


def test_the_same_point_makes_the_same_errors_again(measurement: Measurement, evaluator: Evaluator) -> None:
    stages: list[tuple[str, float]] = []
    again = evaluator(POINT, lambda stage, fraction: stages.append((stage, fraction)))
    assert again.counts == measurement.counts
    assert again.model_key == measurement.model_key
    # progress only grows, and reaches the end of both stages
    accuracy = [fraction for stage, fraction in stages if stage == "accuracy"]
    assert accuracy == sorted(accuracy)
    assert accuracy[-1] == pytest.approx(1.0)
    assert stages[-2:] == [("cost", 0.0), ("cost", 1.0)]


def test_fp16_is_half_the_size_and_emulated(measurement: Measurement, evaluator: Evaluator) -> None:
    narrow = evaluator(OperatingPoint(POINT.chunk_length, POINT.right_context, precision="fp16"))
    assert narrow.execution == "emulated"
    assert narrow.size_bytes == pytest.approx(measurement.size_bytes / 2, rel=0.01)
    assert narrow.model_key != measurement.model_key
    assert narrow.pooled.der == pytest.approx(measurement.pooled.der, abs=0.5)


def test_other_latency_makes_other_errors(measurement: Measurement, evaluator: Evaluator) -> None:
    errors = evaluator.streaming_errors(OperatingPoint(1.0, 0.0))
    assert errors != measurement.counts
    # the same speech is scored
    assert pool(errors.values()).total == pytest.approx(measurement.pooled.total)


def test_the_offline_mode_counts_the_same_recordings(measurement: Measurement, evaluator: Evaluator) -> None:
    fractions: list[float] = []
    errors = evaluator.offline_errors(on_progress=fractions.append)
    assert errors.keys() == measurement.counts.keys()
    assert {uri: counts.total for uri, counts in errors.items()} == {
        uri: counts.total for uri, counts in measurement.counts.items()
    }
    assert fractions == sorted(fractions)


def test_identity_changes_with_whatever_changes_an_answer(excerpts: Path, evaluator: Evaluator, tmp_path: Path) -> None:
    def identity(folder: Path = excerpts, repeats: int = 2, **settings: Any) -> Mapping[str, str]:
        return build_evaluator(corpus=str(folder), repeats=repeats, **settings).identity

    known = evaluator.identity
    assert identity() == known
    others = {
        "split": identity(split="all"),
        "clustering": identity(clustering_threshold=0.7),
        "cost": identity(repeats=3),
        "corpus": identity(folder=_with_another_label(excerpts, tmp_path / excerpts.name)),
    }
    for key, other in others.items():
        assert {name for name in known if known[name] != other[name]} == {key}


def _with_another_label(corpus: Path, copy: Path) -> Path:
    copy.mkdir()
    for path in corpus.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    table = copy / f"{EVAL[0]}.rttm"
    lines = table.read_text().splitlines()
    fields = lines[0].split()
    fields[7] = "somebody"
    table.write_text("\n".join([" ".join(fields), *lines[1:]]) + "\n")
    return copy


def test_identity_names_models_and_machine(evaluator: Evaluator) -> None:
    identity = evaluator.identity
    assert identity["segmentation"] == evaluator.model("fp32").key
    assert identity["embedding"] == evaluator.embedding.key
    assert {f"machine {name}" for name in machine.describe()} < identity.keys()
    json.dumps(dict(identity))  # goes into a study's attributes


def test_audio_that_turns_unreadable_fails_the_point_by_name(tmp_path: Path) -> None:
    corpus = write_excerpts(tmp_path)
    evaluator = build_evaluator(corpus=str(corpus))
    (corpus / f"{EVAL[1]}.wav").write_bytes(b"no longer audio")
    with pytest.raises(EvaluationError, match=rf"^{EVAL[1]}: .*{EVAL[1]}\.wav"):
        evaluator(BASELINE)
    with pytest.raises(CorpusError, match=rf"{EVAL[1]}\.wav"):
        evaluator.prepare()


def test_speech_that_the_collar_swallows_whole_cannot_be_measured(tmp_path: Path) -> None:
    corpus = write_excerpts(tmp_path)
    for uri in EVAL:
        (corpus / f"{uri}.rttm").write_text(f"SPEAKER {uri} 1 5.000 0.400 <NA> <NA> A <NA> <NA>\n")
    with pytest.raises(EvaluationError, match="no reference speech is left to score"):
        build_evaluator(corpus=str(corpus)).streaming_errors(BASELINE)


def test_a_split_that_is_not_there_is_refused(excerpts: Path) -> None:
    with pytest.raises(CorpusError, match=r"'test'.*eval"):
        build_evaluator(corpus=str(excerpts), split="test")


def test_a_sweep_finds_what_single_measurements_find(excerpts: Path) -> None:
    fractions: list[float] = []
    evaluator = build_evaluator(corpus=str(excerpts), split="calib")
    points, best = threshold_sweep(evaluator, (0.2, 0.8), fractions.append)
    assert [threshold for threshold, _ in points] == [0.2, 0.8]
    assert fractions == [1.0]  # one recording
    single = build_evaluator(corpus=str(excerpts), split="calib", clustering_threshold=0.2).offline_errors()
    assert points[0][1] == pool(single.values()).der
    assert dict(points)[best] <= min(der for _, der in points) + 0.05


def test_recordings_are_those_of_the_split(excerpts: Path, evaluator: Evaluator) -> None:
    expected: tuple[Recording, ...] = load_corpus(excerpts).split("eval")
    assert [recording.uri for recording in evaluator.recordings] == [recording.uri for recording in expected]
