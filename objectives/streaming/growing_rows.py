"""An array that grows by whole rows: what is kept of a recording, however long it is."""

import numpy as np

PIECE = 4096  # rows for which memory is allocated at once


class GrowingRows:
    """An array that grows by whole rows and never moves them.

    shape: of a row.
    piece: number of rows for which memory is allocated at once.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type, piece: int = PIECE):
        self._shape, self._dtype, self._piece = shape, dtype, piece
        self._pieces: list[np.ndarray] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory that this takes in bytes, including rows that are allocated but not yet used."""
        return sum(piece.nbytes for piece in self._pieces)

    def append(self, rows: np.ndarray) -> None:
        """Add rows: (rows, …)."""
        while len(rows):
            used = self._count % self._piece
            if used == 0:
                self._pieces.append(np.empty((self._piece, *self._shape), self._dtype))
            fitting = rows[: self._piece - used]
            self._pieces[-1][used : used + len(fitting)] = fitting
            self._count += len(fitting)
            rows = rows[len(fitting) :]

    def between(self, start: int, end: int) -> np.ndarray:
        """Return a copy of rows start … end - 1: (end - start, …)."""
        rows: np.ndarray = np.empty((end - start, *self._shape), self._dtype)
        for index in range(start // self._piece, -(-end // self._piece)):
            first = index * self._piece
            low, high = max(start, first), min(end, first + self._piece)
            rows[low - start : high - start] = self._pieces[index][low - first : high - first]
        return rows

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return a copy of the rows at these positions: (positions,) → (positions, …)."""
        rows: np.ndarray = np.empty((len(positions), *self._shape), self._dtype)
        of = positions // self._piece
        for index in np.unique(of):
            rows[of == index] = self._pieces[index][positions[of == index] % self._piece]
        return rows
