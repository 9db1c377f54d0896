"""The knee of a front: the compromise that gives up little of every objective.

It is the point nearest to the ideal point, which has the lowest value of each objective on the front. Distance is
Euclidean, with each objective scaled to its range on the front (compromise programming: Zeleny, in "Multiple Criteria
Decision Making", 1973; Marler and Arora, Structural and Multidisciplinary Optimization 26, 2004). Logarithms are taken
first, since for DER, size and RTF halving a value is worth the same wherever it starts. The Manhattan distance is not
used: by it, an end of the front that is best in two objectives and worst in the third would nearly always win.
"""

import math
from collections.abc import Sequence

FEWEST = 3  # points that can have a bend between them
DEFINITION = (
    "nearest to the ideal point by Euclidean distance of log DER, log size and log RTF, each scaled to its range there "
    "(compromise programming, Zeleny 1973)"
)


def knee(points: Sequence[Sequence[float]]) -> int | None:
    """Return the index of the knee among non-dominated points, all objectives to be minimised; in a tie, the first.

    None with fewer than three points. An objective that is the same everywhere has no effect. One with a value of 0,
    which has no logarithm, is scaled as it is.
    """
    if len(points) < FEWEST:
        return None
    axes = [_scaled(axis) for axis in zip(*points, strict=True)]
    distances = [math.hypot(*values) for values in zip(*axes, strict=True)]
    return distances.index(min(distances))


def _scaled(axis: Sequence[float]) -> list[float]:
    values = [math.log(value) for value in axis] if min(axis) > 0 else list(axis)
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]
