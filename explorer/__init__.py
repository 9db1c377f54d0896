"""How the search runs and what the user gets: driver, fronts, command line.

matplotlib and torch keep their own files in explorer's cache folder, instead of ~/.config, ~/.cache and /tmp.
"""

import os

from objectives.cache.files import cache_dir

os.environ.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "torchinductor"))
