"""Which features are pooled for whom, and how, by hand; with an embedding whose features are samples."""

from dataclasses import replace

import numpy as np
import pytest

from objectives.errors import EvaluationError
from objectives.models.contract import Contract
from objectives.models.embedding import (
    Blocks,
    FeatureStream,
    SpeakerEmbedding,
    feature_blocks,
    features_by,
    features_of,
)
from objectives.models.filterbank import Filterbank
from objectives.models.sliding_buffer import Recent
from tests.support.sign_models import STEP, sign_embedding

CENTRE = 200  # of feature 0
# frames that lie where the features of a window lie that begins with the recording
FRAMES = Contract(window=10 * STEP, frames=10, field=STEP, centre=CENTRE, step=STEP, speakers=2, max_at_once=2)


def activity(*speakers: range) -> np.ndarray:
    active = np.zeros((FRAMES.frames, len(speakers)), bool)
    for speaker, frames in enumerate(speakers):
        active[frames, speaker] = True
    return active


def chosen(start: int, *speakers: range) -> tuple[int, list[list[int]]]:
    until, found = sign_embedding().features_of_speakers(FRAMES, activity(*speakers), start)
    return until, [one.tolist() for one in found]


@pytest.mark.parametrize(
    ("start", "first", "until"),
    [
        (0, 0, 10),  # centred at 200, 520, …, 3080 of 3200 samples
        (CENTRE, 0, 10),  # the first one on the first sample; the eleventh would be on the first sample after
        (CENTRE + 1, 1, 11),
        (STEP, 1, 11),
        (5 * STEP, 5, 15),
        (-STEP, 0, 9),  # nothing is centred before the recording
        (-9 * STEP, 0, 1),
        (-10 * STEP, 0, 0),
        (-20 * STEP, 0, 0),
    ],
)
def test_features_of_a_window_are_those_that_are_centred_in_it(start: int, first: int, until: int) -> None:
    ready, (somebody, nobody) = chosen(start, range(10), range(0))
    assert ready == until
    assert somebody == list(range(first, until))
    assert nobody == []


def test_features_follow_the_frame_that_is_nearest() -> None:
    assert chosen(0, range(3, 6), range(8, 10))[1] == [[3, 4, 5], [8, 9]]
    assert chosen(2 * STEP, range(3, 6), range(8, 10))[1] == [[5, 6, 7], [10, 11]]
    assert chosen(-2 * STEP, range(3, 6), range(2))[1] == [[1, 2, 3], []]


def test_speech_beside_others_is_pooled_only_where_fewer_than_two_features_are_free_of_it() -> None:
    assert chosen(0, range(6), range(2, 10))[1] == [[0, 1], [6, 7, 8, 9]]
    assert chosen(0, range(6), range(1, 10))[1] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert chosen(0, range(6), range(6))[1] == [[0, 1, 2, 3, 4, 5]] * 2


def test_an_embedding_is_mean_and_unbiased_deviation_then_the_affine_map() -> None:
    embedding = replace(
        sign_embedding(), weight=np.array([[1, 0], [0, 1], [2, -1]], np.float32), bias=np.array([0, 10, 1], np.float32)
    )
    found = embedding.pool(np.array([[1.0], [3.0], [8.0]], np.float16))
    deviation = np.sqrt((9 + 1 + 16) / 2)
    np.testing.assert_allclose(found, [4, 10 + deviation, 9 - deviation], rtol=1e-6)
    assert np.isnan(embedding.pool(np.ones((1, 1), np.float16))).all()
    assert embedding.pool(np.ones((2, 1), np.float16)).tolist() == [1, 10, 3]


def test_what_is_pooled_is_added_up_in_32_bits() -> None:
    """4,000 times 60,000, each of which fits 16 bits."""
    found = sign_embedding().pool(np.full((4000, 1), 60_000, np.float16))
    np.testing.assert_allclose(found, [60_000, 0], rtol=1e-4, atol=1)


def numbered(total: int) -> np.ndarray:
    """(total,) samples that say how many steps of features lie before them."""
    return (np.arange(total) // STEP).astype(np.float32)


@pytest.mark.parametrize("total", [400, 5000, 31_999, 32_000, 32_400, 64_000, 64_100, 100_000])
@pytest.mark.parametrize("left", [640, 16_000, 48_000])
def test_a_feature_lies_where_its_samples_lie_whichever_block_it_is_of(total: int, left: int) -> None:
    embedding = replace(sign_embedding(), blocks=Blocks(length=32_000, left=left, right=640))
    found = features_of(embedding, numbered(total))
    positions = np.minimum(np.arange(len(found)) * STEP + CENTRE, total - 1)
    np.testing.assert_array_equal(found[:, 0], numbered(total)[positions])
    assert found.dtype == np.float16
    # what has its whole frame in the recording is there, but for what would need context after a whole last block
    ended = 640 if total % 32_000 == 0 or total % 32_000 > 32_000 - 640 else 0
    assert len(found) >= (total - ended - 400) // STEP + 1 or total % 32_000 < 400
    blocks = list(feature_blocks(embedding, numbered(total)))
    assert len(blocks) == -(-total // 32_000)
    # the first block is shorter by the context, so that every block is ready after whole blocks of audio
    assert [len(block) for block in blocks[:-1]] == [98, 100, 100][: len(blocks) - 1]


@pytest.mark.parametrize("total", [64_000, 64_100, 70_000])
def test_a_stream_makes_each_block_when_it_is_heard_and_the_rest_at_the_end(total: int) -> None:
    embedding, waveform = sign_embedding(), numbered(total)
    stream, audio = FeatureStream(embedding, seconds=24.0), Recent(24 * 16_000)
    for start in range(0, total, 800):
        audio.append(waveform[start : start + 800])
        features = stream.hear(audio)
        # ready at whole seconds, up to 0.04 s before
        assert len(features) == max(0, len(audio) // 16_000 * 50 - 2)
    expected = features_of(embedding, waveform)
    features = stream.hear(audio, last=True)
    np.testing.assert_array_equal(features.between(0, len(features)), expected)


def test_features_fit_16_bits_and_none_is_infinite() -> None:
    def embedding_of(*values: float) -> SpeakerEmbedding:
        return replace(sign_embedding(), features=lambda samples: np.array(values, np.float32)[:, None])

    found = embedding_of(1e6, -1e6, 0.5).of(np.zeros(400, np.float32))
    assert found[:, 0].tolist() == [65_504, -65_504, 0.5]
    for wild in (np.nan, np.inf):
        with pytest.raises(EvaluationError, match="features of the speaker embedding signs"):
            embedding_of(1.0, wild).of(np.zeros(400, np.float32))


def test_each_bin_of_the_filterbank_loses_its_own_mean() -> None:
    class Session:
        """Stands for ONNX Runtime: its features are the first two bins."""

        def get_inputs(self) -> list[object]:
            return [type("Input", (), {"name": "x"})]

        def run(self, asked: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert asked == ["features"]
            return [given["x"][:, :, :2].transpose(0, 2, 1)]

    samples = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    fbank = Filterbank("povey")(samples)
    found = features_by(Filterbank("povey"), Session())(samples)
    np.testing.assert_allclose(found, (fbank - fbank.mean(axis=0))[:, :2], rtol=0, atol=1e-5)
    assert abs(fbank[:, 0].mean() - fbank[:, 1].mean()) > 0.1, "equal means would show nothing"
