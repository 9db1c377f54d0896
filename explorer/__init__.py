"""How the search runs and what the user gets: driver, fronts, command line.

What matplotlib and torch keep for themselves goes into the cache folder, instead of ~/.config, ~/.cache and /tmp.
"""

import os

from objectives.cache.files import cache_dir

os.environ.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "torchinductor"))
