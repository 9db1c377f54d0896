"""Copy one file of a Hugging Face repository into a folder: `python _hub.py REPO FILENAME FOLDER`.

A process of its own, so that its parent can watch the folder grow and end it. What goes wrong is raised, and the parent
reports the last words. The order is what costs least first: the library's own cache, then a token, then one question
without retries, and only then the download.
"""

import shutil
import sys
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_download, hf_hub_url, try_to_load_from_cache

PROBE_SECONDS = 3.0  # a Hub that cannot be reached must not hold up the next source


def main(repo: str, filename: str, folder: Path) -> None:
    """Put `filename` of `repo` at `folder / filename`. Raises SystemExit if the repository wants a token."""
    cached = try_to_load_from_cache(repo, filename)
    if isinstance(cached, str):
        shutil.copyfile(cached, folder / filename)
        return
    if get_token() is None:
        raise SystemExit("the repository is gated: accept its conditions on the Hub and set HF_TOKEN")
    # hf_hub_download alone would retry for about 25 s where there is no network
    get_hf_file_metadata(hf_hub_url(repo, filename), timeout=PROBE_SECONDS)
    hf_hub_download(repo, filename, local_dir=folder, etag_timeout=PROBE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
