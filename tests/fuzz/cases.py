"""One case: a file that is nearly right is loaded. It loads to something valid, or is refused as a user can act on."""

import random
import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from objectives.errors import ExplorerError

# what a remedy begins with; every message of the tree has one
REMEDY = re.compile(
    r"\b(write|use|give|correct|remove|export|make|made|check|copy|convert|save|replace|name|put|leave|choose|keep|list"
    r"|download|widen|cut|run|restore|set|is run again|must be)\b",
    re.IGNORECASE,
)
LONGEST = 2000  # characters of a message; a value of any length may be in it, but not all of it


@dataclass(frozen=True)
class Format:
    """A format of files. prepare: (folder) → what a case needs, made once. spoil: (prepared, generator) → bytes.

    load: (prepared, path, bytes) writes and loads, and fails an assertion where what it loads is not valid. suffix: of
    the file.
    """

    name: str
    suffix: str
    prepare: Callable[[Path], object]
    spoil: Callable[[object, random.Random], bytes]
    load: Callable[[object, Path], object]
    file: str | None = None  # its name, where that matters
    speaks_of: str = "\0"  # what a message may name instead of the file
    native: bool = False  # whether what reads it could end the interpreter


@dataclass(frozen=True)
class Outcome:
    """kind: `valid`, `refused`, or what ought not to be: `escaped` (another error), `poor` (a message that lacks
    something), `crashed` (the interpreter ended), `hung`, `greedy` (it took a gigabyte). told: the
    message, or the traceback."""

    case: int
    kind: str
    told: str = ""

    @property
    def sound(self) -> bool:
        """Whether that is what may be."""
        return self.kind in ("valid", "refused")


def run_case(format: Format, prepared: object, folder: Path, seed: int, case: int) -> Outcome:
    """Case number `case` of a seed; the same file each time."""
    path = folder / (format.file or f"case{format.suffix}")
    path.write_bytes(case_bytes(format, prepared, seed, case))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            format.load(prepared, path)
    except ExplorerError as error:
        return Outcome(case, *_judged(str(error), path, format.speaks_of))
    except BaseException:  # noqa: BLE001 — whatever escapes is what is looked for
        return Outcome(case, "escaped", traceback.format_exc())
    return Outcome(case, "valid")


def case_bytes(format: Format, prepared: object, seed: int, case: int) -> bytes:
    """The file of a case."""
    return format.spoil(prepared, random.Random(f"{seed} {format.name} {case}"))


def _judged(message: str, path: Path, speaks_of: str) -> tuple[str, str]:
    lacks = [
        what
        for what, there in (
            ("the file", path.name in message or str(path.parent) in message or speaks_of in message),
            ("a remedy", REMEDY.search(message)),
            ("an end", len(message) <= LONGEST),
            ("few lines", message.count("\n") < 20),
            ("only what can be printed", message.replace("\n", "").isprintable()),
        )
        if not there
    ]
    return ("poor", f"lacks {', '.join(lacks)}: {message[:3000]}") if lacks else ("refused", message)
