"""Frame-level features and their pooling, against the models they are cut from."""

import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.backends.pyannote import WeSpeakerResNet34
from objectives.cache.assets import fetch
from objectives.cache.files import CACHE_VARIABLE
from objectives.corpora.sources import load_corpus
from objectives.errors import ModelError
from objectives.models.contract import SAMPLE_RATE
from objectives.models.embedding import Blocks, FeatureStream, SpeakerEmbedding, features_of
from objectives.models.embedding_features import recording_features
from objectives.models.embedding_loading import load_campplus, load_embedding, wespeaker_embedding
from objectives.models.sliding_buffer import Recent
from objectives.runtime.runtime import OnnxRuntime
from tests.support.sign_models import sign_embedding
from tests.support.stock_campplus import load_stock_campplus


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_all_tensors_of_the_checkpoint_are_used_and_none_is_left() -> None:
    path = fetch("campplus")
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = load_campplus(path)
    own = model.state_dict()
    assert len(state) == 937
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], state[name]) for name in state)


def test_another_state_dict_is_refused(tmp_path) -> None:
    path = tmp_path / "other.pt"
    state = torch.load(fetch("campplus"), map_location="cpu", weights_only=True)
    state.pop("head.conv1.weight")
    torch.save(state, path)
    with pytest.raises(ModelError, match=r"other\.pt.*937"):
        load_campplus(path)


def test_features_of_hours_take_the_memory_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 minutes, 7.7 MB of features; a block has 13 kB."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    signs, channels = sign_embedding(), 64
    wide = replace(
        signs,
        features=lambda samples: np.repeat(signs.features(samples), channels, axis=1),
        weight=np.zeros((2, 2 * channels), np.float32),
    )
    waveform = np.linspace(-1, 1, 1200 * SAMPLE_RATE + 77, dtype=np.float32)
    tracemalloc.start()
    try:
        features = recording_features(wide, waveform)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3e6
    np.testing.assert_array_equal(features, features_of(wide, waveform))


@torch.inference_mode()
def test_features_and_pooling_make_the_models_own_embedding(excerpt: np.ndarray, embedding: SpeakerEmbedding) -> None:
    """Cut in two and run by ONNX Runtime, CAM++ says what the whole model says in torch."""
    model = load_stock_campplus(fetch("campplus"))
    samples = excerpt[: 3 * SAMPLE_RATE]
    features = embedding.features(samples)
    mask = np.arange(len(features)) % 3 > 0
    waveform = torch.from_numpy(samples)[None, None]
    expected = model(waveform, weights=torch.from_numpy(mask.astype(np.float32))[None])[0].numpy()
    np.testing.assert_allclose(embedding.pool(features[mask]), expected, atol=2e-3)


def test_an_embedding_tells_voices_apart(embedding: SpeakerEmbedding) -> None:
    """Turns of at least 2 s of the AMI excerpts: the same speaker's are alike, others' are not."""
    voices: list[tuple[str, np.ndarray]] = []
    for recording in load_corpus("ami-excerpts").split("eval"):
        waveform = recording.waveform()
        for turn, _, speaker in recording.reference.itertracks(yield_label=True):
            if turn.duration >= 2.0:
                samples = waveform[round(turn.start * SAMPLE_RATE) : round(turn.end * SAMPLE_RATE)]
                voices.append((speaker, embedding.pool(embedding.features(samples))))
    pairs = list(itertools.combinations(voices, 2))
    same = [cosine(one, other) for (who, one), (whom, other) in pairs if who == whom]
    different = [cosine(one, other) for (who, one), (whom, other) in pairs if who != whom]
    assert len(same) >= 5
    assert len(different) >= 20
    assert np.median(same) > np.median(different) + 0.3


def test_one_frame_has_no_embedding(embedding: SpeakerEmbedding) -> None:
    assert np.isnan(embedding.pool(np.ones((1, embedding.channels), np.float32))).all()
    assert np.isfinite(embedding.pool(np.ones((2, embedding.channels), np.float32))).all()


@settings(max_examples=6, deadline=None)
@given(seconds=st.floats(0.01, 7.0), steps=st.lists(st.floats(0.01, 3.0), max_size=4))
def test_features_are_the_same_whenever_they_are_asked_for(
    excerpt: np.ndarray, embedding: SpeakerEmbedding, seconds: float, steps: list[float]
) -> None:
    waveform = excerpt[: round(seconds * SAMPLE_RATE)]
    stream, audio = FeatureStream(embedding, seconds=10.0), Recent(10 * SAMPLE_RATE)
    for step in steps:
        heard = min(len(waveform), len(audio) + round(step * SAMPLE_RATE))
        audio.append(waveform[len(audio) : heard])
        assert len(stream.hear(audio)) == embedding.frames_before(heard)
    audio.append(waveform[len(audio) :])
    made = stream.hear(audio, last=True)
    np.testing.assert_array_equal(made.between(0, len(made)), recording_features(embedding, waveform))


def test_features_of_an_hour_need_the_room_of_seconds(embedding: SpeakerEmbedding) -> None:
    """An hour of silence, 2 s at a time: 3600 blocks of 50 features, of which the last 10 s stay."""
    made = 0

    def features(samples: np.ndarray) -> np.ndarray:
        nonlocal made
        made += 1
        return np.full((len(samples) // embedding.step, 2), made % 1000, np.float32)  # of 16 bits

    narrow = np.zeros((1, 4), np.float32)  # of two channels
    stream = FeatureStream(replace(embedding, features=features, weight=narrow), seconds=10.0)
    audio = Recent(10 * SAMPLE_RATE)
    for _ in range(1800):
        audio.append(np.zeros(2 * SAMPLE_RATE, np.float32))
        known = stream.hear(audio)
    assert len(known) == 3600 * 50 - 2  # the last 0.04 s have no context yet
    expected = np.arange(591, 601).repeat(50)
    np.testing.assert_array_equal(known.between(len(known) - 500, len(known))[:, 0], expected)
    assert embedding.blocks.right > 0


def test_what_is_not_heard_yet_cannot_change_a_feature(excerpt: np.ndarray, embedding: SpeakerEmbedding) -> None:
    heard = round(5.5 * SAMPLE_RATE)
    changed = excerpt.copy()
    changed[heard:] = 0.5
    ready = embedding.frames_before(heard)
    assert ready == 5 * 50 - 2  # five whole seconds but for their last 0.04 s, a feature every 20 ms
    one, other = (features_of(embedding, audio) for audio in (excerpt, changed))
    np.testing.assert_array_equal(one[:ready], other[:ready])
    assert not np.array_equal(one[ready:], other[ready:])


def test_blocks_are_ready_when_as_much_was_heard_as_whole_blocks_have() -> None:
    blocks = Blocks(length=100, left=50, right=10)
    assert [blocks.ready(heard) for heard in (0, 99, 100, 199, 200)] == [0, 0, 1, 1, 2]
    assert blocks.span(0, 1000) == (0, 100)
    assert blocks.span(1, 1000) == (50, 200)
    assert blocks.span(9, 990) == (850, 990)


def test_overlapped_speech_is_left_out_where_enough_remains(embedding: SpeakerEmbedding, runtime: OnnxRuntime) -> None:
    contract = runtime.contract
    activity = np.zeros((contract.frames, contract.speakers), bool)
    activity[100:300, 0] = True
    activity[200:300, 1] = True  # never alone
    until, (first, second, third) = embedding.features_of_speakers(contract, activity, window_start=0)
    assert until == 500  # 10 s of features, 20 ms apart
    centres = embedding.centres(0, until)

    def spoken(frames: np.ndarray) -> np.ndarray:
        return contract.frame_at(centres[frames])

    assert {*spoken(first)} <= {*range(100, 200)}
    assert {*spoken(second)} <= {*range(200, 300)}
    assert len(third) == 0


def test_features_before_the_recording_are_not_pooled(embedding: SpeakerEmbedding, runtime: OnnxRuntime) -> None:
    contract = runtime.contract
    activity = np.ones((contract.frames, contract.speakers), bool)
    until, chosen = embedding.features_of_speakers(contract, activity, window_start=-9 * SAMPLE_RATE)
    assert until == 50
    assert all(frames.min() == 0 and frames.max() == 49 for frames in chosen)


@torch.inference_mode()
def test_wespeaker_is_cut_the_same_way(excerpt: np.ndarray, tmp_path) -> None:
    """pyannote.audio's own ResNet34 with random weights: its real ones want a token."""
    torch.manual_seed(0)
    model = WeSpeakerResNet34().eval()
    cut = wespeaker_embedding(model, "random", threads=2)
    assert cut.dimension == 256
    assert cut.step == 1280  # 80 ms
    samples = excerpt[: 3 * SAMPLE_RATE]
    features = cut.features(samples)
    mask = np.arange(len(features)) % 4 > 0
    weights = torch.from_numpy(mask.astype(np.float32))[None]
    expected = model(torch.from_numpy(samples)[None, None], weights=weights)[0].numpy()
    np.testing.assert_allclose(cut.pool(features[mask]), expected, rtol=1e-3, atol=1e-4)


def test_a_name_that_is_no_embedding_is_refused(tmp_path) -> None:
    path = tmp_path / "noise.bin"
    path.write_bytes(b"noise")
    with pytest.raises(ModelError, match=r"noise\.bin.*campplus"):
        load_embedding(str(path))
