"""The Pareto front of a study as typed values, with what each row is compared with.

`pareto.py` makes it. Nothing here prints or draws it."""
