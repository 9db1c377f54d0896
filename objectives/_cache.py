"""Where this project keeps what it can get again: pinned assets, features, finished models."""

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "EXPLORER_CACHE"


def cache_dir() -> Path:
    """Root of the cache: the folder that EXPLORER_CACHE names, else the user's cache directory. It may not exist."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    return platformdirs.user_cache_path("explorer", appauthor=False)


def windows_dir(model_key: str) -> Path:
    """Where the classes of windows are kept that a model has run. It may not exist."""
    return cache_dir() / "windows" / model_key
