"""Statistics of recordings: paired bootstrap, differences, rank correlation, knee points.

Plain functions of numbers. Nothing here knows of Optuna or of studies."""
