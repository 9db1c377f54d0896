"""Tests of explorer/statistics."""
