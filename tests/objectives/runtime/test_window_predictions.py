"""Windows are run once, and what is kept of them is what would be run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.windows import window_at
from objectives.runtime import window_predictions
from objectives.runtime.runtime import OnnxRuntime, local_activity
from objectives.runtime.window_predictions import GRID, WindowClasses

SECOND = SAMPLE_RATE


@dataclass
class Counting:
    """A runtime that counts the windows that it ran."""

    runtime: OnnxRuntime
    ran: int = 0
    contract: Contract = field(init=False)

    def __post_init__(self) -> None:
        self.contract, self.execution, self.kernel = self.runtime.contract, "native", "counted"
        self.batch = self.runtime.batch

    def scores(self, windows: np.ndarray) -> np.ndarray:
        self.ran += len(windows)
        return self.runtime.scores(windows)


@pytest.fixture
def counting(runtime: OnnxRuntime) -> Counting:
    return Counting(runtime)


@pytest.fixture
def waveform(excerpt: np.ndarray) -> np.ndarray:
    return excerpt[: 12 * SECOND + 7]


def test_they_are_the_models_classes(waveform: np.ndarray, runtime: OnnxRuntime) -> None:
    ends = [SECOND, 11 * SECOND, len(waveform), len(waveform) + SECOND]
    length = runtime.contract.window
    expected = np.concatenate([local_activity(runtime, window_at(waveform, e - length, length)[None]) for e in ends])
    np.testing.assert_array_equal(WindowClasses(waveform, runtime).activity_ending_at(ends), expected)
    assert expected.any()


def test_a_window_is_run_once(waveform: np.ndarray, counting: Counting) -> None:
    windows = WindowClasses(waveform, counting)
    first = windows.ending_at([SECOND, 2 * SECOND, SECOND])
    assert counting.ran == 2
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(windows.ending_at([2 * SECOND, 3 * SECOND])[0], first[1])
    assert counting.ran == 3
    assert windows.ending_at([]).shape == (0, counting.contract.frames)


def test_those_on_the_grid_and_the_last_are_kept(waveform: np.ndarray, counting: Counting, tmp_path: Path) -> None:
    path = tmp_path / "model" / "recording.npz"
    ends = [SECOND, SECOND + GRID, SECOND + 1, len(waveform)]
    windows = WindowClasses(waveform, counting, path)
    classes = windows.ending_at(ends)
    assert not path.exists()
    windows.keep()
    again = WindowClasses(waveform, counting, path)
    np.testing.assert_array_equal(again.ending_at(ends), classes)
    assert counting.ran == len(ends) + 1  # SECOND + 1 lies off the grid
    before = path.stat().st_mtime_ns
    again.keep()
    assert path.stat().st_mtime_ns == before, "nothing new that is worth keeping"


def test_what_was_kept_is_not_written_again(waveform: np.ndarray, counting: Counting, tmp_path: Path) -> None:
    path = tmp_path / "recording.npz"
    windows = WindowClasses(waveform, counting, path)
    windows.ending_at([SECOND])
    windows.keep()
    path.unlink()
    windows.keep()
    assert not path.exists(), "nothing new since"
    windows.ending_at([2 * SECOND])
    windows.keep()
    WindowClasses(waveform, counting, path).ending_at([SECOND, 2 * SECOND])
    assert counting.ran == 2


def test_no_more_windows_are_kept_than_fit(
    waveform: np.ndarray, counting: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_predictions, "MOST_KEPT", 2)
    path = tmp_path / "recording.npz"
    windows = WindowClasses(waveform, counting, path)
    windows.ending_at([3 * SECOND, SECOND, 2 * SECOND])
    windows.keep()
    WindowClasses(waveform, counting, path).ending_at([SECOND, 2 * SECOND])
    assert counting.ran == 3
    WindowClasses(waveform, counting, path).ending_at([3 * SECOND])
    assert counting.ran == 4


def test_two_that_keep_at_once_lose_nothing(waveform: np.ndarray, counting: Counting, tmp_path: Path) -> None:
    path = tmp_path / "recording.npz"
    one, other = WindowClasses(waveform, counting, path), WindowClasses(waveform, counting, path)
    one.ending_at([SECOND])
    other.ending_at([2 * SECOND])
    one.keep()
    other.keep()
    WindowClasses(waveform, counting, path).ending_at([SECOND, 2 * SECOND])
    assert counting.ran == 2


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    told = bytearray(path.read_bytes())
    told[len(told) // 2] ^= 255
    path.write_bytes(told)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _flip, _empty])
def test_a_damaged_file_is_told_and_made_again(
    waveform: np.ndarray, counting: Counting, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "recording.npz"
    windows = WindowClasses(waveform, counting, path)
    classes = windows.ending_at([SECOND, 2 * SECOND])
    windows.keep()
    damage(path)
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = WindowClasses(waveform, counting, path)
    np.testing.assert_array_equal(again.ending_at([SECOND, 2 * SECOND]), classes)
    with pytest.warns(RuntimeWarning, match="damaged"):
        again.keep()
    WindowClasses(waveform, counting, path).ending_at([SECOND])
    assert counting.ran == 4
