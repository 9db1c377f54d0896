"""Turns of one speaker that touch or overlap are one turn.

Else speech would be scored more than once, and a collar would lie where nobody begins or ends.
"""

from pyannote.core import Annotation


def merged(turns: Annotation) -> Annotation:
    """The same speech with turns of one speaker merged if they touch or overlap; `turns` itself if there are none."""
    support = turns.support()
    return turns if count(support) == count(turns) else support


def count(turns: Annotation) -> int:
    """Number of turns."""
    return sum(1 for _ in turns.itertracks())
