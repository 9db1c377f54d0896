"""Statistics of recordings: paired bootstrap, differences, rank correlation, knee points.

Plain functions of numbers. Nothing here depends on Optuna or on studies."""
