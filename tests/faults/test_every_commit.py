"""A short form of tests.faults.every_commit, which tries them all."""

from pathlib import Path

import pytest

from tests.faults.every_commit import died_and_mended


@pytest.mark.parametrize("commit", [3, 9, 20, 33, 46, 59, 72])
def test_a_death_before_a_commit_is_mended(tmp_path: Path, commit: int) -> None:
    assert died_and_mended(tmp_path, commit), "the run has fewer commits: choose others"


def test_a_run_that_does_not_die_is_not_taken_for_a_death(tmp_path: Path) -> None:
    assert not died_and_mended(tmp_path, 1_000)
