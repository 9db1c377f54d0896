"""What all tests share: a time zone, locks of their own, and a small real corpus with one timing process for it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EAST = "EAST-09:30"  # of UTC, as POSIX has it: whoever takes UTC for local time is hours off, wherever the tests run


@pytest.fixture(scope="session", autouse=True)
def far_from_utc() -> Iterator[None]:
    """Machines that test are often set to UTC, where both are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", EAST)
        time.tzset()
        yield
    time.tzset()


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
    from tests.support.real_excerpts import lasting_stopwatches, write_excerpts

    with lasting_stopwatches():
        yield write_excerpts(tmp_path_factory.mktemp("excerpts"))
