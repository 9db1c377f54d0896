"""What to search: ranges, study definitions and the paper's fixed points."""
