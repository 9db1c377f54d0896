"""The resident peak of an action, by arrays of known size."""

import sys
from pathlib import Path

import numpy as np
import pytest

from objectives.peak_memory import with_peak_memory

MIB = 2**20
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux only")


def fill(mebibytes: int) -> int:
    """Hold so much for a moment."""
    return len(np.ones(mebibytes * MIB, np.uint8))


@ON_LINUX
def test_a_peak_is_of_its_own_action_and_not_of_those_before() -> None:
    _, nothing = with_peak_memory(lambda: None)
    made, large = with_peak_memory(lambda: fill(200))
    _, small = with_peak_memory(lambda: fill(20))
    assert made == 200 * MIB
    assert nothing is not None
    assert large is not None
    assert small is not None
    assert large - nothing == pytest.approx(200 * MIB, abs=10 * MIB)
    assert large - small == pytest.approx(180 * MIB, abs=10 * MIB)


def test_where_it_cannot_be_reset_it_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("objectives.peak_memory.CLEAR", tmp_path / "none" / "clear_refs")
    assert with_peak_memory(lambda: 7) == (7, None)
