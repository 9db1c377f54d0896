"""What a model predicts for the windows of a recording. Each window is run once, whichever operating points need it.

Operating points share a window if they hear up to the same sample. At C = 1 s, the points with R = 0, 1 and 2 s share
windows. At R = 0, the windows of C = 0.02 s include those of 0.1, 0.5 and 1 s. The offline mode's windows are among
them too. Studies share windows as well: the classes of a window take one byte for each frame, and are kept on disk by
model and recording.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from objectives.cache.arrays import DAMAGE
from objectives.cache.files import lock_of, make_in_place, reading_arrays, writing
from objectives.models.contract import SAMPLE_RATE, Contract
from objectives.models.windows import window_at
from objectives.runtime.runtime import Runtime

# Only windows that end on whole centiseconds are kept. Fixed points and round values need no others. A C drawn from a
# continuous range hardly ever needs the same sample twice, and would fill the disk.
GRID = SAMPLE_RATE // 100
MOST_KEPT = 200_000  # windows of one model and recording: 120 MB in memory, a tenth of it on disk


class WindowClasses:
    """The powerset classes of windows of one recording, by one model. Not thread-safe.

    waveform: (samples,) float32, mono, 16 kHz.
    path: file in which classes are kept, or None to keep them in memory only. Call `keep` to write what has been
    computed since.
    """

    def __init__(self, waveform: np.ndarray, runtime: Runtime, path: Path | None = None):
        self.waveform = waveform
        self._runtime = runtime
        self._path = path
        self._kept = _read(path, runtime.contract.frames) if path is not None else {}
        self._rows = dict(self._kept)

    @property
    def contract(self) -> Contract:
        """How frames lie in a window."""
        return self._runtime.contract

    def ending_at(self, ends: Iterable[int]) -> np.ndarray:
        """Return the powerset classes of the windows that end at these samples, with zeros outside the recording:
        (windows, frames) uint8."""
        wanted = list(ends)
        missing = [end for end in dict.fromkeys(wanted) if end not in self._rows]
        for first in range(0, len(missing), self._runtime.batch):
            batch = missing[first : first + self._runtime.batch]
            self._rows.update(zip(batch, self._run(batch), strict=True))
        return np.array([self._rows[end] for end in wanted], np.uint8).reshape(-1, self.contract.frames)

    def activity_ending_at(self, ends: Iterable[int]) -> np.ndarray:
        """Return the local speakers of these windows: (windows, frames, speakers) bool."""
        return self.contract.powerset[self.ending_at(ends)]

    def keep(self) -> None:
        """Write the classes that the file lacks. Raises AssetError if the cache cannot be written."""
        if self._path is None or not any(self._is_kept(end) for end in self._rows.keys() - self._kept.keys()):
            return
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with lock_of(self._path):
                # another process may have added rows meanwhile
                together = _read(self._path, self.contract.frames) | self._rows
                kept = dict([item for item in sorted(together.items()) if self._is_kept(item[0])][:MOST_KEPT])
                make_in_place(self._path, lambda path: _write(path, kept))
            self._kept = kept

    def _run(self, ends: list[int]) -> np.ndarray:
        length = self.contract.window
        windows = np.stack([window_at(self.waveform, end - length, length) for end in ends])
        return self._runtime.scores(windows).argmax(axis=-1).astype(np.uint8)  # (windows, frames)

    def _is_kept(self, end: int) -> bool:
        # every operating point needs the window at the end of the recording
        return end % GRID == 0 or end == len(self.waveform)


def _write(path: Path, kept: Mapping[int, np.ndarray]) -> None:
    ends, rows = np.array(list(kept), np.int64), np.array(list(kept.values()), np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, ends=ends, classes=rows)


def _read(path: Path, frames: int) -> dict[int, np.ndarray]:
    """Return rows by window end. Empty if the file does not exist yet or is damaged."""
    if not path.exists():
        return {}
    try:
        with reading_arrays, np.load(path) as arrays:  # reading checks the archive's checksums
            ends, classes = arrays["ends"], arrays["classes"].reshape(-1, frames)
            if (ends.dtype, classes.dtype) != (np.int64, np.uint8):
                raise ValueError(f"it holds {ends.dtype} and {classes.dtype}")
            return dict(zip(ends.tolist(), classes, strict=True))
    except DAMAGE as error:
        warnings.warn(f"{path} is damaged ({error}): its windows are run again", RuntimeWarning, stacklevel=4)
        return {}
