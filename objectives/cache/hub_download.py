"""Copy one file of a Hugging Face repository into a folder: `python hub_download.py REPO FILENAME FOLDER`.

This runs as a process of its own, so that its parent can watch the folder grow and stop it. Errors are raised, and the
parent reports their message. The cheapest steps come first: the library's own cache, then the check for a token, then
one request without retries, and only then the download.
"""

import shutil
import sys
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_download, hf_hub_url, try_to_load_from_cache

PROBE_SECONDS = 3.0  # an unreachable Hub must not delay the next source


def main(repo: str, filename: str, folder: Path) -> None:
    """Put `filename` of `repo` at `folder / filename`. Raises SystemExit if a token is missing."""
    cached = try_to_load_from_cache(repo, filename)
    if isinstance(cached, str):
        shutil.copyfile(cached, folder / filename)
        return
    if get_token() is None:
        raise SystemExit("the repository is gated: accept its conditions on the Hub and set HF_TOKEN")
    # without a network, hf_hub_download alone would retry for about 25 s
    get_hf_file_metadata(hf_hub_url(repo, filename), timeout=PROBE_SECONDS)
    hf_hub_download(repo, filename, local_dir=folder, etag_timeout=PROBE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
