"""One self-contained page about a study, with its figures as PNG and its data as CSV.

Each section of the page has a module. Nothing here computes what the front or a diagnostic computes."""
