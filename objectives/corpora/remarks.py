"""What a corpus leaves out, and what it takes otherwise than it is written: for the people who use it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from objectives.errors import ascii_controls

if TYPE_CHECKING:
    pass


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
