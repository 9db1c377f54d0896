"""Arrays that are kept: what is damaged is made again, and told."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from objectives.cache import arrays
from objectives.cache.arrays import kept_array
from objectives.cache.files import write_array

MADE = np.arange(4000, dtype=np.float16).reshape(500, 8)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))
    monkeypatch.setattr(arrays, "_checked", set())
    return tmp_path / "features" / "one.npy"


def kept(calls: list[Path] | None = None) -> np.ndarray:
    def make(path: Path) -> None:
        if calls is not None:
            calls.append(path)
        write_array(path, [MADE], MADE.shape[1:], np.float16)

    return kept_array("features", "one.npy", make)


def flip(path: Path) -> None:
    told = bytearray(path.read_bytes())
    told[-100] ^= 1
    path.write_bytes(told)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_a_damaged_one_is_told_and_made_again(path: Path, damage: Callable[[Path], None]) -> None:
    kept()
    whole = path.read_bytes()
    damage(path)
    with pytest.warns(RuntimeWarning, match=f"{path} is damaged .*made again"):
        again = kept()
    np.testing.assert_array_equal(again, MADE)
    assert path.read_bytes() == whole


def test_it_is_made_once_and_read_to_its_end_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    kept(calls)
    monkeypatch.setattr(arrays, "_crc32", lambda path: pytest.fail("read again"))
    np.testing.assert_array_equal(kept(calls), MADE)
    assert len(calls) == 1


def test_one_of_an_earlier_version_gets_a_checksum(path: Path) -> None:
    kept()
    (sum_path := path.with_name("one.npy.crc32")).unlink()
    arrays._checked.clear()
    calls: list[Path] = []
    kept(calls)
    assert calls == []
    assert sum_path.exists()
    flip(path)
    with pytest.warns(RuntimeWarning, match="damaged"):
        kept(calls)
    assert len(calls) == 1


def test_one_of_an_earlier_version_that_cannot_be_read_is_made_again(path: Path) -> None:
    kept()
    path.with_name("one.npy.crc32").unlink()
    cut(path)
    with pytest.warns(RuntimeWarning, match="damaged"):
        kept()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(kept(), MADE)
