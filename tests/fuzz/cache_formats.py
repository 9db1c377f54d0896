"""Files of the cache that lost or changed some bytes: made again, and never a figure of what they hold now."""

import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from objectives.cache.arrays import kept_array
from objectives.cache.files import write_array
from objectives.runtime.window_predictions import WindowClasses
from tests.fuzz.cases import Format
from tests.fuzz.mutation import damaged
from tests.fuzz.stored_formats import in_cache

FEATURES = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float16)
WAVEFORM = np.zeros(16_000, np.float32)
ENDS = range(160, 16_000, 160)


@dataclass(frozen=True)
class _Kept:
    path: Path
    content: bytes


def _spoil(prepared: Any, draw: random.Random) -> bytes:
    return damaged(prepared.content, draw, head=160)


def _features() -> np.ndarray:
    return kept_array("features", "a.npy", lambda path: write_array(path, [FEATURES], FEATURES.shape[1:], np.float16))


def _prepare_features(folder: Path) -> _Kept:
    with in_cache(folder):
        _features()
    path = folder / "features" / "a.npy"
    return _Kept(path, path.read_bytes())


def _load_features(prepared: Any, path: Path) -> None:
    prepared.path.write_bytes(path.read_bytes())
    with in_cache(prepared.path.parents[1]):
        np.testing.assert_array_equal(_features(), FEATURES)
    assert prepared.path.read_bytes() == prepared.content


class _Runtime:
    """Classes that say which window they are of. ran: windows that were run."""

    batch = 64
    contract = type("Contract", (), {"window": 160, "frames": 30})

    def scores(self, windows: np.ndarray) -> np.ndarray:
        made = np.zeros((len(windows), 30, 7), np.float32)
        made[:, :, 3] = 1.0
        return made


def _windows(path: Path) -> np.ndarray:
    windows = WindowClasses(WAVEFORM, _Runtime(), path)  # type: ignore[arg-type]
    classes = windows.ending_at(ENDS)
    windows.keep()
    return classes


def _prepare_windows(folder: Path) -> _Kept:
    path = folder / "windows" / "a.npz"
    _windows(path)
    return _Kept(path, path.read_bytes())


def _load_windows(prepared: Any, path: Path) -> None:
    prepared.path.write_bytes(path.read_bytes())
    assert (_windows(prepared.path) == 3).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (_windows(prepared.path) == 3).all()  # what was damaged was made again


CACHE_FORMATS = (
    Format("features.npy", ".npy", _prepare_features, _spoil, _load_features),
    Format("windows.npz", ".npz", _prepare_windows, _spoil, _load_windows),
)
