"""Tests of objectives/corpora."""
