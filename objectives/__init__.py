"""What one operating point costs: DER, size and real-time factor. Knows nothing of studies or of Optuna."""

from objectives.backends.telemetry import switch_off

switch_off()  # before a module of this package, or of those that use it, imports a library
