"""Options that several commands share, and the one way to print an answer. study_options.py has those of a study."""

import dataclasses
import hashlib
import re
import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console

from explorer.terminal.screen import screen
from explorer.terminal.streams import echo_json
from objectives.errors import CorpusError, ModelError
from objectives.machine import Device

T = TypeVar("T")

LATENCY = "C + R, plus the pauses that the online mode waits for"
CORPUS_HELP = "Corpus name, a folder of audio + RTTM, or a pyannote.database protocol."

TableOrJson = Literal["table", "json"]
FormatOption = Annotated[TableOrJson, typer.Option("--format", help="`table` for people, `json` for programs.")]
CorpusOption = Annotated[str, typer.Option(help=CORPUS_HELP)]
EmbeddingOption = Annotated[
    str | None, typer.Option(help="`campplus` (default), or a WeSpeaker ResNet34 checkpoint or Hub name.")
]
DeviceOption = Annotated[
    Device,
    typer.Option(
        help="Where windows are run for the DER; `cuda` emulates the low-bit modes. RTF is always measured on the CPU. "
        "A study uses one device throughout."
    ),
]
SpeakersOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|N-N",
        help="Number of speakers in a recording, such as `2`, or the fewest and the most, such as `2-4`. "
        "Default: counted.",
    ),
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="PATH|SHA256",
        help="A checkpoint that may run code while it is loaded, for one that holds more than weights. Repeatable; "
        "only for files from people you trust. A study cannot grant this.",
    ),
]


def print_as(
    format: TableOrJson,
    answer: T,
    print_table: Callable[[T, Console], None],
    as_json: Callable[[Any], Any] = dataclasses.asdict,
) -> None:
    """Print an answer in the format that `--format` names. as_json: makes plain data of it, by default field by
    field."""
    if format == "json":
        echo_json(as_json(answer))
    else:
        print_table(answer, screen())


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


def speaker_range(text: str) -> tuple[int, int]:
    """Parse `2` or `2-3` as the fewest and the most speakers. Raises CorpusError."""
    found = _range(text)
    if found is None:
        raise CorpusError(f"speakers {text!r}: give a number, or the fewest and the most, such as 2-3")
    return found


def speakers_of(option: str | None) -> tuple[int, int] | None:
    """Return the fewest and the most speakers, None if they are to be counted. Raises CorpusError."""
    if option is None:
        return None
    found = _range(option)
    if found is None or not 1 <= found[0] <= found[1]:
        raise CorpusError(f"--speakers {option!r}: give a number from 1 up, or the fewest and the most, such as 2-3")
    return found


def _range(text: str) -> tuple[int, int] | None:
    matched = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text.strip(), re.ASCII)
    return None if matched is None else (int(matched[1]), int(matched[2] or matched[1]))
