"""A cache of a test's own, in which nothing is made yet that a test could take for what it made."""

import shutil
from pathlib import Path

from objectives.cache.assets import assets_dir
from objectives.models.embedding_loading import load_embedding


def fresh_cache(folder: Path) -> Path:
    """An empty cache but for assets and the embedding's graph, which takes seconds to make."""
    (folder / "models").mkdir(parents=True)
    (folder / "assets").symlink_to(assets_dir().resolve(), target_is_directory=True)
    shutil.copy(load_embedding("campplus").network, folder / "models")
    return folder
