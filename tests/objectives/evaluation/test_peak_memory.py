"""The resident peak of an action, by arrays of known size."""

import subprocess
import sys
from pathlib import Path

import pytest

from objectives.evaluation.timing_process import with_peak_memory

MIB = 2**20
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux only")

PROGRAM = """
import numpy as np
from objectives.evaluation.timing_process import with_peak_memory
fill = lambda mebibytes: len(np.ones(mebibytes * 2**20, np.uint8))
for action in (lambda: 0, lambda: fill(200), lambda: fill(20)):
    print(*with_peak_memory(action))
"""


@ON_LINUX
def test_a_peak_is_of_its_own_action_and_not_of_those_before() -> None:
    """In a process of its own: in one that has run for long, the system takes pages away at any time."""
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    (_, nothing), (made, large), (_, small) = (map(int, line.split()) for line in told.splitlines())
    assert made == 200 * MIB
    assert large - nothing == pytest.approx(200 * MIB, abs=10 * MIB)
    assert large - small == pytest.approx(180 * MIB, abs=10 * MIB)


def test_where_it_cannot_be_reset_it_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("objectives.evaluation.timing_process.CLEAR", tmp_path / "none" / "clear_refs")
    assert with_peak_memory(lambda: 7) == (7, None)
