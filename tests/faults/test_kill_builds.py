"""A kill of each kind: `python -m tests.faults.kill_builds` makes many."""

from pathlib import Path

import pytest

from tests.faults.kill_builds import corpus_to_build_from
from tests.faults.killing import kill_builds, kill_downloads
from tests.objectives.cache.test_assets import local_index, local_registry


def test_a_killed_build_leaves_nothing_half_made_and_comes_out_as_ever(tmp_path: Path) -> None:
    tally = kill_builds(1, corpus_to_build_from(tmp_path / "corpus"), tmp_path, seed=1, quick=True)
    assert tally.kills == 1
    assert tally.wrong == []


def test_a_killed_download_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = kill_downloads(1, local_registry(local_index(tmp_path, monkeypatch)), seed=1)
    assert tally.kills == 1
    assert tally.wrong == []
