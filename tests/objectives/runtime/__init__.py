"""Tests of objectives/runtime."""
