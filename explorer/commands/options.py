"""Options that several commands share."""

import hashlib
import string
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from explorer.terminal.screen import say, screen
from objectives.errors import ModelError

DEVICE_HELP = (
    "Where windows are run for the DER; `cuda` emulates the low-bit modes. RTF is always measured on the CPU. A study "
    "uses one device throughout."
)
LATENCY = "C + R, plus the pauses that the online mode waits for"


class DeviceOption(StrEnum):
    """Where windows are run for the DER."""

    cpu = "cpu"
    cuda = "cuda"


TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="PATH|SHA256",
        help="A checkpoint that may run code while it is loaded, for one that holds more than weights. Repeatable; "
        "only for files from people you trust. A study cannot grant this.",
    ),
]


def remark_on(left_out: Mapping[int, str]) -> None:
    """Report on standard error which trials of a study are left out, and why."""
    from explorer.storage.foreign_trials import in_words  # imported late: it imports Optuna

    if remark := in_words(left_out):
        say(remark, screen(stderr=True), "yellow")


def trusted_files(named: Iterable[str] | None) -> frozenset[str]:
    """Return the SHA-256 of each file that `--trust` names, by its path or by that hash itself.

    The trust is in the content that the file has now; a file put in its place later is not trusted. Raises ModelError.
    """
    return frozenset(_sha256(name) for name in named or ())


def _sha256(name: str) -> str:
    if len(name) == 64 and set(name) <= set(string.hexdigits):
        return name.lower()
    try:
        with Path(name).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"--trust {name}: cannot be read ({error.strerror}): give the path of a checkpoint, or its SHA-256"
        ) from error
