"""The knee of a front: the compromise that gives up little of every objective.

Ours is the point nearest to the ideal one, which has the least of each objective that the front has: by Euclidean
distance, each objective scaled to its range on the front (compromise programming: Zeleny, in "Multiple Criteria
Decision Making", 1973; Marler and Arora, Structural and Multidisciplinary Optimization 26, 2004). Logarithms are taken
first: DER, size and RTF are ratios, and half as much is worth the same wherever one starts. Not the Manhattan distance,
by which an end of the front that is best in two objectives and worst in the third would nearly always win.
"""

import math
from collections.abc import Sequence

FEWEST = 3  # points that can have a bend between them
DEFINITION = (
    "nearest to the ideal point by Euclidean distance of log DER, log size and log RTF, each scaled to its range there "
    "(compromise programming, Zeleny 1973)"
)


def knee(points: Sequence[Sequence[float]]) -> int | None:
    """Place of the knee among non-dominated points, all objectives to be minimised; of equal ones the first.

    None with fewer than three points. An objective that is the same everywhere decides nothing; one that has a value of
    0, which has no logarithm, is scaled as it is.
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
