"""What all tests share: locks of their own, and a small real corpus with one timing process for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A study that runs beside the tests goes on, and does not hold them up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_LOCKS", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(scope="session")
def excerpts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a small real corpus. Evaluators with equal cost settings share a timing process."""
    # here, so that tests without it do not wait for torch
    from tests.objectives.excerpts import lasting_stopwatches, write_excerpts

    with lasting_stopwatches():
        yield write_excerpts(tmp_path_factory.mktemp("excerpts"))
