"""Tests of objectives/models."""
