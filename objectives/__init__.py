"""Measure one operating point: DER, size and real-time factor. Independent of studies and of Optuna."""

from objectives.backends.telemetry import switch_off

switch_off()  # before any module of this package, or of a package that uses it, imports a library
