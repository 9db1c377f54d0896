"""The latest part of an array that grows: as much as a live loop looks back, however long it listens."""

import numpy as np


class Recent:
    """Rows by their position since the beginning, of which at least the last `keep` can be read.

    keep: rows. shape: of a row. first: position of the first row that is appended.
    """

    def __init__(self, keep: int, shape: tuple[int, ...] = (), dtype: type = np.float32, first: int = 0):
        # twice the room, so that rows are moved once every `keep` of them
        self._rows: np.ndarray = np.zeros((2 * keep, *shape), dtype)
        self._keep = keep
        self._first = first
        self._count = 0

    def __len__(self) -> int:
        """Position after the last row."""
        return self._first + self._count

    def append(self, rows: np.ndarray) -> None:
        """Add rows, as many as `keep` at once: (rows, …). What is older than `keep` may go."""
        assert len(rows) <= self._keep, "more at once than can be read back"
        if self._count + len(rows) > len(self._rows):
            gone = self._count - self._keep
            self._rows[: self._keep] = self._rows[gone : self._count].copy()
            self._first += gone
            self._count = self._keep
        self._rows[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def between(self, start: int, end: int) -> np.ndarray:
        """Rows start … end - 1 as a view, which the next `append` may change."""
        assert self._first <= start <= end <= len(self), f"rows {start} to {end} of {self._first} to {len(self)}"
        return self._rows[start - self._first : end - self._first]

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """The rows at these positions, copied: (positions,) → (positions, …)."""
        assert not len(positions) or (self._first <= positions.min() and positions.max() < len(self)), "rows are gone"
        return self._rows[positions - self._first]
