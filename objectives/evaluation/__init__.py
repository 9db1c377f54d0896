"""What an operating point costs and how many errors it makes: the accuracy plane and the cost plane.

`evaluator.py` answers one operating point with one measurement. Nothing here proposes a point or stores a trial."""
