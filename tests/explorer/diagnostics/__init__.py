"""Tests of explorer/diagnostics."""
