"""Tests of objectives/cache."""
