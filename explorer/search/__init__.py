"""The search: ask for a point, have it evaluated, judge it, tell Optuna, until the budget is spent.

`loop.py` is the search loop and `driver.py` starts or resumes it. Nothing here draws or recommends."""
