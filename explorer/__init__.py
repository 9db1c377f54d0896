"""How the search runs and what the user gets: driver, fronts, command line, and `load` for notebooks.

matplotlib and torch keep their own files in explorer's cache folder, instead of ~/.config, ~/.cache and /tmp.
"""

import os
from typing import TYPE_CHECKING

from objectives.cache.files import cache_dir

if TYPE_CHECKING:
    from explorer.api import StudyResults

os.environ.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "torchinductor"))


def load(study: str, storage: str | None = None) -> "StudyResults":
    """Load the results of a study, as data frames.

    In a notebook:

        import explorer
        results = explorer.load("quickstart")
        results.front().plot.scatter("size", "der")
        results.recordings().groupby("recording").der.median()
        results.recommend(max_latency=1.5, test=False).recommendations[0].row

    Args:
        study: name of a study in the storage, or the `.toml` file that it was run from.
        storage: Optuna RDB URL; by default `sqlite:///explorer.db`, in the current directory.

    Returns:
        The results: `.front()`, `.pairs()` and `.recordings()` are data frames, `.recommend(...)` chooses among them.

    Raises:
        StudyError: if the storage cannot be read, or has no such study.
    """
    from explorer import api  # late: it brings Optuna

    return api.load(study, storage)
