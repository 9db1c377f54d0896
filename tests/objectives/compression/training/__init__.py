"""Tests of objectives/compression/training."""
