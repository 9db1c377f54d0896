"""Merge turns of a reference that touch or overlap, and measure the speech outside the collar.

Without merging, speech would be scored more than once, and collars would lie where no turn begins or ends."""

from pyannote.core import Annotation, Segment, Timeline


def merged(turns: Annotation) -> Annotation:
    """Merge the turns of one speaker that touch or overlap. Returns `turns` itself if there are none."""
    support = turns.support()
    return turns if count(support) == count(turns) else support


def count(turns: Annotation) -> int:
    """Return the number of turns."""
    return sum(1 for _ in turns.itertracks())


COLLAR = 0.5  # seconds, ± 0.25 s around each reference boundary, as pyannote.metrics and the paper count it


def speech_outside_collar(reference: Annotation, annotated: Timeline) -> float:
    """Return the seconds of speech in `annotated` that lie further than half a collar from any turn boundary.

    reference: with turns of one speaker merged, as in a Recording.
    """
    bounds = {time for turn in reference.itersegments() for time in (turn.start, turn.end)}
    collars = Timeline([Segment(time - COLLAR / 2, time + COLLAR / 2) for time in bounds]).support()
    left = collars.gaps(support=annotated)
    return float(reference.get_timeline().support().crop(left, mode="intersection").duration())
