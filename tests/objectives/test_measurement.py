"""What is derived of a measurement: sizes in MiB and pooled errors."""

import pytest

from objectives.measurement import ErrorCounts, Measurement, Timing
from objectives.operating_point import BASELINE


def test_a_size_is_in_mib_and_errors_are_pooled_by_their_speech() -> None:
    counts = {"one": ErrorCounts(1.0, 2.0, 3.0, 20.0), "two": ErrorCounts(0.0, 1.0, 0.0, 80.0)}
    timing = Timing(rtf=(0.1,), baseline_rtf=(0.2,), threads=1)
    measurement = Measurement(BASELINE, counts, 3 * 1024 * 1024, 1, timing, "native", "cpu", "key", {})
    assert measurement.size_mib == 3.0
    assert measurement.pooled == ErrorCounts(1.0, 3.0, 3.0, 100.0)
    assert measurement.pooled.der == pytest.approx(7.0)
    assert timing.ratio == 0.5
