"""Which operating points to take within budgets, why, and how they do on the test split.

Nothing here measures anything but the test split, and nothing here searches."""
