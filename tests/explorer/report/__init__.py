"""Tests of explorer/report."""
