"""What a corpus leaves out, and what it takes otherwise than it is written: for the people who use it."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from objectives.errors import ascii_controls, shortened

if TYPE_CHECKING:
    from objectives.corpus import Corpus

SHOWN = 3  # remarks of a kind in brief
MOST_NAMED = 40  # characters of a name in brief

# a recording that is not used, a file that is not used though its recording is, something about a recording that is
# used, and how many turns of its reference were merged
Kind = Literal["recording", "file", "used", "merged"]


@dataclass(frozen=True)
class Remark:
    """about: URI of a recording, or the path of a file within the corpus. said: in words."""

    kind: Kind
    about: str
    said: str

    def __str__(self) -> str:
        return ascii_controls(f"{self.about}: {self.said}")


def in_brief(corpus: "Corpus", typed: str) -> tuple[str, ...]:
    """A line for each kind of remark, for whoever uses a corpus; none if all of it is used as it is written.

    typed: the corpus as it was asked for. Merged turns are left to `explorer corpus --check`.
    """
    lost, files, used = (_of(corpus.remarks, kind) for kind in ("recording", "file", "used"))
    whole = sum(map(len, corpus.splits.values())) + len({remark.about for remark in lost})
    said = []
    if lost:
        verb = "is" if len(lost) == 1 else "are"
        said.append(f"{len(lost)} of {whole} recordings {verb} not used: {_listed(lost)}")
    if files:
        noun = "file is" if len(files) == 1 else "files are"
        said.append(f"{len(files)} {noun} not used: {_listed(files)}")
    if used:
        said.append(_listed(used))
    cut = any(len(remarks) > SHOWN for remarks in (lost, files, used))
    return tuple([*said, f"`explorer corpus {ascii_controls(shlex.quote(typed))} --check` lists all"] if cut else said)


def _of(remarks: Iterable[Remark], kind: str) -> list[Remark]:
    return [remark for remark in remarks if remark.kind == kind]


def _listed(remarks: Sequence[Remark]) -> str:
    shown = [f"{shortened(remark.about, MOST_NAMED)} ({remark.said})" for remark in remarks[:SHOWN]]
    more = [f"… {len(remarks) - SHOWN} more"] if len(remarks) > SHOWN else []
    return ascii_controls(", ".join([*shown, *more]))
