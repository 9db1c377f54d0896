"""The accuracy plane says what the real loop says, whatever it shares and however many recordings it runs at once."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from objectives.cache.files import CACHE_VARIABLE, reading_arrays
from objectives.corpora.corpus import Recording
from objectives.evaluation.accuracy import AccuracyPlane
from objectives.evaluation.evaluator import Evaluator, build_evaluator
from objectives.evaluation.scoring import score
from objectives.evaluation.settings import EvaluatorSettings
from objectives.operating_point import TRACKINGS, UNPRUNED, OperatingPoint, Pruning
from objectives.streaming.clustering import ClusteringSettings
from objectives.streaming.loop import stream_live
from tests.objectives.compression.test_precisions import EVAL, TINY, TRAIN, write_corpus
from tests.support.empty_cache import fresh_cache

PRUNINGS = (UNPRUNED, Pruning("both", 0.4))
PRECISIONS = ("fp32", "int8_ptq", "int4_ptq")


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    """Of two recordings of 12 s, with models made from a tiny budget in a cache of its own."""
    folder = tmp_path_factory.mktemp("accuracy")
    cache = fresh_cache(folder / "cache")
    write_corpus(folder / "corpus", train=TRAIN, calib=("trn05",), eval=(*EVAL, "tst00"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        with build_evaluator(EvaluatorSettings(corpus=str(folder / "corpus"), compression=TINY)) as evaluator:
            yield evaluator


def seconds_on_a_log_scale(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(np.log(low), np.log(high)).map(lambda exponent: float(np.exp(exponent)))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk_length=seconds_on_a_log_scale(0.25, 5.0) | st.sampled_from([0.5, 1.0, 2.0]),
    right_context=st.sampled_from([0.0, 0.5, 1.0]) | seconds_on_a_log_scale(0.01, 5.0),
    pruning=st.sampled_from(PRUNINGS),
    precision=st.sampled_from(PRECISIONS),
    which=st.integers(0, 1),
    mode=st.sampled_from(TRACKINGS),
)
def test_labels_are_those_of_the_real_loop(
    evaluator: Evaluator,
    chunk_length: float,
    right_context: float,
    pruning: Pruning,
    precision: str,
    which: int,
    mode: str,
) -> None:
    """Windows are shared between the examples, as between the trials of a study."""
    point = OperatingPoint(chunk_length, right_context, pruning, precision, mode)
    recording, plane, runtime = evaluator.recordings[which], evaluator.accuracy, evaluator.runtime(point)
    live = stream_live(recording.waveform(), point, runtime, plane.embedding, plane.clustering)
    counts = evaluator.errors(point)
    assert counts[recording.uri] == score(recording.reference, live.annotation("live"), recording.annotated)
    windows = evaluator.windows(recording, point)
    assert plane.labels(recording, point, windows) == live.annotation("recording")


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_recordings_are_told_in_their_order_until_it_is_enough(evaluator: Evaluator, lanes: int) -> None:
    point = OperatingPoint()
    plane = AccuracyPlane(evaluator.accuracy.embedding, ClusteringSettings(0.8), lanes)
    model, runtime = evaluator.model(point), evaluator.runtime(point)
    recordings = evaluator.recordings * 3  # their URIs repeat, so count what was told
    told: list[tuple[str, ...]] = []

    def keep_going(counts: dict[str, object]) -> bool:
        told.append(tuple(counts))
        return len(told) < 4

    counts = plane.errors(recordings, point, model.key, runtime, lambda fraction: None, keep_going)
    assert len(told) == 4
    assert list(counts) == [recording.uri for recording in evaluator.recordings]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("windows")]


def test_audio_is_decoded_once_and_forgotten_when_there_is_too_much(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    read = Recording.waveform

    def counted(self: Recording) -> np.ndarray:
        decoded.append(self.uri)
        return read(self)

    def run(recordings: Sequence[Recording]) -> None:
        for recording in recordings:
            plane.windows(recording, model.key, runtime)

    monkeypatch.setattr(Recording, "waveform", counted)
    model, runtime = evaluator.model(OperatingPoint()), evaluator.runtime(OperatingPoint())
    first, second = evaluator.recordings
    plane = AccuracyPlane(evaluator.accuracy.embedding, ClusteringSettings(0.8), 1)
    run([first, second, first, second])
    assert decoded == [first.uri, second.uri]
    monkeypatch.setattr("objectives.evaluation.accuracy.AUDIO_BYTES", 1)
    run([first, second, second])
    assert decoded == [first.uri, second.uri, second.uri]


def test_windows_of_a_model_lie_beside_no_other(evaluator: Evaluator, tmp_path: Path) -> None:
    point, other = OperatingPoint(), OperatingPoint(precision="int8_ptq")
    recording = evaluator.recordings[0]
    ends = range(16_000, 160_000, 16_000)
    one, two = (evaluator.windows(recording, which) for which in (point, other))
    assert one._path is not None
    assert two._path is not None
    assert one._path.parent != two._path.parent
    assert not np.array_equal(one.ending_at(ends), two.ending_at(ends))


def test_lanes_read_arrays_one_at_a_time(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's headers are parsed by `ast`, which Python 3.11 cannot do in two threads (python/cpython#106905)."""
    held: list[bool] = []
    load = np.load

    def watched(*given: Any, **named: Any) -> Any:
        held.append(reading_arrays.locked())
        return load(*given, **named)

    point = OperatingPoint()
    evaluator.errors(point)
    monkeypatch.setattr(np, "load", watched)
    evaluator.errors(point)
    assert all(held)
    assert len(held) >= 2 * len(evaluator.recordings)  # windows and features of each
