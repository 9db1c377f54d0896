"""Tests of objectives/corpora/audio."""
