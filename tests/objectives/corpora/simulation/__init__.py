"""Tests of objectives/corpora/simulation."""
