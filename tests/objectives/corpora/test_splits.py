import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.corpora.splits import seeded_splits


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=40), st.integers(0, 5), st.randoms())
def test_seeded_splits_are_disjoint_complete_and_independent_of_order(
    uris: set[str], seed: int, chance: random.Random
) -> None:
    order = sorted(uris)
    chance.shuffle(order)
    splits = seeded_splits(order, seed)
    members = [uri for chosen in splits.values() for uri in chosen]
    assert sorted(members) == sorted(uris)
    assert splits == seeded_splits(sorted(uris), seed)
    assert splits["eval"]
    assert all(splits.values())


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (1, (0, 0, 1)),
        (2, (1, 0, 1)),
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (5, (2, 1, 2)),
        (10, (6, 1, 3)),
        (15, (8, 2, 5)),  # halves are rounded up
        (25, (14, 3, 8)),
        (61, (37, 6, 18)),
    ],
)
def test_sizes_of_seeded_splits(count: int, sizes: tuple[int, int, int]) -> None:
    splits = seeded_splits((f"call{i}" for i in range(count)), seed=0)
    assert tuple(len(splits.get(name, ())) for name in ("train", "calib", "eval")) == sizes


def test_another_seed_draws_other_splits() -> None:
    uris = [f"call{i}" for i in range(20)]
    assert len({seeded_splits(uris, seed)["eval"] for seed in range(5)}) == 5


def test_a_seed_draws_what_it_always_drew() -> None:
    """Whoever has a study of a folder without a splits.json finds the same recordings in each split."""
    splits = seeded_splits([f"call{number}" for number in range(10)], seed=0)
    assert splits == {
        "train": ("call1", "call3", "call4", "call5", "call6", "call9"),
        "calib": ("call7",),
        "eval": ("call0", "call2", "call8"),
    }
