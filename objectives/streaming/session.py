"""What the streaming loop asks of a session: the chunk-wise mode's (chunkwise.py) or the online mode's
(reclustering.py, incremental/online.py)."""

from typing import Protocol

import numpy as np

from objectives.models.embedding import Features
from objectives.streaming.hypothesis import Hypothesis
from objectives.streaming.provisional_labels import Names
from objectives.streaming.schedule import Schedule


class Session(Protocol):
    """The state of a recording while it streams: the blocks emitted so far and their speakers."""

    schedule: Schedule

    def emit(self, update: int, activity: np.ndarray) -> np.ndarray:
        """Take in the segmentation of an update's window, (frames, speakers) bool. Return the local speakers of the
        emitted block, (cells, speakers) bool."""
        ...

    def pool(self, features: Features, last: bool = False) -> None:
        """Pool voices from the features that are ready, (frames, channels). last: the recording has ended."""
        ...

    def name_block(self) -> None:
        """Name the speakers of the latest block, if names are final when a block is emitted."""
        ...

    def centroids(self) -> np.ndarray:
        """Return the speakers' voices, (speakers, dimension), as far as names still depend on them."""
        ...

    def name(self, centroids: np.ndarray) -> Hypothesis:
        """Return everything that was emitted, once the recording has ended."""
        ...

    def live_names(self) -> Names:
        """Return names for blocks as they are emitted."""
        ...
