"""Annotated conversations made of single-speaker recordings: turn taking, overlap, noise, telephone band.

A conversation is a `Recording` like any other. Nothing here scores one."""
