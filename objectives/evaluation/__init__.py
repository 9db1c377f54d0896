"""Measure an operating point: its errors on the accuracy plane, and what it costs to run on the cost plane.

`evaluator.py` turns one operating point into one measurement. Nothing here proposes a point or stores a trial.
"""
