"""Questions about single trials: does it measure the same again, where do its errors come from, how does it degrade?

Nothing here changes what a trial was measured to be."""
