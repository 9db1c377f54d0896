"""Operating point × recordings → Measurement, on 12 s of real meetings."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

import objectives.evaluation.evaluator
from objectives import machine
from objectives.compression.compressor import FinishedModel
from objectives.compression.settings import CompressionSettings
from objectives.corpora.corpus import Recording
from objectives.corpora.sources import load_corpus
from objectives.errors import CorpusError, EvaluationError, LeakageError
from objectives.evaluation.calibration import threshold_sweep
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.measurement import ErrorCounts, Measurement, Stop, Stopped, pool
from objectives.models.contract import SAMPLE_RATE
from objectives.operating_point import BASELINE, OFFLINE_BASELINE, OperatingPoint, Pruning
from objectives.runtime.runtime import Runtime
from objectives.runtime.torch_runtime import TorchRuntime
from objectives.streaming.clustering import ALWAYS_WHOLE
from tests.support.real_excerpts import CALIB, EVAL, SECONDS, write_excerpts

POINT = OperatingPoint(1.0, 0.5)
REPEATS = 1  # wherever time is taken, so that one process takes it
PRUNED = OperatingPoint(pruning=Pruning("linear", 0.4))


@pytest.fixture(scope="module")
def evaluator(excerpts: Path) -> Iterator[Evaluator]:
    with build_evaluator(EvaluatorSettings(corpus=str(excerpts), repeats=REPEATS)) as evaluator:
        yield evaluator


@pytest.fixture(scope="module")
def measurement(evaluator: Evaluator) -> Measurement:
    return evaluator.measure(POINT)


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
    assert len(measurement.timing.rtf) == REPEATS
    assert measurement.timing.threads == 1
    assert measurement.machine == machine.describe()
    model = evaluator.model(POINT)
    assert (measurement.model_key, measurement.kept, measurement.story) == (model.key, model.kept, model.story)


def test_the_same_point_makes_the_same_errors_again(measurement: Measurement, evaluator: Evaluator) -> None:
    stages: list[tuple[str, float]] = []
    again = evaluator.measure(POINT, lambda stage, fraction: stages.append((stage, fraction)))
    assert again.counts == measurement.counts
    assert again.model_key == measurement.model_key
    # progress only grows, and reaches the end of both stages
    accuracy = [fraction for stage, fraction in stages if stage == "accuracy"]
    assert accuracy == sorted(accuracy)
    assert accuracy[-1] == pytest.approx(1.0)
    assert stages[:2] == [("cost", 0.0), ("cost", 1.0)]


def test_windows_of_another_device_change_who_is_named_and_not_what_is_timed(
    measurement: Measurement, evaluator: Evaluator, excerpts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch on the CPU stands in for a GPU: the same code but for the device."""
    opened: list[str] = []

    def in_torch(model: FinishedModel, threads: int, device: str) -> Runtime:
        opened.append(device)
        return TorchRuntime(model, torch.device("cpu"), fixed_batch=8)

    monkeypatch.setattr(machine, "name_of", lambda device: f"{device} GPU")
    with build_evaluator(EvaluatorSettings(corpus=str(excerpts), repeats=REPEATS, device="cuda")) as other:
        assert set(other.identity.items()) ^ set(evaluator.identity.items()) == {("accuracy", "cuda GPU")}
        monkeypatch.setattr(objectives.evaluation.evaluator, "open_runtime", in_torch)
        measured = other.measure(POINT)
    assert opened == ["cuda"]
    assert measurement.kernel.startswith("onnxruntime ")
    assert measured.kernel == f"torch {torch.__version__} cpu native"
    assert (measured.execution, measured.timing.threads) == ("native", 1)
    assert measured.pooled.der == pytest.approx(measurement.pooled.der, abs=0.5)


def test_fp16_is_half_the_size_and_emulated(measurement: Measurement, evaluator: Evaluator) -> None:
    narrow = evaluator.measure(OperatingPoint(POINT.chunk_length, POINT.right_context, precision="fp16"))
    assert narrow.execution == "emulated"
    assert narrow.size_bytes == pytest.approx(measurement.size_bytes / 2, rel=0.01)
    assert narrow.model_key != measurement.model_key
    assert narrow.pooled.der == pytest.approx(measurement.pooled.der, abs=0.5)


def test_other_latency_makes_other_errors(measurement: Measurement, evaluator: Evaluator) -> None:
    errors = evaluator.errors(OperatingPoint(1.0, 0.0))
    assert errors != measurement.counts
    # the same speech is scored
    assert pool(errors.values()).total == pytest.approx(measurement.pooled.total)


def test_the_offline_mode_is_measured_like_any_other_point(measurement: Measurement, evaluator: Evaluator) -> None:
    stages: list[tuple[str, float]] = []
    offline = evaluator.measure(OFFLINE_BASELINE, lambda stage, fraction: stages.append((stage, fraction)))
    assert offline.operating_point.latency == math.inf
    # the same speech is scored, with other errors
    assert {uri: counts.total for uri, counts in offline.counts.items()} == {
        uri: counts.total for uri, counts in measurement.counts.items()
    }
    assert offline.counts != measurement.counts
    assert (offline.model_key, offline.size_bytes) == (measurement.model_key, measurement.size_bytes)
    assert len(offline.timing.rtf) == len(offline.timing.baseline_rtf) == REPEATS
    accuracy = [fraction for stage, fraction in stages if stage == "accuracy"]
    assert accuracy == sorted(accuracy)
    assert accuracy[-1] == pytest.approx(1.0)


@dataclass
class Strict:
    """A judge that stops whatever knows as much as it waits for."""

    stops_at: str
    seen: list[tuple[str, ...]] = field(default_factory=list)

    def order(self, size: float, rtf: float, durations: Mapping[str, float]) -> tuple[str, ...]:
        assert durations == dict.fromkeys(EVAL, SECONDS)
        return tuple(sorted(EVAL, reverse=True))

    def look(self, size: float, rtf: float | None, counts: Mapping[str, ErrorCounts]) -> Stop | None:
        assert size == pytest.approx(5.63, abs=0.01)
        self.seen.append(tuple(counts))
        known = "size" if rtf is None else "rtf" if not counts else f"{len(counts)} recordings"
        return Stop("limit", known) if known == self.stops_at else None


@pytest.mark.parametrize(
    ("stops_at", "timed", "scored"), [("size", False, 0), ("rtf", True, 0), ("1 recordings", True, 1)]
)
def test_a_judge_stops_what_it_has_seen_enough_of(
    measurement: Measurement, evaluator: Evaluator, stops_at: str, timed: bool, scored: int
) -> None:
    stopped = evaluator(POINT, judge=Strict(stops_at))
    assert isinstance(stopped, Stopped)
    assert stopped.stop.reason == stops_at
    assert (stopped.timing is not None) == timed
    expected = sorted(EVAL, reverse=True)[:scored]
    assert stopped.counts == {uri: measurement.counts[uri] for uri in expected}
    assert (stopped.size_bytes, stopped.model_key) == (measurement.size_bytes, measurement.model_key)


def test_what_is_not_stopped_is_measured_in_the_judges_order(measurement: Measurement, evaluator: Evaluator) -> None:
    judge = Strict("never")
    whole = evaluator(POINT, judge=judge)
    assert isinstance(whole, Measurement)
    assert list(whole.counts) == sorted(EVAL, reverse=True)
    assert whole.counts == measurement.counts
    last = tuple(sorted(EVAL, reverse=True))
    assert judge.seen == [(), (), last[:1], last]
    # one that only says no when all is known comes too late to stop anything
    assert isinstance(evaluator(POINT, judge=Strict(f"{len(EVAL)} recordings")), Measurement)


def test_calib_is_measured_apart(excerpts: Path, evaluator: Evaluator) -> None:
    stages: list[str] = []
    errors = evaluator.calibration_errors(OFFLINE_BASELINE, lambda stage, fraction: stages.append(stage))
    assert list(errors) == [CALIB]
    assert errors == build_evaluator(EvaluatorSettings(corpus=str(excerpts), split="calib")).errors(OFFLINE_BASELINE)
    assert set(stages) == {"accuracy on calib"}


def with_splits(corpus: Path, **splits: list[str]) -> str:
    write_excerpts(corpus)
    (corpus / "splits.json").write_text(json.dumps(splits))
    return str(corpus)


def test_models_are_made_from_train_and_calib_of_the_corpus(tmp_path: Path, evaluator: Evaluator) -> None:
    assert evaluator.compressor.training is None  # the corpus has none
    assert evaluator.compressor.calibration is not None
    assert [recording.uri for recording in evaluator.compressor.calibration.recordings] == [CALIB]
    settings = CompressionSettings(iterations=2)
    first, second = EVAL
    other = build_evaluator(
        EvaluatorSettings(with_splits(tmp_path, train=[first], eval=[second]), compression=settings)
    ).compressor
    assert other.settings == settings
    assert other.calibration is None
    assert other.training is not None
    assert [recording.uri for recording in other.training.recordings] == [first]


def test_no_choice_without_calib(tmp_path: Path) -> None:
    evaluator = build_evaluator(EvaluatorSettings(with_splits(tmp_path, train=[EVAL[0]], eval=[EVAL[1]])))
    with pytest.raises(EvaluationError, match=r"no split calib.*splits\.json"):
        evaluator.calibration_errors(BASELINE)


LOW_BIT = OperatingPoint(precision="int8_ptq")
QAT = OperatingPoint(precision="int4_qat")


@pytest.mark.parametrize(
    ("split", "refused", "allowed"),
    [
        ("train", (PRUNED, QAT), (BASELINE, OperatingPoint(precision="fp16"))),
        ("calib", (LOW_BIT, QAT), (BASELINE,)),
        ("all", (PRUNED, LOW_BIT, QAT), (BASELINE,)),
    ],
)
def test_what_a_model_is_made_from_is_not_what_it_is_measured_on(
    tmp_path: Path, split: str, refused: tuple[OperatingPoint, ...], allowed: tuple[OperatingPoint, ...]
) -> None:
    first, second = EVAL
    evaluator = build_evaluator(
        EvaluatorSettings(with_splits(tmp_path, train=[first], eval=[second], calib=[CALIB]), split=split)
    )
    for point in refused:
        for measure in (evaluator, evaluator.model, evaluator.runtime, evaluator.errors):
            with pytest.raises(LeakageError, match=r"would be evaluated, and models are made from it"):
                measure(point)
    for point in allowed:
        assert evaluator.model(point).size_bytes > 0


def test_nor_is_a_choice_made_on_what_a_model_was_trained_on(tmp_path: Path) -> None:
    """`calib` holds a copy of `train` in another format, which no hash of files tells."""
    write_excerpts(tmp_path)
    first, second = EVAL
    samples, rate = soundfile.read(tmp_path / f"{first}.wav", dtype="float32")
    soundfile.write(tmp_path / "copy.flac", samples, rate)
    (tmp_path / "copy.rttm").write_text((tmp_path / f"{first}.rttm").read_text().replace(first, "copy"))
    (tmp_path / "splits.json").write_text(json.dumps({"train": [first], "eval": [second], "calib": ["copy"]}))
    evaluator = build_evaluator(EvaluatorSettings(str(tmp_path)))
    with pytest.raises(LeakageError, match=rf"'copy' .* train holds '{first}'"):
        evaluator.calibration_errors(PRUNED)
    assert list(evaluator.calibration_errors(BASELINE)) == ["copy"]


def test_few_models_are_open_at_a_time(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = OperatingPoint(precision="fp16")
    wide = evaluator.runtime(BASELINE)
    evaluator.runtime(narrow)
    assert evaluator.runtime(BASELINE) is wide
    monkeypatch.setattr(objectives.evaluation.evaluator, "OPEN_RUNTIMES", 1)
    evaluator.runtime(narrow)
    assert evaluator.runtime(BASELINE) is not wide


def test_identity_changes_with_whatever_changes_an_answer(excerpts: Path, evaluator: Evaluator, tmp_path: Path) -> None:
    def identity(folder: Path = excerpts, repeats: int = REPEATS, **settings: Any) -> Mapping[str, str]:
        return build_evaluator(EvaluatorSettings(corpus=str(folder), repeats=repeats, **settings)).identity

    known = evaluator.identity
    assert identity() == known
    others = {
        "split": identity(split="all"),
        "cost": identity(repeats=3),
        "compression": identity(compression=CompressionSettings(seed=1)),
        "corpus": identity(folder=_with_another_label(excerpts, tmp_path / excerpts.name)),
    }
    for key, other in others.items():
        assert {name for name in known if known[name] != other[name]} == {key}
    other = identity(clustering_threshold=0.7)  # of both ways to find speakers
    assert {name for name in known if known[name] != other[name]} == {"clustering", "offline clustering"}


def test_of_hours_the_bound_of_voices_is_told_and_minutes_are_timed(
    excerpts: Path, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ALWAYS_WHOLE == 1800
    assert evaluator.identity["clustering"] == "silhouette"
    assert evaluator.identity["offline clustering"] == "centroid 0.8"
    monkeypatch.setattr("objectives.evaluation.evaluator.ALWAYS_WHOLE", SECONDS - 0.1)
    monkeypatch.setattr("objectives.evaluation.evaluator.TIMED_SECONDS", 2.0)
    long = build_evaluator(EvaluatorSettings(corpus=str(excerpts)))
    assert long.identity["clustering"] == "silhouette, voices 3600"
    timed = long.stopwatch._settings.waveform
    assert len(timed) == 2 * SAMPLE_RATE
    assert timed.base is None, "a view keeps all of it"


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
    assert identity["segmentation"] == evaluator.model(BASELINE).key
    assert identity["embedding"] == evaluator.accuracy.embedding.key
    assert {f"machine {name}" for name in machine.describe()} < identity.keys()
    json.dumps(dict(identity))  # goes into a study's attributes


def test_audio_that_turns_unreadable_fails_the_point_by_name(tmp_path: Path) -> None:
    corpus = write_excerpts(tmp_path)
    evaluator = build_evaluator(EvaluatorSettings(corpus=str(corpus), repeats=REPEATS))
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
        build_evaluator(EvaluatorSettings(corpus=str(corpus))).errors(BASELINE)


def test_a_split_that_is_not_there_is_refused(excerpts: Path) -> None:
    with pytest.raises(CorpusError, match=r"'test'.*eval"):
        build_evaluator(EvaluatorSettings(corpus=str(excerpts), split="test"))


@pytest.mark.parametrize("point", [BASELINE, OFFLINE_BASELINE])
def test_a_sweep_finds_what_single_measurements_find(excerpts: Path, point: OperatingPoint) -> None:
    fractions: list[float] = []
    evaluator = build_evaluator(EvaluatorSettings(corpus=str(excerpts), split="calib"))
    found, best = threshold_sweep(evaluator, (0.2, 0.8), point, fractions.append)
    assert [one.value for one in found] == [0.2, 0.8]
    assert fractions == [1.0]  # one recording
    single = build_evaluator(EvaluatorSettings(corpus=str(excerpts), split="calib", clustering_threshold=0.2))
    assert found[0].counts == single.errors(point)
    ders = {one.value: one.der for one in found}
    assert ders[best] <= min(ders.values()) + 0.05


def test_recordings_are_those_of_the_split(excerpts: Path, evaluator: Evaluator) -> None:
    expected: tuple[Recording, ...] = load_corpus(excerpts).split("eval")
    assert [recording.uri for recording in evaluator.recordings] == [recording.uri for recording in expected]
