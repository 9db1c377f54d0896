"""The knee of hand-made fronts."""

import pytest

from explorer.statistics.knee import knee

ENDS = [(10.0, 8.0, 0.1), (80.0, 1.0, 0.1)]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], None),
        (ENDS[:1], None),
        (ENDS, None),
        # in logs the second is at (1/3, 1/3) of the two ranges and the third at (2/3, 2/3); RTF is the same everywhere
        ([ENDS[0], (20.0, 2.0, 0.1), (40.0, 4.0, 0.1), ENDS[1]], 1),
        # best in size and RTF, and worst by far in DER: by Manhattan distance it would be chosen
        ([(10.0, 8.0, 0.8), (80.0, 1.0, 0.1), (20.0, 3.0, 0.3)], 2),
        # a plain scale would put 30 next to 10, on a range to 200; the logarithm does not
        ([(10.0, 1000.0, 1.0), (30.0, 500.0, 1.0), (60.0, 10.0, 1.0), (200.0, 1.0, 1.0)], 2),
        # on a plain scale the second is the nearer to the ideal, by 0.027 to 0.059; in logs the third, by 0.60 to 0.61
        ([(1.0, 1000.0, 1.0), (20.0, 20.0, 1.0), (60.0, 2.0, 1.0), (1000.0, 1.0, 1.0)], 2),
        # 0 has no logarithm: that objective is scaled as it is, and the middle is at (1/4, 1/3)
        ([(0.0, 8.0, 0.1), (20.0, 2.0, 0.1), (80.0, 1.0, 0.1)], 1),
        # all the same: the first
        ([(10.0, 1.0, 0.1)] * 3, 0),
    ],
)
def test_the_knee(points: list[tuple[float, float, float]], expected: int | None) -> None:
    assert knee(points) == expected


def test_units_do_not_matter() -> None:
    points = [(10.0, 8.0, 0.8), (80.0, 1.0, 0.1), (20.0, 3.0, 0.3), (15.0, 6.0, 0.7)]
    assert knee([(7 * der, size / 3, 100 * rtf) for der, size, rtf in points]) == knee(points) == 2
