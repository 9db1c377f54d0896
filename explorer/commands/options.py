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
    "Where windows are run for the DER; `cuda` emulates the low-bit modes. RTF is always measured on the CPU, and a "
    "study keeps to one device."
)
LATENCY = "C + R, and what the online mode waits for pauses"


class DeviceOption(StrEnum):
    """Where windows are run for the errors."""

    cpu = "cpu"
    cuda = "cuda"


TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="PATH|SHA256",
        help="A checkpoint that may run code as it is loaded, for one that holds more than weights. Repeatable; "
        "only for files of people you trust. No study can grant this.",
    ),
]


def remark_on(left_out: Mapping[int, str]) -> None:
    """Say on standard error which trials of a study are left out, and why."""
    from explorer.storage.foreign_trials import in_words  # late: it brings Optuna

    if told := in_words(left_out):
        say(told, screen(stderr=True), "yellow")


def trusted_files(named: Iterable[str] | None) -> frozenset[str]:
    """SHA-256 of each file that `--trust` names, by its path or by that hash itself.

    What is trusted is the content that the file has now, whatever is put in its place. Raises ModelError.
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
