"""Simulate annotated conversations from single-speaker recordings: turn taking, overlap, noise, telephone band.

The result is a corpus like any other. Nothing here scores it."""
