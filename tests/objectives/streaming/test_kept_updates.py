"""What a session keeps says what everything would say, and is little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.streaming import chunkwise
from objectives.streaming.chunkwise import ChunkwiseSession, KeptUpdates
from objectives.streaming.clustering import ClusteringSettings, agglomerate, name_local_speakers
from objectives.streaming.hypothesis import Hypothesis
from objectives.streaming.schedule import Schedule
from tests.support.sign_models import CONTRACT, sign_embedding

CLUSTERING = ClusteringSettings(threshold=0.3)
CHANNELS = sign_embedding().channels
FEATURES_A_SECOND = SAMPLE_RATE // sign_embedding().step


def anybody(random: np.random.Generator, contract: Contract) -> np.ndarray:
    """A window of turns of 0.5 s and more, overlaps and silence: (frames, speakers) bool."""
    states = random.integers(0, len(contract.powerset), contract.frames // 30 + 1)
    states[random.random(len(states)) < random.random()] = 0
    return np.repeat(contract.powerset[states], 30, axis=0)[: contract.frames]


def plainly(
    session: ChunkwiseSession, windows: list[np.ndarray], blocks: list[np.ndarray], features: np.ndarray
) -> Hypothesis:
    """Embeddings of all local speakers of all updates, clustered and named at once, by arrays over all of them."""
    schedule, contract = session.schedule, session.contract
    embeddings = np.full((len(windows), contract.speakers, session.embedding.dimension), np.nan, np.float32)
    starts = []
    for index, (activity, block) in enumerate(zip(windows, blocks, strict=True)):
        start, _ = schedule.block(index + 1)
        window_start = schedule.heard(index + 1) - contract.window
        first = contract.frame_at(start - window_start)
        starts.append(contract.frame_start(first + np.arange(len(block))) + window_start)
        starts[-1][0] = start
        _, chosen = session.embedding.features_of_speakers(contract, activity, window_start)
        for speaker in np.flatnonzero(activity.any(axis=0)):
            frames = chosen[speaker]
            embeddings[index, speaker] = session.embedding.pool(features[frames[frames < len(features)]])
    is_anchor = np.array([schedule.is_anchor(index + 1) for index in range(len(windows))])
    anchors, activity = embeddings[is_anchor], np.array(windows)[is_anchor]
    alone = activity & (activity.sum(axis=2, keepdims=True) == 1)
    known = ~np.isnan(anchors).any(axis=2)
    founders = anchors[known & (alone.sum(axis=1) >= 0.2 * contract.frames)]
    founders = founders if len(founders) else anchors[known]
    centroids = np.zeros((0, session.embedding.dimension))
    if len(founders):
        least = CLUSTERING.min_cluster_size(schedule.anchor_seconds)
        clusters = agglomerate(founders, CLUSTERING.method, CLUSTERING.threshold, least)
        centroids = np.stack([founders[clusters == cluster].mean(axis=0) for cluster in range(clusters.max() + 1)])
    active = np.array([window.any(axis=0) for window in windows])
    names = name_local_speakers(embeddings, active, centroids)
    speaking = [tuple(row[cell]) for row, block in zip(names, blocks, strict=True) for cell in block]
    return Hypothesis.from_cells(np.concatenate(starts), schedule.total, speaking)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    seconds=st.floats(0.1, 25.0),
    chunk_length=st.floats(0.1, 5.0),
    right_context=st.just(0.0) | st.floats(0.01, 5.0),
    at_once=st.sampled_from([1, 7, 1024]),
)
def test_labels_are_those_of_the_plain_formula(
    seed: int, seconds: float, chunk_length: float, right_context: float, at_once: int
) -> None:
    random = np.random.default_rng(seed)
    schedule = Schedule(round(seconds * SAMPLE_RATE), chunk_length, right_context)
    session = ChunkwiseSession(schedule, CONTRACT, sign_embedding(), CLUSTERING)
    windows = [anybody(random, CONTRACT) for _ in range(len(schedule))]
    features = random.normal(size=(round(seconds * FEATURES_A_SECOND), CHANNELS)).astype(np.float16)
    blocks = []
    for index, activity in enumerate(windows):
        ready = schedule.heard(index + 1) * FEATURES_A_SECOND // SAMPLE_RATE // 100 * 100  # in blocks of 2 s
        blocks.append(session.update(index + 1, activity, features[:ready]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunkwise, "AT_ONCE", at_once)
        named = session.finish(features)
    assert named == plainly(session, windows, blocks, features)


def test_three_hours_are_kept_in_little_memory() -> None:
    """Updates of a second with 59 cells, two people in every window: embeddings of 192 numbers and hardly more."""
    updates, dimension = 10_800, 192
    kept = KeptUpdates(speakers=3, dimension=dimension)
    two = np.array([True, True, False])
    embeddings = np.random.default_rng(0).normal(size=(2, dimension)).astype(np.float32)
    for number in range(updates):
        kept.add(np.arange(59) + 59 * number, np.tile(two, (59, 1)), two)
        kept.embed(embeddings, number, np.array([True, True]))
    assert kept.nbytes < 1.6 * updates * embeddings.nbytes < 27e6
