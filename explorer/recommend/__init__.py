"""Which operating points to use within budgets, why, and how they do on the test split.

The only measurement made here is on the test split. Nothing here searches."""
