"""The search: ask Optuna for an operating point, evaluate and judge it, tell Optuna, until the budget is spent.

`loop.py` is the search loop; `driver.py` starts or resumes it. Nothing here draws or recommends."""
