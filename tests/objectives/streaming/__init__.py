"""Tests of objectives/streaming."""
