"""Remarks for users of a corpus: what it leaves out, and what it interprets differently from what is written."""

from dataclasses import dataclass
from typing import Literal

from objectives.errors import ascii_controls

# an unused recording, an unused file of a used recording, a note about a used recording, the number of merged turns
Kind = Literal["recording", "file", "used", "merged"]


@dataclass(frozen=True)
class Remark:
    """A remark. about: URI of a recording, or path of a file within the corpus. said: the remark, in words."""

    kind: Kind
    about: str
    said: str

    def __str__(self) -> str:
        return ascii_controls(f"{self.about}: {self.said}")
