"""When what is heard, by hand, at the edges: short last blocks, nothing to hear beyond, pauses as long as may be."""

import numpy as np
import pytest

from objectives.models.contract import SAMPLE_RATE
from objectives.streaming.schedule import Schedule, cut_block, fill_gaps
from tests.support.sign_models import CONTRACT

S = SAMPLE_RATE


@pytest.mark.parametrize(
    ("total", "chunk", "right", "blocks", "heard"),
    [
        # two whole chunks: no third update
        (2 * S, 1.0, 0.0, [(0, S), (S, 2 * S)], [S, 2 * S]),
        # one sample more: an update for it alone
        (2 * S + 1, 1.0, 0.0, [(0, S), (S, 2 * S), (2 * S, 2 * S + 1)], [S, 2 * S, 2 * S + 1]),
        # the right context ends with the recording
        (2 * S, 1.0, 0.5, [(0, S), (S, 2 * S)], [3 * S // 2, 2 * S]),
        (2 * S, 1.0, 5.0, [(0, S), (S, 2 * S)], [2 * S, 2 * S]),
        # shorter than a chunk
        (S // 2, 5.0, 5.0, [(0, S // 2)], [S // 2]),
        (1, 0.02, 0.0, [(0, 1)], [1]),
        # ends are rounded to samples, and rounding does not add up: 1.7, 3.4 and 5.1 samples
        (5, 1.7 / S, 0.0, [(0, 2), (2, 3), (3, 5)], [2, 3, 5]),
        (0, 1.0, 0.0, [], []),
    ],
)
def test_blocks_and_what_is_heard_by_hand(
    total: int, chunk: float, right: float, blocks: list[tuple[int, int]], heard: list[int]
) -> None:
    schedule = Schedule(total, chunk, right)
    updates = range(1, len(schedule) + 1)
    assert [schedule.block(update) for update in updates] == blocks
    assert len(schedule) == len(blocks)
    assert [schedule.heard(update) for update in updates] == heard
    assert [schedule.news(update) for update in updates] == list(zip([0, *heard], heard, strict=False))


def test_all_that_comes_first_is_news_to_the_first_update() -> None:
    assert Schedule(10 * S, 1.0, 2.0).news(1) == (0, 3 * S)
    assert Schedule(10 * S, 1.0, 2.0).news(2) == (3 * S, 4 * S)


def test_an_anchor_is_the_first_update_to_end_in_a_second() -> None:
    short = Schedule(10 * S, 0.4, 0.0)  # ends at 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2, …
    assert [update for update in range(1, 11) if short.is_anchor(update)] == [1, 3, 5, 8, 10]
    assert all(Schedule(10 * S, 1.5, 0.0).is_anchor(update) for update in range(1, 7))


@pytest.mark.parametrize(("pause", "closed"), [(1, True), (55, True), (56, True), (57, False), (58, False)])
def test_the_released_pipelines_pauses_are_closed_up_to_56_frames(pause: int, closed: bool) -> None:
    """0.956 s are 56.6 frames: a pause of 57 is longer."""
    activity = np.zeros((200, 2), bool)
    activity[:20, 0] = activity[20 + pause : 120, 0] = activity[150:, 1] = True
    filled = fill_gaps(activity, CONTRACT.step)
    assert filled[20 : 20 + pause, 0].all() == closed
    assert filled[20 : 20 + pause, 0].any() == closed
    assert not filled[120:, 0].any(), "a pause that has not ended stays"
    assert not filled[:150, 1].any(), "and so does one before anything was said"


def test_a_block_has_the_frames_of_its_samples_and_pauses_are_closed_before_it_is_cut() -> None:
    """C = 1 s, R = 2 s: update 9 heard 11 s, its window begins at 1 s, its block is [8 s, 9 s)."""
    schedule = Schedule(20 * S, 1.0, 2.0)
    activity = np.zeros((CONTRACT.frames, 3), bool)
    activity[:, 0] = True
    start, end = 7 * S, 8 * S - 1  # in the window
    first, last = ((start - 360) // 270, (end - 360) // 270)  # frame 0 is nearest from sample 360 on
    activity[[first - 20, last + 20], 1] = True  # 40 frames and the block between them: too long
    activity[[last - 30, last + 20], 2] = True  # 49 frames: closed
    block = cut_block(schedule, CONTRACT, 9, activity)
    assert len(block.starts) == len(block.frames) == last - first + 1
    assert block.starts[0] == 8 * S
    np.testing.assert_array_equal(block.starts[1:], S + 360 + 270 * np.arange(first + 1, last + 1))
    assert block.frames[:, 0].all()
    assert not block.frames[:, 1].any()
    np.testing.assert_array_equal(np.flatnonzero(block.frames[:, 2]), np.arange(last - 30, last + 1) - first)
    assert block.frames.base is None, "a view would keep all of the window"


def test_a_last_block_of_one_sample_has_one_cell() -> None:
    schedule = Schedule(2 * S + 1, 1.0, 0.0)
    block = cut_block(schedule, CONTRACT, 3, np.ones((CONTRACT.frames, 3), bool))
    assert block.starts.tolist() == [2 * S]
    assert block.frames.tolist() == [[True] * 3]
