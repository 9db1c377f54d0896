"""How the search runs and what the user gets: driver, fronts, command line."""
