"""Turns of a reference: merged if they touch or overlap, and what the collar leaves of them.

Otherwise speech would be scored more than once, and a collar would lie where nobody begins or ends."""

from pyannote.core import Annotation, Segment, Timeline


def merged(turns: Annotation) -> Annotation:
    """The same speech with turns of one speaker merged if they touch or overlap; `turns` itself if there are none."""
    support = turns.support()
    return turns if count(support) == count(turns) else support


def count(turns: Annotation) -> int:
    """Number of turns."""
    return sum(1 for _ in turns.itertracks())


COLLAR = 0.5  # seconds, ± 0.25 s around each reference boundary, as pyannote.metrics and the paper count it


def speech_outside_collar(reference: Annotation, annotated: Timeline) -> float:
    """Seconds of `annotated` in which somebody speaks and no turn begins or ends within half a collar.

    reference: turns of one speaker merged, as a Recording has them.
    """
    bounds = {time for turn in reference.itersegments() for time in (turn.start, turn.end)}
    collars = Timeline([Segment(time - COLLAR / 2, time + COLLAR / 2) for time in bounds]).support()
    left = collars.gaps(support=annotated)
    return float(reference.get_timeline().support().crop(left, mode="intersection").duration())
