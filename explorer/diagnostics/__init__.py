"""Questions about single trials: is the measurement repeatable, where do errors come from, how does it degrade?

Nothing here changes a trial's measurement."""
