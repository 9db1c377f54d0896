"""Tests of explorer/search."""
