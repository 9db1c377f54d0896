"""Tests, benchmarks and fuzzing. Telemetry is off in all of them and in the processes that they start."""

import objectives  # noqa: F401 — switches it off
