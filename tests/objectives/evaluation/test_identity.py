"""What an evaluator says of itself: whatever changes its answers, and each of these alone."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from objectives import machine
from objectives.compression.compressor import Compressor, FinishedModel
from objectives.compression.settings import CompressionSettings, QuantizationOptions, RecoverySettings
from objectives.corpora.corpus import Corpus, Recording
from objectives.evaluation import evaluator
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import OnlineTracking
from objectives.streaming.clustering import ClusteringSettings
from tests.support import key_ingredients
from tests.support.key_ingredients import OTHER_RECORDING, RECORDING, fields_of
from tests.support.sign_models import sign_embedding

IDENTITY = {
    "name": "calls", "split": "eval", "model": "m", "steps": 120, "embedding": "e", "threshold": 0.8,
    "tracking": OnlineTracking(0.0, 1.0, 0.5), "repeats": 3, "threads": 1, "uri": "one", "code": "1", "device": "cpu",
    "processor": "x", "torch": "2", "voices": 3600,
}  # fmt: skip
OTHER_IDENTITY = {
    "name": "others", "split": "all", "model": "n", "steps": 121, "embedding": "f", "threshold": 0.75,
    "tracking": OnlineTracking(0.0, 1.0, 0.55), "repeats": 4, "threads": 2, "uri": "two", "code": "2", "device": "cuda",
    "processor": "y", "torch": "3", "voices": 3601,
}  # fmt: skip
TOLD_BY = {
    "name": "corpus", "split": "split", "model": "segmentation", "steps": "compression", "embedding": "embedding",
    "threshold": "clustering", "tracking": "tracking", "repeats": "cost", "threads": "cost", "uri": "cost",
    "code": "code", "device": "accuracy", "processor": "machine processor", "torch": "machine torch",
    "voices": "clustering",
}  # fmt: skip

# another URI is another corpus besides, and a threshold is the offline mode's too
AND_BY = {"uri": {"corpus"}, "threshold": {"offline clustering"}}


@pytest.fixture
def recording_of(tmp_path: Path) -> Callable[..., Recording]:
    assert fields_of(Recording) == {"uri", "audio", "duration", "reference", "annotated"}
    return functools.partial(key_ingredients.recording_of, tmp_path)


@pytest.fixture
def identity_of(
    monkeypatch: pytest.MonkeyPatch, recording_of: Callable[..., Recording]
) -> Callable[..., Mapping[str, str]]:
    """Of an evaluator without any real model."""

    def made(
        name: str,
        split: str,
        model: str,
        steps: int,
        embedding: str,
        threshold: float | None,
        tracking: OnlineTracking,
        repeats: int,
        threads: int,
        uri: str,
        code: str,
        device: Any,
        processor: str,
        torch: str,
        voices: int,
    ) -> Mapping[str, str]:
        # two in eval, of which the longer one is timed
        longer = recording_of(**{**RECORDING, "uri": uri})
        shorter = recording_of(**{**OTHER_RECORDING, "uri": "short"})
        corpus = Corpus(name, {"eval": (shorter, longer)})
        of = dataclasses.replace(sign_embedding(), key=embedding, online=tracking)
        with monkeypatch.context() as patch:
            patch.setattr(evaluator, "CODE_VERSION", code)
            patch.setattr(evaluator, "MOST_VOICES", voices)
            patch.setattr(evaluator, "ALWAYS_WHOLE", 1.0)
            patch.setattr(evaluator, "load_corpus", lambda *_: corpus)
            patch.setattr(evaluator, "load_embedding", lambda *_, **__: of)
            patch.setattr(evaluator, "segmentation_checkpoint", lambda source: Path("none"))
            finished = FinishedModel(model, Path("none"), "fp32", 1, "")
            patch.setattr(Compressor, "finish", lambda *_: finished)
            patch.setattr(machine, "name_of", lambda device: {"cpu": "cpu", "cuda": "cuda GPU"}[device])
            patch.setattr(machine, "describe", lambda: {"processor": processor, "torch": torch})
            return evaluator.build_evaluator(
                EvaluatorSettings(
                    corpus="any",
                    split=split,
                    clustering_threshold=threshold,
                    repeats=repeats,
                    threads=threads,
                    compression=CompressionSettings(RecoverySettings(steps=steps)),
                    device=device,
                )
            ).identity

    return made


@pytest.mark.parametrize("changed_one", IDENTITY)
def test_an_evaluator_says_what_changes_its_answers(
    identity_of: Callable[..., Mapping[str, str]], changed_one: str
) -> None:
    known = identity_of(**IDENTITY)
    other = identity_of(**{**IDENTITY, changed_one: OTHER_IDENTITY[changed_one]})
    told = {TOLD_BY[changed_one]} | AND_BY.get(changed_one, set())
    assert {name for name in known | other if known.get(name) != other.get(name)} == told


def test_an_evaluator_times_the_longest_recording(identity_of: Callable[..., Mapping[str, str]]) -> None:
    assert identity_of(**IDENTITY)["cost"] == "3 repeats, 1 threads, on one"


def test_every_setting_of_compression_and_threshold_is_told(identity_of: Callable[..., Mapping[str, str]]) -> None:
    told = identity_of(**IDENTITY)
    names = fields_of(CompressionSettings) | fields_of(RecoverySettings) | fields_of(QuantizationOptions)
    assert all(f'"{name}"' in told["compression"] for name in names)
    assert told["tracking"] == "tau_active 0, rho_update 1, delta_new 0.5"
    assert told["clustering"] == "threshold 0.8, voices 3600"
    assert told["offline clustering"] == f"{ClusteringSettings().method} 0.8"


def test_without_a_threshold_speakers_are_found_by_silhouette_and_offline_by_the_embeddings_own(
    identity_of: Callable[..., Mapping[str, str]],
) -> None:
    told = identity_of(**{**IDENTITY, "threshold": None})
    assert told["clustering"] == "silhouette, voices 3600"
    assert told["offline clustering"] == f"{ClusteringSettings().method} {sign_embedding().threshold:g}"
