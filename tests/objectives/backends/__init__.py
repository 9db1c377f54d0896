"""Tests of objectives/backends."""
