"""The latest part of a growing array: as much as a live loop looks back, however long it listens."""

import numpy as np


class Recent:
    """Rows that are addressed by their position since the beginning. At least the last `keep` rows can be read.

    keep: number of rows.
    shape: of a row.
    first: position of the first row that is appended.

    >>> buffer = Recent(keep=2)
    >>> for row in (1.0, 2.0, 3.0):
    ...     buffer.append(np.array([row]))
    >>> buffer.between(1, 3).tolist()
    [2.0, 3.0]
    """

    def __init__(self, keep: int, shape: tuple[int, ...] = (), dtype: type = np.float32, first: int = 0):
        # room for twice as many, so that rows are moved only once every `keep` rows
        self._rows: np.ndarray = np.zeros((2 * keep, *shape), dtype)
        self._keep = keep
        self._first = first
        self._count = 0

    def __len__(self) -> int:
        """Position after the last row."""
        return self._first + self._count

    def append(self, rows: np.ndarray) -> None:
        """Add rows, at most `keep` at once: (rows, …). Rows older than the last `keep` may be dropped."""
        assert len(rows) <= self._keep, "more at once than can be read back"
        if self._count + len(rows) > len(self._rows):
            gone = self._count - self._keep
            self._rows[: self._keep] = self._rows[gone : self._count].copy()
            self._first += gone
            self._count = self._keep
        self._rows[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def between(self, start: int, end: int) -> np.ndarray:
        """Return rows start … end - 1 as a view, which the next `append` may overwrite."""
        assert self._first <= start <= end <= len(self), f"rows {start} to {end} of {self._first} to {len(self)}"
        return self._rows[start - self._first : end - self._first]

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Return a copy of the rows at these positions: (positions,) → (positions, …)."""
        assert not len(positions) or (self._first <= positions.min() and positions.max() < len(self)), "rows are gone"
        return self._rows[positions - self._first]
